"""Make the weights that ship with the package: python tools/pretrain_quickstart.py [OUT.safetensors].

Trains ``configs/pretrain/swin_nano_blocks.py`` from a random start and writes the encoder alone, in float16.
"""

from __future__ import annotations

import sys
from argparse import ArgumentParser
from pathlib import Path

from safetensors.torch import save_file

from mtl.engine.build import build_runner
from mtl.engine.checkpoints import load_trained, model_of
from mtl.engine.command_line import friendly
from mtl.engine.config import read_config

ROOT = Path(__file__).resolve().parents[1]


@friendly
def main() -> int:
    parser = ArgumentParser(description="Pretrain the quickstart's encoder.")
    parser.add_argument("out", nargs="?", default=str(ROOT / "mtl" / "assets" / "swin_nano_blocks.safetensors"))
    parser.add_argument("--from-checkpoint", help="write the encoder of this finished run instead of training")
    parser.add_argument("--work-dir", default="work_dirs/swin_nano_blocks")
    args = parser.parse_args()
    cfg = read_config(ROOT / "configs" / "pretrain" / "swin_nano_blocks.py")
    runner = build_runner(cfg, args.work_dir, train=args.from_checkpoint is None)
    model = model_of(runner)
    if args.from_checkpoint:
        load_trained(model, Path(args.from_checkpoint))
    else:
        runner.train()
    encoder = model.method.merge(model.encoder, 0)
    state = {name: value.half().contiguous() for name, value in encoder.state_dict().items()}
    Path(args.out).parent.mkdir(parents=True, exist_ok=True)
    save_file(state, args.out)
    size = Path(args.out).stat().st_size
    print(f"{args.out}: {sum(v.numel() for v in state.values()):,} parameters, {size / 1e6:.1f} MB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
