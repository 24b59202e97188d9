"""Opening images whose size is known, and bounded, before they are decoded."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO

from PIL import Image

# Pillow warns at half of its limit; here a caller sets the bound. Appended: a program's own filters come first
warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning, append=True)

MAX_PIXELS = 178_956_970
"""Of an image or a frame: the number beyond which Pillow opens none either, twice its ``MAX_IMAGE_PIXELS``."""


@contextmanager
def open_image(file: BinaryIO, max_pixels: int = MAX_PIXELS) -> Iterator[Image.Image]:
    """The image in ``file``, not yet decoded.

    Raises:
        ValueError: it is no image, or has more pixels than ``max_pixels`` or Pillow's own limit allow.
        OSError, SyntaxError: its header is broken.
    """
    try:
        image = Image.open(file)
    except Image.UnidentifiedImageError as error:
        file.seek(0)
        raise ValueError("it is no image" if file.read(1) else "the file is empty") from error
    except Image.DecompressionBombError as error:
        limits = f"max_pixels={max_pixels}, or than Pillow opens, twice its MAX_IMAGE_PIXELS"
        raise ValueError(f"its pixels are more than {limits}") from error
    with image:
        check_pixels(image.width, image.height, max_pixels)
        yield image


def check_pixels(width: int, height: int, max_pixels: int) -> None:
    """Raise `ValueError` for an image that is too large to be decoded."""
    if width * height > max_pixels:
        raise ValueError(f"its {width} x {height} pixels (width x height) are more than max_pixels={max_pixels}")
