"""Swin-B, PASCAL-Context, the Polyhistor paper's recipe (60 epochs, batch 12, 512 x 512); Polyhistor-Lite by default.

    python tools/train.py configs/pascal_context/swin_b.py --method lora --cfg-options data_root=PASCAL_MT

Table 3 of the paper prints 73.69 / 63.04 / 66.56 mIoU and 17.30 mErr, Δm +5.80, for Polyhistor-Lite (λ = 2), and has
Adapter and Compacter++ with ``method.reduction=16``, Hyperformer with that and ``method.sites=mlp``. None of them has
been run to its end with this config.
"""

from mmengine.config import read_base

with read_base():
    from .._base_.datasets.pascal_context import *
    from .._base_.encoders.swin_b import *
    from .._base_.methods.polyhistor_lite import *
    from .._base_.schedules.adam_linear import *

single_task = "polyhistor/swin_b_1k"
