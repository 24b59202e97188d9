"""Label images from disk, and what is checked of class ids, whichever task reads them."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from PIL import Image

from mtl.structures import VOID

_CHANNELS = {"1": 1, "L": 1, "P": 1, "RGB": 3}
_PNG_SIGNATURE, _PNG_BIT_DEPTH, _JPEG_SIGNATURE = b"\x89PNG\r\n\x1a\n", 24, b"\xff\xd8"
_STRETCH = {2: 85, 4: 17}


def read_image(path: Path, channels: int, levels: bool = False) -> np.ndarray:
    """An image file's numbers as uint8: ``(H, W)`` for 1 channel, ``(H, W, 3)`` RGB for 3.

    They are as stored, class ids or palette indices; with ``levels`` grey of 1, 2 or 4 bits is stretched to 0..255.
    `ValueError` where the file cannot be decoded,
    is cut off, has 16 bits per channel, or another number of channels.
    """
    if Path(path).exists() and not Path(path).is_file():
        raise ValueError(f"cannot read the label {path}: it is not a file")
    try:
        data = Path(path).read_bytes()
        with Image.open(io.BytesIO(data)) as image:
            image.load()
            mode, array = image.mode, np.array(image)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        reason: object = error
        if isinstance(error, Image.UnidentifiedImageError):
            reason = "it is no image" if data else "the file is empty"
        raise ValueError(f"cannot read the label {path}: {reason}") from error
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


def read_array(path: Path) -> np.ndarray:
    """The array of a ``.npy`` file, never a pickled object; `ValueError` names the file."""
    try:
        array = np.load(path, allow_pickle=False)
    except Exception as error:  # a broken header fails in numpy, tokenize or zipfile
        raise ValueError(f"cannot read the label {path}: {' '.join(str(error).split())}") from error
    if not isinstance(array, np.ndarray):
        array.close()
        raise ValueError(f"the label {path} is a .npz of several arrays; save one with numpy.save")
    return array


def read_levels16(path: Path) -> np.ndarray:
    """A grey image of 16 bits a pixel, ``(H, W)`` uint16; `ValueError` where it is another."""
    try:
        with Image.open(path) as image:
            image.load()
            mode, array = image.mode, np.array(image)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise ValueError(f"cannot read the label {path}: {error}") from error
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
