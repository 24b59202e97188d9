"""Plain values out of files: dicts, lists, text, numbers and tensors, of a bounded size, and none of them an order.

A file is data. MMEngine reads some keys of a dict as an order (``_scope_`` imports a package, ``_delete_`` drops what
was there); in a file they are refused at any depth.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import struct
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mtl.utils.files import open_regular
from mtl.utils.text import named, reason, short

LARGEST_FILE = 64 * 2**20
"""Bytes of a JSON file."""

DEEPEST = 64
"""Dicts and lists inside of one another."""

MOST_VALUES = 1_000_000
"""Keys and values in a file, counted wherever they are named."""

LARGEST_INTEGER = 2**63


def read_json(path: Path) -> Any:
    """The plain values of a JSON file; `ValueError` says what is wrong with it, without its name."""
    try:
        with open_regular(path) as file:
            if (size := os.fstat(file.fileno()).st_size) > LARGEST_FILE:
                raise ValueError(f"{size / 2**20:.0f} MiB; the limit is {LARGEST_FILE // 2**20}")
            text = file.read().decode("utf-8")
    except UnicodeDecodeError as error:
        raise ValueError("not a text file") from error
    except OSError as error:
        raise ValueError(f"cannot be read ({reason(error)})") from error
    return parse_json(text)


def parse_json(text: str) -> Any:
    """The plain values of JSON text."""
    try:
        value = json.loads(text)
    except RecursionError as error:
        raise ValueError(f"nested too deeply; the limit is {DEEPEST}") from error
    except ValueError as error:
        raise ValueError(f"not JSON, or cut off ({error})") from error
    check_plain(value)
    return value


def check_plain(value: Any, where: str = "", leaf: Callable[[str, Any], None] | None = None) -> None:
    """Raise `ValueError` unless ``value`` is plain, of bounded depth and size, and without a key that is an order.

    Args:
        where: what ``value`` is called, to begin the keys' names with.
        leaf: called with the name and value of everything that is no dict and no list, for further checks.
    """
    left = [(where, value, 0)]
    count = 0
    while left:
        name, value, depth = left.pop()
        count += 1
        if count > MOST_VALUES:
            raise ValueError(f"more than {MOST_VALUES:,} values, which is the limit")
        if depth > DEEPEST:
            raise ValueError(f"{short(name)} is nested too deeply; the limit is {DEEPEST}")
        if isinstance(value, Mapping):
            for key in value:
                if not isinstance(key, str | int) or isinstance(key, bool):
                    raise ValueError(f"{named(name, key)}: a key is text or an integer")
                if isinstance(key, str) and key.startswith("_") and key.endswith("_"):
                    raise ValueError(f"{named(name, key)} would be an order to MMEngine; a file may not give one")
            left += [(f"{name}.{key}" if name else str(key), item, depth + 1) for key, item in value.items()]
        elif isinstance(value, list | tuple | set | frozenset):
            left += [(f"{name}[{i}]", item, depth + 1) for i, item in enumerate(value)]
        elif isinstance(value, Tensor):
            check_tensor(name, value)
        elif not isinstance(value, str | bytes | bool | int | float | None):
            raise ValueError(f"{short(name)} is a {type(value).__name__}, no plain value")
        elif isinstance(value, int) and not -LARGEST_INTEGER <= value < LARGEST_INTEGER:
            raise ValueError(f"{short(name)} is an integer of more than 64 bits")
        elif leaf is not None:
            leaf(name, value)


def check_tensor(name: str, value: Tensor) -> None:
    """Raise `ValueError` unless the tensor's values are all in the file: a view of one value may claim any number."""
    special = value.is_meta or value.is_quantized or value.is_nested or value.is_conj() or value.is_neg()
    if special or value.layout is not torch.strided:
        raise ValueError(f"{short(name)} is no dense tensor")
    if value.numel() * value.element_size() > value.untyped_storage().nbytes():
        raise ValueError(f"{short(name)} has {value.numel()} values, more than the file")


def check_keys(value: Any, where: str, required: Iterable[str], optional: Iterable[str] = ()) -> None:
    """Raise `ValueError` unless ``value`` is a dict with these keys and no others."""
    if not isinstance(value, Mapping):
        raise ValueError(f"{where} is a dict, not {short(repr(value))}")
    required = list(required)
    known = [*required, *optional]
    if missing := [key for key in required if key not in value]:
        raise ValueError(f"{where} has no {missing[0]!r}")
    if unknown := [key for key in value if key not in known]:
        raise ValueError(f"{where} has the unknown key {short(repr(unknown[0]))}; valid: {', '.join(known)}")


def is_number(value: Any) -> bool:
    """Whether ``value`` is a finite number."""
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e300


def content_digest(value: Any) -> str:
    """A SHA-256 of plain values and tensors: of every key, text, number, shape, type and byte, and of their order.

    ``value`` is one that `check_plain` lets pass. Each part is preceded by what it is and how long, so that no two
    values are the same bytes.
    """
    found = hashlib.sha256()
    _feed(found.update, value)
    return found.hexdigest()


def _feed(update: Callable[[Any], None], value: Any) -> None:
    if isinstance(value, Mapping):
        update(b"dict" + struct.pack("<q", len(value)))
        for key, item in value.items():
            _feed(update, key)
            _feed(update, item)
    elif isinstance(value, list | tuple | set | frozenset):
        kind = b"list" if isinstance(value, list) else b"tupl" if isinstance(value, tuple) else b"set "
        update(kind + struct.pack("<q", len(value)))
        for item in value if isinstance(value, list | tuple) else sorted(value, key=repr):
            _feed(update, item)
    elif isinstance(value, Tensor):
        _feed(update, [str(value.dtype), list(value.shape)])
        update(value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
    else:
        text = value if isinstance(value, bytes) else _text(value).encode("utf-8", "surrogatepass")
        update(type(value).__name__.encode() + struct.pack("<q", len(text)) + text)


def _text(value: str | int | float | bool | None) -> str:
    """Equal for equal values; of a float to the last bit."""
    if isinstance(value, str):
        return value
    return value.hex() if isinstance(value, float) and math.isfinite(value) else repr(value)
