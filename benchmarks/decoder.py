"""A training step of the all-MLP head against mmseg's `SegformerHead`: python benchmarks/decoder.py

Swin-T's channels, a 512 x 512 image, 21 classes; both with BN behind each scale, so that they are the same function.
"""

from __future__ import annotations

from argparse import ArgumentParser

import torch
from measure import peak_memory, times
from mmseg.models.decode_heads import SegformerHead

from mtl.decoders.all_mlp import AllMLP

CHANNELS = [96, 192, 384, 768]


def main() -> None:
    parser = ArgumentParser(description="Time the all-MLP head against mmseg's.")
    parser.add_argument("--batch", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    norm = {"type": "BN"}
    theirs = SegformerHead(
        in_channels=CHANNELS, in_index=[0, 1, 2, 3], channels=256, num_classes=21, norm_cfg=norm, align_corners=False
    )
    heads = {
        "mmseg's SegformerHead": theirs,
        "AllMLP, norm per scale": AllMLP(CHANNELS, 21, norm_per_scale=True),
        "AllMLP": AllMLP(CHANNELS, 21),
    }
    for head in heads.values():
        head.to(device)
    maps = [torch.randn(args.batch, c, 128 >> i, 128 >> i, device=device) for i, c in enumerate(CHANNELS)]
    inputs = [x.requires_grad_() for x in maps]
    steps = {name: lambda head=head: head(inputs).square().mean().backward() for name, head in heads.items()}
    seconds = times(steps, args.rounds)
    memory = {name: peak_memory(step) for name, step in steps.items()}
    base = next(iter(heads))
    print(f"{device}, {torch.get_num_threads()} threads, batch {args.batch}; relative to {base}")
    for name in heads:
        time, held = seconds[base] / seconds[name], memory[base] / memory[name]
        print(
            f"{name:24} {seconds[name]:.3f} s ({time:.2f} times as fast), {memory[name]:.0f} MB ({held:.2f} times less)"
        )


if __name__ == "__main__":
    main()
