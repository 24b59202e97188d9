"""What configs cost: python tools/count.py CONFIG... [--format text|markdown|json] [--cfg-options ...]."""

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
    print(render([count(config, args.cfg_options) for config in args.configs], args.format))
    return 0


if __name__ == "__main__":
    sys.exit(main())
