"""Thinning of binary masks to lines that are one pixel wide."""

from __future__ import annotations

import cv2
import numpy as np

_BITS = np.array([[128, 1, 2], [64, 0, 4], [32, 16, 8]], np.float32)
"""Each neighbour's bit in a pixel's code: clockwise from the pixel above."""


def _tables() -> tuple[np.ndarray, np.ndarray]:
    """Which neighbourhoods, by their codes, lose their centre in the first and in the second pass.

    Z. Guo, R. W. Hall, Parallel thinning with two-subiteration algorithms, CACM 32(3), 1989, algorithm A1.
    """
    codes = np.arange(256)
    p = [(codes >> bit) & 1 for bit in range(8)]  # above, above right, right, ...
    crossings = sum((1 - p[i]) & (p[i + 1] | p[(i + 2) % 8]) for i in (0, 2, 4, 6))
    even, odd = (sum(p[i] | p[(i + 1) % 8] for i in range(start, 8, 2)) for start in (0, 1))
    neighbours = np.minimum(even, odd)
    simple = (crossings == 1) & (neighbours >= 2) & (neighbours <= 3)
    first = simple & (((p[0] | p[1] | (1 - p[3])) & p[2]) == 0)
    second = simple & (((p[4] | p[5] | (1 - p[7])) & p[6]) == 0)
    return first.astype(np.uint8), second.astype(np.uint8)


_FIRST, _SECOND = _tables()


def thin(mask: np.ndarray) -> np.ndarray:
    """``(H, W)`` bool to the lines in its middle, bool: connected as the mask is and one pixel wide."""
    lines = np.ascontiguousarray(mask, np.uint8)
    while True:
        before = lines
        for table in (_FIRST, _SECOND):
            codes = cv2.filter2D(lines, cv2.CV_8U, _BITS, borderType=cv2.BORDER_CONSTANT)
            lines = np.where(cv2.LUT(codes, table), np.uint8(0), lines)
        if np.array_equal(lines, before):
            return lines.astype(bool)
