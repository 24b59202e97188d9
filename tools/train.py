"""Train a config: python tools/train.py configs/quickstart.py [--work-dir DIR] [--resume [CHECKPOINT]]."""

from __future__ import annotations

import sys
from argparse import ArgumentParser

from mtl.engine.command_line import add_config, friendly
from mtl.engine.config import read_config
from mtl.engine.train import train_config


@friendly
def main() -> int:
    parser = ArgumentParser(description="Train one encoder for several tasks.")
    add_config(parser)
    parser.add_argument("--work-dir", help="where logs, checkpoints and pictures go (work_dirs/<config>)")
    parser.add_argument(
        "--resume", nargs="?", const=True, default=False, help="resume from the latest checkpoint, or from this one"
    )
    parser.add_argument("--launcher", choices=["none", "pytorch", "slurm", "mpi"], help="detected by default")
    args = parser.parse_args()
    train_config(read_config(args.config, args.cfg_options, args.method), args.work_dir, args.resume, args.launcher)
    return 0


if __name__ == "__main__":
    sys.exit(main())
