"""Label images from disk, and what is checked of class ids, whichever task reads them."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np

from mtl.structures import VOID
from mtl.utils.files import open_regular
from mtl.utils.images import open_image
from mtl.utils.text import printable, reason

_CHANNELS = {"1": 1, "L": 1, "P": 1, "RGB": 3}
_PNG_SIGNATURE, _PNG_BIT_DEPTH, _JPEG_SIGNATURE = b"\x89PNG\r\n\x1a\n", 24, b"\xff\xd8"
_STRETCH = {2: 85, 4: 17}


def read_image(path: Path, channels: int, levels: bool = False) -> np.ndarray:
    """An image file's numbers as uint8: ``(H, W)`` for 1 channel, ``(H, W, 3)`` RGB for 3.

    They are as stored, class ids or palette indices; with ``levels`` grey of 1, 2 or 4 bits is stretched to 0..255.
    `ValueError` where the file cannot be decoded, is cut off, has 16 bits per channel, or another number of channels.
    """
    data, mode, array = _decoded(path)
    # Pillow cuts a 16-bit RGB PNG down to 8 bits without a word
    depth = data[_PNG_BIT_DEPTH] if data.startswith(_PNG_SIGNATURE) else 8
    if depth == 16 or mode.startswith("I"):
        raise ValueError(f"the label {path} has 16 or 32 bits per channel; save it with 8")
    if _CHANNELS.get(mode) != channels:
        wanted = "one channel (grey or palette)" if channels == 1 else "three channels (RGB)"
        raise ValueError(f"the label {path} has the channels {mode!r}, not {wanted}")
    array = array.astype(np.uint8, copy=False)
    if levels:
        return array * np.uint8(255) if mode == "1" else array
    if data.startswith(_JPEG_SIGNATURE) and channels == 1:
        raise ValueError(f"the label {path} is a JPEG, which does not keep class ids; save it as PNG")
    # Pillow stretches grey of 2 and 4 bits
    return array // np.uint8(_STRETCH.get(depth, 1)) if mode == "L" else array


def _decoded(path: Path) -> tuple[bytes, str, np.ndarray]:
    """An image file's bytes, Pillow's mode, and the pixels; `ValueError` names the file."""
    try:
        with open_regular(path) as file:
            data = file.read()
        with open_image(io.BytesIO(data)) as image:
            return data, image.mode, np.array(image)
    except Exception as error:  # decoders raise whatever their format's library does
        raise ValueError(f"cannot read the label {printable(path)}: {reason(error)}") from error


def read_array(path: Path) -> np.ndarray:
    """The array of a ``.npy`` file, never a pickled object; `ValueError` names the file."""
    try:
        with open_regular(path) as file:
            array = np.load(file, allow_pickle=False)
    except Exception as error:  # a broken header fails in numpy, tokenize or zipfile
        raise ValueError(f"cannot read the label {printable(path)}: {reason(error)}") from error
    if not isinstance(array, np.ndarray):
        raise ValueError(f"the label {path} is a .npz of several arrays; save one with numpy.save")
    return array


def read_levels16(path: Path) -> np.ndarray:
    """A grey image of 16 bits a pixel, ``(H, W)`` uint16; `ValueError` where it is another."""
    _, mode, array = _decoded(path)
    # older Pillow opens 16 bits as "I", as it does 32
    if not mode.startswith("I") or array.min() < 0 or array.max() > 65535:
        raise ValueError(f"the label {path} has the channels {mode!r}, not one of 16 bits")
    return array.astype(np.uint16)


def read_class_ids(path: Path) -> np.ndarray:
    """A grey or palette image as ``(H, W)`` uint8 class ids; `ValueError` also for JPEG, which changes them."""
    return read_image(path, channels=1)


def check_class_ids(target: np.ndarray, num_classes: int, where: str) -> None:
    """Raise `ValueError` unless ``target`` is ``(H, W)`` uint8 of 0..num_classes-1 and 255; ``where`` is its file."""
    if target.ndim != 2 or target.dtype != np.uint8:
        raise ValueError(f"{where}: class ids come as (H, W) uint8, not as {target.shape} {target.dtype}")
    wrong = np.unique(target[(target >= num_classes) & (target != VOID)])
    if wrong.size:
        ids = ", ".join(str(i) for i in wrong[:5]) + (", ..." if wrong.size > 5 else "")
        raise ValueError(f"{where}: class id {ids} is not in 0..{num_classes - 1} or {VOID} (void)")
