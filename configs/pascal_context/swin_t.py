"""Swin-T, PASCAL-Context, the Polyhistor paper's recipe (60 epochs, batch 12, 512 x 512); Polyhistor-Lite by default.

    python tools/train.py configs/pascal_context/swin_t.py --method lora --cfg-options data_root=PASCAL_MT

``--method`` names a file of ``configs/_base_/methods``, which has the numbers that table 1 of the paper prints for it.
None of them has been run to its end with this config.
"""

from mmengine.config import read_base

with read_base():
    from .._base_.datasets.pascal_context import *
    from .._base_.encoders.swin_t import *
    from .._base_.methods.polyhistor_lite import *
    from .._base_.schedules.adam_linear import *

single_task = "polyhistor/swin_t"
