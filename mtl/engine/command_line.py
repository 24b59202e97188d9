"""What the tools share: options of configs, and errors a user can act on in one line."""

from __future__ import annotations

import functools
import os
import sys
from argparse import ArgumentParser
from collections.abc import Callable
from pathlib import Path

from mmengine.config import DictAction

from mtl.utils.text import printable

EXIT_USER = 2
"""Exit status of a mistake in the input."""

_USER_ERRORS = (ValueError, FileNotFoundError, NotADirectoryError, IsADirectoryError, PermissionError)
_RUN_ERRORS = (FloatingPointError, OSError)


def add_config(parser: ArgumentParser, several: bool = False) -> None:
    if several:
        parser.add_argument("configs", nargs="+", metavar="CONFIG", help="config files")
    else:
        parser.add_argument("config", help="a config file, such as configs/quickstart.py")
    parser.add_argument(
        "--method",
        nargs="+" if several else None,
        metavar="NAME",
        help="another method: a file of configs/_base_/methods by its name, or any by its path",
    )
    add_options(parser)


def add_imports(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--custom-imports", nargs="+", default=[], metavar="MODULE", help="modules that register parts of your own"
    )


def add_options(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--cfg-options",
        nargs="+",
        action=DictAction,
        metavar="KEY=VALUE",
        help="override keys of the config, e.g. method.type=Hyperformer train_dataloader.batch_size=4",
    )


def friendly(main: Callable[[], int | None]) -> Callable[[], int]:
    """``main`` with the errors that a user can mend as one line on stderr and a non-zero status.

    ``MTL_TRACEBACK=1`` shows where they came from.
    """

    @functools.wraps(main)
    def run() -> int:
        if os.environ.get("MTL_TRACEBACK"):
            return main() or 0
        try:
            return main() or 0
        except _USER_ERRORS as error:
            print(f"error: {_one_line(error)}", file=sys.stderr)
            return EXIT_USER
        except _RUN_ERRORS as error:
            print(f"error: {_one_line(error)}", file=sys.stderr)
            return 1
        except KeyboardInterrupt:
            training = Path(sys.argv[0]).name == "train.py"
            hint = " (--resume goes on from the latest checkpoint)" if training else ""
            print(f"error: interrupted{hint}", file=sys.stderr)
            return 130
        except Exception as error:
            where = "MTL_TRACEBACK=1 shows where"
            print(f"error: {type(error).__name__}: {_one_line(error)} ({where})", file=sys.stderr)
            return 1

    return run


def _one_line(error: BaseException) -> str:
    text = str(error)
    if text.startswith("Caught ") and "Original Traceback" in text:
        # torch wraps what a loader process raised into a traceback; its last paragraph is the message
        text = text.rstrip().rpartition(f"\n{type(error).__name__}: ")[2]
    return printable(" ".join(text.split())) or type(error).__name__
