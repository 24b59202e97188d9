"""Flip, rotation, zoom and resize in one resampling, for an image and every kind of target.

A ``matrix`` here is 3 x 3 and maps the centre (x, y, 1) of a source pixel to its place in the output.
"""

from __future__ import annotations

from typing import Any

import albumentations as A
import cv2
import numpy as np

from mtl.structures import VOID
from mtl.thinning import thin


def resizing(size: tuple[int, int], to: tuple[int, int]) -> np.ndarray:
    """The matrix of a resize from ``size`` to ``to``, both (H, W); the images' edges, not their centres, coincide."""
    y, x = to[0] / size[0], to[1] / size[1]
    return np.array([[x, 0, 0.5 * x - 0.5], [0, y, 0.5 * y - 0.5], [0, 0, 1]])


def mirroring(width: int) -> np.ndarray:
    """The matrix of a left-right flip."""
    return np.array([[-1.0, 0, width - 1], [0, 1, 0], [0, 0, 1]])


def shrink(image: np.ndarray, scale: tuple[float, float]) -> np.ndarray:
    """``(H, W, 3)`` averaged over areas along each axis that ``scale`` (of H, of W) makes smaller.

    To be done before a cubic interpolation, which reads four pixels whatever the scale and so aliases when it shrinks.
    """
    height, width = image.shape[:2]
    size = max(1, round(width * min(scale[1], 1))), max(1, round(height * min(scale[0], 1)))
    return image if size == (width, height) else cv2.resize(image, size, interpolation=cv2.INTER_AREA)


def move_lines(edges: np.ndarray, matrix: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """``(H, W)`` uint8 lines (0, 1, void 255) at their places in an image of ``size``, outside it void.

    Pixels that touch stay connected: the segments between them are drawn, and the whole is thinned. The nearest pixel
    would break lines where the image shrinks and widen them where it grows.
    """
    void = cv2.warpAffine(
        (edges == VOID).astype(np.uint8), matrix[:2], size[::-1], flags=cv2.INTER_NEAREST, borderValue=1
    )
    line = edges == 1
    H, W = line.shape
    y, x = np.nonzero(line)
    points = np.floor(np.stack([x, y, np.ones_like(x)], 1) @ matrix[:2].T + 0.5).astype(np.int32)
    drawn = np.zeros(size, np.uint8)
    inside = ((points >= 0) & (points < size[::-1])).all(1)
    drawn[points[inside, 1], points[inside, 0]] = 1
    number = np.full((H + 1, W + 2), -1)
    number[:H, 1:-1][line] = np.arange(len(x))
    here, left, right = number[:H, 1:-1], number[:H, :-2], number[:H, 2:]
    below, below_left, below_right = number[1:, 1:-1], number[1:, :-2], number[1:, 2:]
    links = [
        (right, line),
        (below, line),
        # a diagonal only where no corner pixel makes the same step
        (below_right, line & (right < 0) & (below < 0)),
        (below_left, line & (left < 0) & (below < 0)),
    ]
    for other, free in links:
        pairs = free & (other >= 0)
        cv2.polylines(drawn, points[np.stack([here[pairs], other[pairs]], 1)], False, 1)
    return np.where(void, np.uint8(VOID), thin(drawn).astype(np.uint8))


class Warp(A.Affine):
    """Flip with probability ``flip``, turn and zoom about the centre, resize to ``size`` (H, W).

    `albumentations.Affine` draws the angle (degrees, counter-clockwise) and the zoom. Albumentations' target types
    here are ``image`` and the values of `mtl.structures.TargetKind`. Outside the source image, the image is black and
    every target void.
    """

    def __init__(self, size: tuple[int, int], flip: float, rotate: tuple[float, float], scale: tuple[float, float]):
        super().__init__(rotate=rotate, scale=scale, keep_ratio=True, p=1.0)
        self.size = size
        self.flip = flip

    @property
    def targets(self) -> dict[str, Any]:
        return {
            "image": self.apply,
            "classes": self.apply_to_classes,
            "vectors": self.apply_to_vectors,
            "edges": self.apply_to_edges,
            "depth": self.apply_to_depth,
        }

    def get_params_dependent_on_data(self, params: dict[str, Any], data: dict[str, Any]) -> dict[str, Any]:
        height, width = params["shape"][:2]
        drawn = super().get_params_dependent_on_data(params, data)
        mirrored = self.py_random.random() < self.flip
        first = mirroring(width) if mirrored else np.eye(3)
        matrix = resizing((height, width), self.size) @ drawn["matrix"] @ first
        return {"matrix": matrix, "mirrored": mirrored, "angle": drawn["rotate"], "zoom": drawn["scale"]["x"]}

    def apply(self, img: np.ndarray, matrix: np.ndarray, **params: Any) -> np.ndarray:
        """``(H, W, 3)`` uint8; cubic."""
        size = img.shape[:2]
        inside = self._nearest(np.ones(size, np.uint8), matrix, 0)
        img = shrink(img, tuple(np.linalg.norm(matrix[:2, 1::-1], axis=0)))
        matrix = matrix @ resizing(img.shape[:2], size)
        # float32, in which OpenCV 5 is faster by a fifth; repeated edges, because interpolation would mix black into
        # the outermost pixels that have a label
        img = cv2.warpAffine(
            img.astype(np.float32), matrix[:2], self.size[::-1], flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE
        )
        # rounds, and clips to 0..255 what cubic interpolation overshoots
        img = cv2.addWeighted(img, 1, img, 0, 0, dtype=cv2.CV_8U)
        return cv2.bitwise_and(img, img, mask=inside)

    def apply_to_classes(self, target: np.ndarray, matrix: np.ndarray, **params: Any) -> np.ndarray:
        """``(H, W)`` uint8."""
        return self._nearest(target, matrix, VOID)

    def apply_to_vectors(
        self, target: np.ndarray, matrix: np.ndarray, mirrored: bool, angle: float, **params: Any
    ) -> np.ndarray:
        """``(H, W, 3)`` float32, turned with the image; length and void stay, for nothing is interpolated.

        Zooming leaves them, and so does the resize: where it changes the aspect ratio, the vectors stay those of the
        undistorted scene, as in the reference recipe.
        """
        c, s = np.cos(np.deg2rad(angle)), np.sin(np.deg2rad(angle))
        turn = np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]]) @ np.diag([-1.0 if mirrored else 1.0, 1, 1])
        return cv2.transform(self._nearest(target, matrix, 0), turn)

    def apply_to_depth(self, target: np.ndarray, matrix: np.ndarray, zoom: float, **params: Any) -> np.ndarray:
        """``(H, W)`` float32: what looks ``zoom`` times larger is as many times nearer."""
        return self._nearest(target, matrix, 0) / np.float32(zoom)

    def apply_to_edges(self, target: np.ndarray, matrix: np.ndarray, **params: Any) -> np.ndarray:
        """``(H, W)`` uint8."""
        return move_lines(target, matrix, self.size)

    def _nearest(self, target: np.ndarray, matrix: np.ndarray, void: int) -> np.ndarray:
        return cv2.warpAffine(
            target,
            matrix[:2],
            self.size[::-1],
            flags=cv2.INTER_NEAREST,
            borderMode=cv2.BORDER_CONSTANT,
            borderValue=void,
        )
