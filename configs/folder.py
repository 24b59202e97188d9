"""Your own images: a folder with one folder of labels per task. Copy this file and name your tasks and classes.

    python data_prep/scenes.py work_dirs/scenes
    python tools/train.py configs/folder.py --cfg-options data_root=work_dirs/scenes

The first command makes such a folder of rendered scenes, to try it on; a minute on 2 cores trains it.
"""

from mmengine.config import read_base

with read_base():
    from ._base_.datasets.photos import *
    from ._base_.encoders.swin_nano import *
    from ._base_.schedules.short import *

tasks = dict(
    semseg=dict(
        type="SemanticSegmentation",
        classes=["background", "person", "ball", "box", "barrel", "cone", "lamp", "chair", "plant"],
    ),
    depth=dict(type="Depth"),
    normals=dict(type="SurfaceNormals"),
    edge=dict(type="Edge"),
)
method = dict(type="PolyhistorLite", reduction=4, embedding=32, init="fan_in")
decoder = dict(type="AllMLP", channels=64)
optim_wrapper.update(
    optimizer=dict(type="AdamW", lr=1e-2, weight_decay=1e-4),
    # decoders start from nothing, the encoder does not
    paramwise_cfg=dict(custom_keys={"method.": dict(lr_mult=0.05), "encoder.": dict(lr_mult=0.1)}),
)
train_cfg.update(max_epochs=20, val_interval=20)
