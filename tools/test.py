"""Test a checkpoint: python tools/test.py CONFIG CHECKPOINT [--out result.json]."""

from __future__ import annotations

import sys
from argparse import ArgumentParser
from pathlib import Path

from mmengine.dist import is_main_process

from mtl.engine.build import build_runner
from mtl.engine.checkpoints import load_trained, model_of
from mtl.engine.command_line import add_config, friendly
from mtl.engine.config import read_config
from mtl.engine.results import collect_run, table, write_json
from mtl.engine.run_folder import claimed


@friendly
def main() -> int:
    parser = ArgumentParser(description="Test a checkpoint or an adapter file.")
    add_config(parser)
    parser.add_argument("checkpoint", help="a full checkpoint (.pth) or an adapter file (.safetensors)")
    parser.add_argument("--work-dir", help="where the result, logs and pictures go (the checkpoint's folder)")
    parser.add_argument("--out", help="the result as JSON (<work dir>/test.json)")
    parser.add_argument("--launcher", choices=["none", "pytorch", "slurm", "mpi"], help="detected by default")
    args = parser.parse_args()
    checkpoint = Path(args.checkpoint)
    if args.out and (Path(args.out).suffix != ".json" or Path(args.out).is_dir()):
        raise ValueError(f"--out names a .json file, not {args.out!r}")
    if not checkpoint.is_file():
        raise ValueError(f"no checkpoint {args.checkpoint!r}")
    cfg = read_config(args.config, args.cfg_options, args.method)
    folder = Path(args.work_dir or checkpoint.parent)
    with claimed(folder, alone=False):
        runner = build_runner(cfg, folder, launcher=args.launcher, train=False)
        load_trained(model_of(runner), checkpoint, runner.cfg["build"])
        metrics = runner.test()
    if is_main_process():
        result = collect_run(runner, metrics, config=args.config, checkpoint=args.checkpoint)
        out = Path(args.out or Path(runner.work_dir) / "test.json")
        write_json(result, out)
        print("\n" + table(result) + f"\n\n  written to {out}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
