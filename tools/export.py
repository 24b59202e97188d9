"""Export a trained model: python tools/export.py CHECKPOINT OUT.{onnx,pt2,safetensors}, or CHECKPOINT --timm FOLDER."""

from __future__ import annotations

import os
import sys
from argparse import ArgumentParser
from pathlib import Path

from mtl.engine.command_line import add_imports, friendly
from mtl.engine.export import GRAPHS, save_graph
from mtl.engine.merged import difference, save_merged
from mtl.engine.rebuild import rebuild
from mtl.engine.timm_states import save_timm


def parse() -> ArgumentParser:
    parser = ArgumentParser(description="Write a trained model for other programs; nothing is written over.")
    parser.add_argument("checkpoint", help="an adapter file or merged model (.safetensors) or a full checkpoint (.pth)")
    parser.add_argument(
        "out",
        nargs="?",
        help=".onnx or .pt2: the whole model as one graph, any method; .safetensors: the merged model, tasks folded "
        "into plain encoders, which needs no base weights",
    )
    parser.add_argument("--timm", metavar="FOLDER", help="the merged encoders instead: one timm state dict per task")
    parser.add_argument("--weights", help="the encoder's base weights, where they are not where the checkpoint says")
    add_imports(parser)
    return parser


@friendly
def main() -> int:
    args = parse().parse_args()
    if (args.out is None) == (args.timm is None):
        raise ValueError(f"name one of OUT ({', '.join((*GRAPHS, '.safetensors'))}) and --timm FOLDER")
    out = Path(args.timm or args.out).expanduser()
    if args.out and out.suffix not in (*GRAPHS, ".safetensors"):
        raise ValueError(f"the format is the suffix, {', '.join((*GRAPHS, '.safetensors'))}, of OUT; not {args.out!r}")
    if os.path.lexists(out) and not (args.timm and out.is_dir() and not any(out.iterdir())):
        raise ValueError(f"{out} exists; nothing is written over it: name another or delete it")
    model, config = rebuild(args.checkpoint, args.weights, {"imports": args.custom_imports})
    if args.timm:
        print("\n".join(save_timm(model, out)))
    elif out.suffix in GRAPHS:
        report = save_graph(model, out)
        divisor = model.encoder.divisor
        size = f"H and W multiples of {divisor}" if report.fixed is None else "H={}, W={}".format(*model.encoder.size)
        print(f"{out}: {out.stat().st_size / 1e6:.1f} MB, {len(model.method.paths(model.task_names))} encoder path(s)")
        print(f"  image (B, 3, H, W), float32 RGB in 0..255, normalised inside; any B; {size}")
        print(f"  logits (B, K, H/4, W/4): {', '.join(model.task_names)}")
        if report.fixed:
            print(f"  the size is fixed: {report.fixed}")
        shapes = ", ".join("{}x3x{}x{}".format(*shape) for shape in report.shapes)
        print(f"largest difference to {args.checkpoint} on random images ({shapes}): {report.difference:.1e}")
    else:
        save_merged(model, out, config)
        print(f"{out}: {out.stat().st_size / 1e6:.1f} MB, {len(model.method.paths(model.task_names))} encoder(s)")
        print(f"largest difference to {args.checkpoint} on random images: {difference(model, rebuild(out)[0]):.1e}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
