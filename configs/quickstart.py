"""The quickstart: Polyhistor-Lite on rendered scenes, four tasks, nothing to download.

    python tools/train.py configs/quickstart.py

Under 5 minutes on 2 cores. Other methods under the same schedule: ``--method decoders_only``, ``multi_task_full``,
``single_task_full``; their stored results are printed at the end. They come from ``tools/store_quickstart.py``.
"""

from mmengine.config import read_base

with read_base():
    from ._base_.datasets.scenes import *
    from ._base_.encoders.swin_nano import *

# 9.2 % of the encoder; the templates' rank is half their width, and a smaller embedding pays for it
method = dict(type="PolyhistorLite", reduction=1, embedding=32, rank=24, init="fan_in")
model = dict(joint=True)
decoder = dict(type="AllMLP", channels=64)
train_dataloader["dataset"].update(length=400)
optim_wrapper = dict(
    type="TaskwiseOptimWrapper",
    optimizer=dict(type="AdamW", lr=1e-2, weight_decay=1e-4),
    # decoders start from nothing, what changes a pretrained encoder goes slower; each at the best of the rates tried
    paramwise_cfg=dict(custom_keys={"method.": dict(lr_mult=0.05), "encoder.": dict(lr_mult=0.1)}),
)
param_scheduler = [
    dict(type="LinearLR", start_factor=0.05, by_epoch=False, begin=0, end=20),
    dict(type="PolyLR", power=1.0, eta_min=0.0, by_epoch=True, convert_to_iter_based=True),
]
train_cfg = dict(by_epoch=True, max_epochs=10, val_interval=10)
single_task = "quickstart/scenes"
stored_results = "quickstart"
