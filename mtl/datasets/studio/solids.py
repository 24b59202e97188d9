"""The three convex solids that everything is built of, many at a time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

ELLIPSOID, FRUSTUM, BOX = range(3)

CORNERS = np.stack(np.meshgrid([-1.0, 1.0], [-1.0, 1.0], [-1.0, 1.0], indexing="ij"), -1).reshape(8, 3)
"""The corners of the unit cube, ``(8, 3)``."""

Points = np.ndarray | Sequence[float] | Sequence[Sequence[float]]


@dataclass(frozen=True)
class Solids:
    """``N`` unit solids under affine maps, ``point = centre + local @ axes``; metres.

    The unit solids: the ball; the frustum |y| ≤ 1 with radius 1 at y = −1 and ``taper`` at y = 1; the cube [−1, 1]³.

    Args:
        table: ``(N, 17)``, one array of all that is known, so that joining and moving are single calls; the
            properties name its columns.
    """

    table: np.ndarray

    def __len__(self) -> int:
        return len(self.table)

    def __getitem__(self, which: np.ndarray) -> Solids:
        return Solids(self.table[which])

    @property
    def axes(self) -> np.ndarray:
        """``(N, 3, 3)``, the half axes as rows."""
        return self.table[:, :9].reshape(-1, 3, 3)

    @property
    def centre(self) -> np.ndarray:
        """``(N, 3)``."""
        return self.table[:, 9:12]

    @property
    def kind(self) -> np.ndarray:
        """``(N,)`` ELLIPSOID, FRUSTUM or BOX."""
        return self.table[:, 12].astype(np.int64)

    @property
    def taper(self) -> np.ndarray:
        """``(N,)``, of frustums."""
        return self.table[:, 13]

    @property
    def capped(self) -> np.ndarray:
        """``(N,)`` bool: whether frustums have end discs; those of limbs are hidden in the joints."""
        return self.table[:, 14] > 0

    @property
    def material(self) -> np.ndarray:
        """``(N,)`` index into the materials that go with the solids."""
        return self.table[:, 15].astype(np.int64)

    @property
    def part(self) -> np.ndarray:
        """``(N,)`` body part, index into ``PART_CLASSES``; 0 for none."""
        return self.table[:, 16].astype(np.int64)

    def scaled(self, factor: float) -> Solids:
        """Enlarged about the origin."""
        table = self.table.copy()
        table[:, :12] *= factor
        return Solids(table)

    def on_floor(self) -> Solids:
        """Moved up or down until the lowest ellipsoid or box touches y = 0."""
        return self.placed([0.0, -(self.centre[:, 1] - np.sqrt((self.axes[:, :, 1] ** 2).sum(1))).min(), 0.0])

    def placed(self, position: Points, yaw: float = 0.0) -> Solids:
        """Turned by ``yaw`` radians about the y axis (counter-clockwise from above), then moved."""
        table = self.table.copy()
        table[:, :12] = (self.table[:, :12].reshape(-1, 4, 3) @ yaw_matrix(yaw).T).reshape(-1, 12)
        table[:, 9:12] += position
        return Solids(table)

    def with_materials_from(self, first: int) -> Solids:
        """The same with ``first`` added to the materials' indices."""
        table = self.table.copy()
        table[:, 15] += first
        return Solids(table)


def yaw_matrix(yaw: float) -> np.ndarray:
    """The rotation by ``yaw`` radians about the y axis; it takes z towards x."""
    c, s = np.cos(yaw), np.sin(yaw)
    return np.array([[c, 0.0, s], [0.0, 1.0, 0.0], [-s, 0.0, c]])


def join(groups: Sequence[Solids]) -> Solids:
    return Solids(np.concatenate([group.table for group in groups]))


def _solids(kind: int, centre: Points, axes: np.ndarray, taper, capped: bool, material, part) -> Solids:
    table = np.empty((len(axes), 17))
    table[:, :9] = axes.reshape(-1, 9)
    table[:, 9:12] = centre
    table[:, 12] = kind
    table[:, 13] = taper
    table[:, 14] = capped
    table[:, 15] = material
    table[:, 16] = part
    return Solids(table)


_AXES = np.eye(3)[None]


def upright(kind: int, centre: Points, half: Points, material=0, part=0, taper: float = 1.0) -> Solids:
    """Solids whose axes are the world's: centres ``(N, 3)`` or ``(3,)``, half sizes ``(N, 3)`` or ``(3,)``."""
    centre = np.asarray(centre, float).reshape(-1, 3)
    axes = np.empty((len(centre), 3, 3))
    axes[:] = _AXES * np.asarray(half, float).reshape(-1, 3)[:, None]
    return _solids(kind, centre, axes, taper, True, material, part)


def oriented(
    kind: int, centre: Points, frame: np.ndarray, half: Points, material=0, part=0, taper: float = 1.0
) -> Solids:
    """Solids with half sizes ``(N, 3)`` or ``(3,)`` along the rows of ``frame`` ``(N, 3, 3)``."""
    axes = frame * np.asarray(half, float).reshape(-1, 3)[:, :, None]
    return _solids(kind, centre, axes, taper, True, material, part)


def rods(start: Points, end: Points, radius, tip, material=0, part=0) -> Solids:
    """Frustums without end discs from ``start`` to ``end``, ``(N, 3)``, with radii ``radius`` and ``tip`` there."""
    start, end = np.asarray(start, float), np.asarray(end, float)
    radius, along = np.asarray(radius, float), (end - start) / 2
    axes = frames(along) * radius.reshape(-1, 1, 1)
    axes[:, 1] = along
    return _solids(FRUSTUM, (start + end) / 2, axes, tip / radius, False, material, part)


def frames(along: np.ndarray) -> np.ndarray:
    """Right-handed orthonormal frames ``(N, 3, 3)``, axes as rows, whose y axes point along ``(N, 3)``."""
    y = along / np.sqrt((along * along).sum(1, keepdims=True))
    flat = np.abs(y[:, 2]) < 0.9
    zero = np.zeros(len(y))
    # y × z where that is long enough, y × x elsewhere
    x = np.stack([np.where(flat, y[:, 1], zero), np.where(flat, -y[:, 0], y[:, 2]), np.where(flat, zero, -y[:, 1])], 1)
    x /= np.sqrt((x * x).sum(1, keepdims=True))
    z = x[:, [1, 2, 0]] * y[:, [2, 0, 1]] - x[:, [2, 0, 1]] * y[:, [1, 2, 0]]
    return np.stack([x, y, z], 1)
