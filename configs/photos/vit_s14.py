"""Polyhistor-Lite on a frozen DINOv2 ViT-S/14, photographs with partial labels, 224 x 224.

    python tools/train.py configs/photos/vit_s14.py --cfg-options data_root=DATA

Another method: ``method.type=DecodersOnly``. Local weights: ``encoder.weights=FILE.safetensors``.
"""

from mmengine.config import read_base

with read_base():
    from .._base_.datasets.photos import *
    from .._base_.encoders.vit_s14 import *
    from .._base_.schedules.short import *

encoder.update(size=(224, 224))
method = dict(type="PolyhistorLite", reduction=16, init="fan_in")
optim_wrapper.update(
    optimizer=dict(type="AdamW", lr=5e-3, weight_decay=1e-4),
    # the decoders start from nothing, the encoder does not; a generated weight moves with all entries of its embedding
    paramwise_cfg=dict(custom_keys={"method.": dict(lr_mult=0.02), "encoder.": dict(lr_mult=0.02)}),
)
train_cfg.update(max_epochs=4, val_interval=4)
