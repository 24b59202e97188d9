"""Polyhistor-Lite on Swin-T, PASCAL-Context, the paper's recipe (60 epochs, batch 12, 512 x 512).

    python tools/train.py configs/pascal_context/polyhistor_lite_swin_t.py --cfg-options data_root=PASCAL_MT

The paper prints 70.24 / 59.12 / 64.75 mIoU and 17.40 mErr, Δm +1.74, with 0.41 M parameters in the encoder (table 1);
this config has not been run to its end. Another method: ``method.type=DecodersOnly``.
"""

from mmengine.config import read_base

with read_base():
    from .._base_.datasets.pascal_context import *
    from .._base_.encoders.swin_t import *
    from .._base_.schedules.adam_linear import *

method = dict(type="PolyhistorLite")
single_task = "polyhistor/swin_t"
