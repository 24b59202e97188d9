"""Polyhistor-Lite on Swin-T, ADE20K, 150 classes, semantic segmentation alone, 512 x 512.

    python tools/train.py configs/ade20k/swin_t.py --cfg-options data_root=DATA

The recipe is the Polyhistor paper's for PASCAL-Context, which has no numbers for this data set; this config has not
been run to its end. Decoders only: ``method.type=DecodersOnly``.
"""

from mmengine.config import read_base

with read_base():
    from .._base_.datasets.ade20k import *
    from .._base_.encoders.swin_t import *
    from .._base_.schedules.adam_linear import *

method = dict(type="PolyhistorLite")
