"""Rendered scenes under a schedule short enough to compare every method: 600 steps of 4, nothing to download.

    python tools/benchmark_methods.py configs/scenes.py --seeds 0 1 2 --jobs 2
    python tools/train.py configs/scenes.py --method lora

3 to 6 minutes a method on one core. One rate for each kind of weight, whatever the method: decoders learn at 1e-2,
adapters at 0.3 of it (LoRA diverges at 1), the encoder's own weights at 0.1, and so MTLoRA's changes that all tasks
share (they diverge at 0.3), hypernetworks at 0.05, as in the quickstart.
"""

from mmengine.config import read_base

with read_base():
    from ._base_.datasets.scenes import *
    from ._base_.encoders.swin_nano import *
    from ._base_.methods.decoders_only import *

# the longest key in a parameter's name holds, of two as long the first by the alphabet: ".adapter" before "encoder."
_RATES = {".adapter": 0.3, "method.": 0.3, "encoder.": 0.1, ".adapter.shared": 0.1}
_RATES.update({f"method.{part}": 0.05 for part in ("hypernetwork", "kernels", "projection", "tasks", "layers")})

model = dict(joint=True)
decoder = dict(type="AllMLP", channels=64)
train_dataloader.update(batch_size=4)
train_dataloader["dataset"].update(length=400)
optim_wrapper = dict(
    type="TaskwiseOptimWrapper",
    optimizer=dict(type="AdamW", lr=1e-2, weight_decay=1e-4),
    paramwise_cfg=dict(custom_keys={key: dict(lr_mult=rate) for key, rate in _RATES.items()}),
)
param_scheduler = [
    dict(type="LinearLR", start_factor=0.05, by_epoch=False, begin=0, end=20),
    dict(type="PolyLR", power=1.0, eta_min=0.0, by_epoch=True, convert_to_iter_based=True),
]
train_cfg = dict(by_epoch=True, max_epochs=6, val_interval=6)
