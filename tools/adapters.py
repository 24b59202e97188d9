"""Take adapter files apart by task and put them together: python tools/adapters.py {show,split,combine,remove} ..."""

from __future__ import annotations

import sys
from argparse import ArgumentParser
from pathlib import Path

from mtl.engine.adapter_tasks import Adapters, check_new, combine, describe, read_adapters, remove, select, write
from mtl.engine.command_line import add_imports, friendly
from mtl.engine.plugins import register_all


def parse() -> ArgumentParser:
    parser = ArgumentParser(description="Adapter files (.safetensors) by task; nothing is written over.")
    add_imports(parser)
    commands = parser.add_subparsers(dest="command", required=True)
    show = commands.add_parser("show", help="print what files hold")
    show.add_argument("files", nargs="+", metavar="FILE")
    split = commands.add_parser("split", help="one file per task, FOLDER/<task>.safetensors")
    split.add_argument("file")
    split.add_argument("--out", required=True, metavar="FOLDER")
    joined = commands.add_parser("combine", help="one file of the tasks of several, of the same base and method")
    joined.add_argument("files", nargs="+", metavar="FILE")
    joined.add_argument("--out", required=True, metavar="FILE")
    removed = commands.add_parser("remove", help="the file without some tasks")
    removed.add_argument("file")
    removed.add_argument("tasks", nargs="+", metavar="TASK")
    removed.add_argument("--out", required=True, metavar="FILE")
    return parser


@friendly
def main() -> int:
    args = parse().parse_args()
    register_all({"imports": args.custom_imports})
    if args.command == "show":
        print("\n".join(describe(_read(file)) for file in args.files))
        return 0
    out = Path(args.out).expanduser()
    if args.command == "split":
        adapters = _read(args.file)
        if out.exists() and not out.is_dir():
            raise ValueError(f"{out} is no folder")
        parts = {out / f"{task}.safetensors": select(adapters, [task]) for task in adapters.tasks}
    elif args.command == "combine":
        parts = {out: combine([_read(file) for file in args.files])}
    else:
        parts = {out: remove(_read(args.file), args.tasks)}
    for path in parts:  # before any is written
        check_new(path)
    for path, part in parts.items():
        write(part, path)
        print(f"{path}: {', '.join(part.tasks)}, {path.stat().st_size / 1e6:.2f} MB")
    return 0


def _read(file: str) -> Adapters:
    return read_adapters(Path(file).expanduser())


if __name__ == "__main__":
    sys.exit(main())
