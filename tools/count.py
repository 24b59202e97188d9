"""What configs cost: python tools/count.py CONFIG... [--method NAME...] [--format text|markdown|json]."""

from __future__ import annotations

import sys
from argparse import ArgumentParser

from mtl.engine.command_line import add_config, friendly
from mtl.engine.count import FORMATS, count, render


@friendly
def main() -> int:
    parser = ArgumentParser(description="Count parameters, the adapter file's bytes and FLOPs; nothing is downloaded.")
    add_config(parser, several=True)
    parser.add_argument("--format", choices=FORMATS, default="text", help="of the table (%(default)s)")
    args = parser.parse_args()
    pairs = [(config, method) for config in args.configs for method in args.method or [None]]
    print(render([count(config, args.cfg_options, method) for config, method in pairs], args.format))
    return 0


if __name__ == "__main__":
    sys.exit(main())
