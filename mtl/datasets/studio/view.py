"""A scene's camera made for one picture: pixels, rays and where things appear."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class View:
    """A camera made for a picture.

    Args:
        size: (H, W) pixels.
        position: ``(3,)`` metres.
        rotation: ``(3, 3)``, the camera's axes as rows, left-handed in a mirror.
        focal: focal length in pixels.
    """

    size: tuple[int, int]
    position: np.ndarray
    rotation: np.ndarray
    focal: float

    @property
    def rays(self) -> np.ndarray:
        """M, the ``(3, 3)`` matrix that takes (u, v, 1) to a ray of depth 1 in the camera's axes."""
        return np.diag([1 / self.focal, -1 / self.focal, -1.0])

    @property
    def corner(self) -> np.ndarray:
        """(u, v) of the top left pixel's centre."""
        return np.array([(1 - self.size[1]) / 2, (1 - self.size[0]) / 2])

    def project(self, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Points ``(..., 3)`` in the camera's axes -> (column, row) in pixels ``(..., 2)`` and depth ``(...)``."""
        depth = -points[..., 2]
        uv = points[..., :2] * [self.focal, -self.focal] / np.where(np.abs(depth) < 1e-6, 1e-6, depth)[..., None]
        return uv - self.corner, depth

    def boxes(self, low: np.ndarray, high: np.ndarray) -> np.ndarray:
        """Pixel boxes ``(P, 4)`` left, top, right, bottom (ends excluded) from corners ``(P, 2)`` in pixels."""
        limit = np.array([self.size[1], self.size[0]])
        return np.concatenate(np.clip([np.floor(low), np.ceil(high) + 1], 0, limit), 1).astype(np.int64)

    def boxes_around(self, points: np.ndarray) -> np.ndarray:
        """Pixel boxes around points ``(P, n, 3)`` in the camera's axes; the whole picture if one is behind it."""
        pixels, depth = self.project(points)
        low, high = pixels.min(1), pixels.max(1)
        behind = depth.min(1) < 0.05
        low[behind], high[behind] = 0, max(self.size)
        return self.boxes(low, high)

    def boxes_of_ellipses(self, conics: np.ndarray) -> np.ndarray:
        """Pixel boxes around (u, v, 1)ᵀ C (u, v, 1) ≥ 0, ``(P, 3, 3)``; by the tangents, which the inverse gives."""
        dual = np.linalg.inv(conics)
        middle = dual[:, :2, 2] / dual[:, 2:, 2]
        reach = np.sqrt(np.maximum(middle**2 - dual[:, [0, 1], [0, 1]] / dual[:, 2:, 2], 0))
        return self.boxes(middle - reach - self.corner, middle + reach - self.corner)
