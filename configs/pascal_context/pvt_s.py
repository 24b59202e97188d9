"""PVT-Small, PASCAL-Context, the Polyhistor paper's recipe (60 epochs, batch 12, 512 x 512).

    python tools/train.py configs/pascal_context/pvt_s.py --method lora --cfg-options data_root=PASCAL_MT

Table 7 of the paper prints 70.93 / 56.71 / 65.00 mIoU and 17.95 mErr, Δm -0.73, for Polyhistor-Lite (λ = 2), and has
Adapter and Compacter++ with ``method.reduction=16``, Hyperformer with that and ``method.sites=mlp``. None of them has
been run to its end with this config.
"""

from mmengine.config import read_base

with read_base():
    from .._base_.datasets.pascal_context import *
    from .._base_.encoders.pvt_s import *
    from .._base_.methods.polyhistor_lite import *
    from .._base_.schedules.adam_linear import *

single_task = "polyhistor/pvt_s"
