"""The colours of the pictures that tasks draw."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from mtl.structures import VOID

GREY = (127, 127, 127)
"""The colour of pixels without a label in every task's picture."""


def _palette() -> np.ndarray:
    """``(256, 3)`` uint8: PASCAL VOC's colours, in which the bits of the id go to the high bits of R, G, B in turn."""
    ids = np.arange(256)
    colours = np.zeros((256, 3), np.uint8)
    for bit in range(8):
        colours[:, bit % 3] |= (((ids >> bit) & 1) << (7 - bit // 3)).astype(np.uint8)
    # VOC's colour of class 7 is (128, 128, 128), which nobody could tell from void
    colours[7] = 255
    colours[VOID] = GREY
    return colours


_PALETTE = _palette()
_FIRST = (0, 135, 255)
"""Of class 0 where it is no background: VOC's black darkens an overlay. No other bright colour is as far from the rest.
"""


def is_background(label: str) -> bool:
    """Whether a class of this name is what is left of an image: it is drawn black, and nothing in an overlay."""
    return label.strip().lower() == "background"


def draw_classes(value: np.ndarray, classes: Sequence[str]) -> np.ndarray:
    """``(H, W)`` class ids to their colours, uint8 ``(H, W, 3)``, RGB."""
    picture = _PALETTE[value]
    if not is_background(classes[0]):
        picture[value == 0] = _FIRST
    return picture


def class_legend(classes: Sequence[str]) -> list[tuple[str, tuple[int, int, int]]]:
    """The name and the RGB colour of every class."""
    colours = draw_classes(np.arange(len(classes)), classes).tolist()
    return [(name, tuple(colour)) for name, colour in zip(classes, colours, strict=True)]


def heat(probability: np.ndarray) -> np.ndarray:
    """``(H, W)`` probabilities in the colours of the map "inferno", which has no grey but black, uint8 RGB."""
    level = np.round(255 * probability).astype(np.uint8)
    return np.ascontiguousarray(cv2.applyColorMap(level, cv2.COLORMAP_INFERNO)[..., ::-1])
