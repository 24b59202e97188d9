"""Polyhistor-Lite on Swin-T, NYUD-MT: segmentation, depth, normals and edges, 512 x 512.

    python tools/train.py configs/nyud/swin_t.py --cfg-options data_root=NYUD_MT

The recipe is the Polyhistor paper's for PASCAL-Context, which has no numbers for NYUD; this config has not been run to
its end. Δm: ``single_task=FILE.json`` with the scores of your own ``method.type=SingleTaskFull``.
"""

from mmengine.config import read_base

with read_base():
    from .._base_.datasets.nyud import *
    from .._base_.encoders.swin_t import *
    from .._base_.schedules.adam_linear import *

method = dict(type="PolyhistorLite")
