"""Label images from disk, and what is checked of class ids, whichever task reads them."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from PIL import Image

from mtl.structures import VOID

_CHANNELS = {"1": 1, "L": 1, "P": 1, "RGB": 3}
_PNG_SIGNATURE, _PNG_BIT_DEPTH = b"\x89PNG\r\n\x1a\n", 24


def read_image(path: Path, channels: int, white: int = 1) -> np.ndarray:
    """An image file's numbers as uint8: ``(H, W)`` for 1 channel, ``(H, W, 3)`` RGB for 3.

    A palette image gives its indices and a 1-bit image 0 and ``white``. `ValueError` where the file cannot be decoded,
    is cut off, has 16 bits per channel, or another number of channels.
    """
    try:
        data = Path(path).read_bytes()
        with Image.open(io.BytesIO(data)) as image:
            image.load()
            mode, array = image.mode, np.array(image)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        reason = "the file is empty" if isinstance(error, Image.UnidentifiedImageError) and not data else error
        raise ValueError(f"cannot read the label {path}: {reason}") from error
    # Pillow cuts a 16-bit RGB PNG down to 8 bits without a word
    sixteen = data.startswith(_PNG_SIGNATURE) and data[_PNG_BIT_DEPTH] == 16
    if sixteen or mode.startswith("I"):
        raise ValueError(f"the label {path} has 16 or 32 bits per channel; save it with 8")
    if _CHANNELS.get(mode) != channels:
        wanted = "one channel (grey or palette)" if channels == 1 else "three channels (RGB)"
        raise ValueError(f"the label {path} has the channels {mode!r}, not {wanted}")
    array = array.astype(np.uint8, copy=False)
    return array * np.uint8(white) if mode == "1" else array


def read_class_ids(path: Path) -> np.ndarray:
    """A grey or palette image as ``(H, W)`` uint8 class ids; `ValueError` also for JPEG, which changes them."""
    if Path(path).suffix.lower() in {".jpg", ".jpeg"}:
        raise ValueError(f"the label {path} is a JPEG, which does not keep class ids; save it as PNG")
    return read_image(path, channels=1)


def check_class_ids(target: np.ndarray, num_classes: int, where: str) -> None:
    """Raise `ValueError` unless ``target`` is ``(H, W)`` uint8 of 0..num_classes-1 and 255; ``where`` is its file."""
    if target.ndim != 2 or target.dtype != np.uint8:
        raise ValueError(f"{where}: class ids come as (H, W) uint8, not as {target.shape} {target.dtype}")
    wrong = np.unique(target[(target >= num_classes) & (target != VOID)])
    if wrong.size:
        ids = ", ".join(str(i) for i in wrong[:5]) + (", ..." if wrong.size > 5 else "")
        raise ValueError(f"{where}: class id {ids} is not in 0..{num_classes - 1} or {VOID} (void)")
