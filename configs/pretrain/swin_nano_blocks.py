"""Pretrain the quickstart's encoder: the kind of solids, their texture and their distance; 64,000 pictures, each
seen once.

    python tools/pretrain_quickstart.py

About half an hour on 2 cores.
"""

from mmengine.config import read_base

with read_base():
    from .._base_.encoders.swin_nano import *

encoder.update(weights=None)
method = dict(type="MultiTaskFull")
decoder = dict(type="AllMLP", channels=64)
tasks = dict(
    solid=dict(type="SemanticSegmentation", classes=["stage", "ellipsoid", "frustum", "box"]),
    pattern=dict(
        type="SemanticSegmentation",
        classes=["plain", "stripes", "checker", "tiles", "planks", "windows", "gradient", "marble"],
    ),
    distance=dict(
        type="SemanticSegmentation",
        classes=["1.7 m", "2.1 m", "2.5 m", "3.2 m", "4.1 m", "4.9 m", "5.9 m", "farther"],
    ),
)
train_dataloader = dict(
    batch_size=16,
    num_workers=1,
    dataset=dict(type="Blocks", length=64000, pipeline=[dict(type="RandomAugment")]),
)
val_dataloader = dict(batch_size=16, num_workers=1, dataset=dict(type="Blocks", length=200, split="val"))
optim_wrapper = dict(
    type="TaskwiseOptimWrapper",
    optimizer=dict(type="AdamW", lr=1e-2, weight_decay=0.05),
    paramwise_cfg=dict(custom_keys={"encoder.": dict(lr_mult=0.1)}),
    clip_grad=dict(max_norm=5.0),
)
param_scheduler = [
    dict(type="LinearLR", start_factor=0.01, by_epoch=False, begin=0, end=200),
    dict(type="CosineAnnealingLR", eta_min=1e-4, by_epoch=True, convert_to_iter_based=True),
]
train_cfg = dict(by_epoch=True, max_epochs=1, val_interval=1)
default_hooks = dict(logger=dict(interval=100))
