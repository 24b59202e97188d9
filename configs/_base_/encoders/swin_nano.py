"""A Swin of 3.3 M parameters whose weights ship with the package, 96 x 96.

They come from ``tools/pretrain_quickstart.py``, which runs ``configs/pretrain/swin_nano_blocks.py``.
"""

encoder = dict(
    type="TimmEncoder",
    name="swin_tiny_patch4_window7_224",
    size=(96, 96),
    weights="mtl:swin_nano_blocks",
    options=dict(embed_dim=48, depths=(2, 2, 2, 1), num_heads=(2, 4, 8, 16), window_size=6),
)
