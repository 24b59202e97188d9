"""Text that comes from outside, such as the names of files, in lines and pictures of our own."""

from __future__ import annotations

from collections.abc import Iterable


def printable(text: object, keep: str = "") -> str:
    """``text`` with an escape, ``\\n`` or ``\\x1b``, for every character that is not visible but a space and ``keep``.

    A line break would make two lines of one, other control characters command the terminal, and what is not UTF-8
    cannot be written at all.
    """
    return "".join(c if c.isprintable() or c in keep else escape(c) for c in str(text))


def escape(character: str) -> str:
    """Python's, such as ``\\n`` or ``\\u5199``."""
    return character.encode("unicode_escape").decode()


def reason(error: Exception) -> str:
    """What went wrong in one line, without the name of the file, which the caller says."""
    text = (isinstance(error, OSError) and error.strerror) or str(error)
    return printable(" ".join(text.split())) or type(error).__name__


def short(text: str, most: int = 80) -> str:
    """``text`` in one line, cut to ``most`` characters."""
    text = text if text.isprintable() else repr(text)
    return text if len(text) <= most else text[: most - 1] + "…"


def named(where: str, key: object) -> str:
    """A key of ``where`` for a message, ``where['key']``."""
    return short(f"{where}[{key!r}]" if where else repr(key))


def some_of(names: Iterable[str], most: int = 10, between: str = ", ") -> str:
    """Names for a message, ``a, b and 3 more`` where there are more than ``most``."""
    names = [str(name) for name in names]
    return between.join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")
