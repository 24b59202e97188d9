"""What the tools share: options of configs, and errors a user can act on in one line."""

from __future__ import annotations

import functools
import io
import os
import sys
import traceback
from argparse import Action, ArgumentParser, Namespace
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from mtl.utils.text import printable

EXIT_USER = 2
"""Exit status of a mistake in the input."""

_NO_FOLDER = (FileExistsError, NotADirectoryError)
"""Of what makes a folder, if a file has its name or that of a folder above it."""
_USER_ERRORS = (ValueError, FileNotFoundError, IsADirectoryError, PermissionError, *_NO_FOLDER)
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
        action=_Options,
        metavar="KEY=VALUE",
        help="override keys of the config, e.g. method.type=Hyperformer train_dataloader.batch_size=4",
    )


class _Options(Action):
    """``KEY=VALUE ...`` as a dict; an option that is given again adds to it."""

    def __call__(
        self,
        parser: ArgumentParser,
        namespace: Namespace,
        values: str | Sequence[Any] | None,
        option: str | None = None,
    ) -> None:
        options = dict(getattr(namespace, self.dest) or {})
        for text in values or ():
            key, equals, value = text.partition("=")
            if not equals:
                raise ValueError(f"{option} takes KEY=VALUE, not {text!r}; a value with spaces is quoted for the shell")
            options[key] = _value(value, f"{option} {key}")
        setattr(namespace, self.dest, options)


def _value(text: str, where: str) -> Any:
    """A number, True, False, None, a list (``[1, 2]`` or ``1,2``), a tuple, or the text as it is.

    MMEngine's own reading takes the spaces out of texts, and so turns a path into another one.
    """
    text = text.strip()
    if len(text) > 1 and text[0] == text[-1] and text[0] in "'\"":
        return text[1:-1]
    parts = _at_commas(text, where)
    if len(parts) > 1:
        return [_value(part, where) for part in parts]
    if text[:1] + text[-1:] in ("[]", "()"):
        inner = text[1:-1].strip().removesuffix(",")
        items = [_value(part, where) for part in _at_commas(inner, where)] if inner else []
        return tuple(items) if text[0] == "(" else items
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            pass
    return {"true": True, "false": False}.get(text.lower(), None if text == "None" else text)


def _at_commas(text: str, where: str) -> list[str]:
    """``text`` split at the commas that lie in no brackets."""
    parts, depth = [""], 0
    for letter in text:
        depth += (letter in "([") - (letter in ")]")
        if letter == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += letter
    if "," in text and depth:
        raise ValueError(f"{where}: the brackets of {text!r} do not match")
    return parts


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
        except KeyboardInterrupt as error:
            print(f"error: interrupted{f' ({error})' if str(error) else ''}", file=sys.stderr)
            return 130
        except Exception as error:
            where = "MTL_TRACEBACK=1 shows where"
            text = f"{type(error).__name__}: {_one_line(error)}"
            if type(error).__name__ == "DistBackendError" or "gloo/transport" in text:  # NCCL's and gloo's
                text = "another process of this run ended or does not answer; its own message says why"
            print(f"error: {text} ({where})", file=sys.stderr)
            return 1

    return run


def _one_line(error: BaseException) -> str:
    text = str(error)
    if text.startswith("Caught ") and "Original Traceback" in text:
        # torch wraps what a loader process raised into a traceback; its last paragraph is the message
        text = text.rstrip().rpartition(f"\n{type(error).__name__}: ")[2]
    if isinstance(error, _NO_FOLDER) and isinstance(error.filename, str):
        path = Path(error.filename)
        if in_the_way := next((one for one in (path, *path.parents) if one.is_file()), None):
            text = f"{in_the_way} is a file, a folder is needed: name another one"
    if isinstance(error, OSError) and error.filename is None and (file := _open_file(error)):
        text = f"{text}: {file!r}"
    return printable(" ".join(text.split())) or type(error).__name__


def _open_file(error: BaseException) -> str | None:
    """The file that was open where ``error`` came from: a full disk is noticed in a write, which names no file."""
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
    values = [value for frame in reversed(frames) for value in frame.f_locals.values()]
    names = [getattr(value, "name", None) for value in values if isinstance(value, io.IOBase)]
    return next((name for name in names if isinstance(name, str)), None)
