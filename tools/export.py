"""Export a merged model: python tools/export.py CHECKPOINT OUT.safetensors."""

from __future__ import annotations

import sys
from argparse import ArgumentParser
from pathlib import Path

import torch

from mtl.engine.command_line import friendly
from mtl.engine.merged import load_merged, save_merged
from mtl.engine.rebuild import rebuild
from mtl.models.multitask import MultiTaskModel


@friendly
def main() -> int:
    parser = ArgumentParser(description="Fold the tasks into plain encoders: one file that needs no base weights.")
    parser.add_argument("checkpoint", help="an adapter file (.safetensors) or a full checkpoint (.pth)")
    parser.add_argument("out", help="the merged model, a .safetensors file")
    parser.add_argument("--weights", help="the encoder's base weights, where they are not where the checkpoint says")
    args = parser.parse_args()
    out = Path(args.out).expanduser()
    if out.suffix != ".safetensors":
        raise ValueError(f"a merged model is a .safetensors file, not {args.out!r}")
    if out.exists():
        raise ValueError(f"{out} exists; nothing is written over it")
    model, config = rebuild(args.checkpoint, args.weights)
    save_merged(model, out, config)
    print(f"{out}: {out.stat().st_size / 1e6:.1f} MB, {len(model.method.paths(model.task_names))} encoder(s)")
    print(f"largest difference to {args.checkpoint} on random images: {difference(model, load_merged(out)):.1e}")
    return 0


@torch.no_grad()
def difference(model: MultiTaskModel, exported: MultiTaskModel) -> float:
    """The largest one of the logits of any task, on a random batch of the encoder's size."""
    images = torch.randn(2, 3, *model.encoder.size, generator=torch.Generator().manual_seed(0))
    theirs = exported(images)
    return max(float((logits - theirs[task]).abs().max()) for task, logits in model(images).items())


if __name__ == "__main__":
    sys.exit(main())
