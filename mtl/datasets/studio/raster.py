"""Which surface a pixel sees, and how far away: exact ray casting, one convex patch of surface after the other.

A pixel's ray is ``t·M(u, v, 1)`` with t the depth along the optical axis, u right and v down from the picture's centre.
In w = 1/t planes are linear in (u, v), and the near side of a quadric is sqrt(D(u, v)) − b(u, v) with a quadratic D
and a linear b: nothing is divided, and a polynomial in (u, v) costs a row, a column and two operations per pixel.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from mtl.datasets.studio.scene import Scene
from mtl.datasets.studio.solids import BOX, CORNERS, ELLIPSOID, Solids
from mtl.datasets.studio.view import View


@dataclass(frozen=True)
class Surfaces:
    """The patches that face the camera, ``P`` in all: planes, then curved sides, then flat faces.

    Args:
        solid: ``(P,)`` index of the solid, −1 for a plane.
        material: ``(P,)``.
        normal: ``(P, 3, 4)`` takes (u, v, 1, w) to the outward normal in the camera's axes, not of unit length.
        texture: ``(P, 3, 4)`` takes (u, v, 1, w) to w times the object coordinates, metres.
    """

    solid: np.ndarray
    material: np.ndarray
    normal: np.ndarray
    texture: np.ndarray


class Raster:
    """The buffers: ``ids`` ``(H, W)`` uint16, 1 + the patch that is seen or 0; ``near`` ``(H, W)`` float32, its 1/t."""

    def __init__(self, view: View, far: float) -> None:
        self.view = view
        self.ids = np.zeros(view.size, np.uint16)
        self.near = np.full(view.size, 1 / far, np.float32)
        self.ramp = np.arange(max(view.size), dtype=np.float32)

    def plane(self, number: int, form: np.ndarray) -> None:
        """Draw where the linear form in (u, v, 1) is nearer than what is there."""
        height, width = self.view.size
        u, v = self.view.corner
        a, b, c = (form @ [[1, 0, u], [0, 1, v], [0, 0, 1]]).tolist()
        self._merge(self.near, self.ids, number, a * self.ramp[:width] + (b * self.ramp[:height, None] + c))

    def curved(self, first: int, boxes: np.ndarray, conic: np.ndarray, linear: np.ndarray, cut: np.ndarray) -> None:
        """Draw near sides of quadrics, sqrt(D) − b, where |cut·(u, v, 1, w)| ≤ w.

        Args:
            first: number of the first.
            boxes: ``(P, 4)``.
            conic: ``(P, 3, 3)``, D as a quadratic form in (u, v, 1).
            linear: ``(P, 3)``, b.
            cut: ``(P, 4)``.
        """
        shift = self._shifts(boxes)
        d = (shift.transpose(0, 2, 1) @ conic @ shift).reshape(-1, 9)[:, [0, 1, 2, 4, 5, 8]] * [1, 2, 2, 1, 2, 1]
        forms = np.stack([linear, cut[:, :3]], 1) @ shift
        coefficients = np.concatenate([d, forms.reshape(-1, 6), cut[:, 3:]], 1).astype(np.float32)
        for which, x, y in self._batches(boxes):
            d0, d1, d2, d3, d4, d5, b0, b1, b2, c0, c1, c2, c3 = coefficients[which].T[:, :, None, None]
            w = d0 * x + (d1 * y + d2)
            w *= x
            w += (d3 * y + d4) * y + d5
            np.sqrt(w, out=w)
            w -= b0 * x
            w -= b1 * y + b2
            if cut[which].any():
                along = c0 * x + (c1 * y + c2)
                along += c3 * w
                w *= np.abs(along, out=along) <= w
            self._merge_all(first, which, boxes, w)

    def faces(self, first: int, boxes: np.ndarray, forms: np.ndarray, disc: np.ndarray) -> None:
        """Draw squares and discs.

        Args:
            first: number of the first.
            boxes: ``(P, 4)``.
            forms: ``(P, 3, 3)`` linear forms in (u, v, 1): w, and w times the two coordinates over the half size.
            disc: ``(P,)`` bool.
        """
        coefficients = (forms @ self._shifts(boxes)).reshape(-1, 9).astype(np.float32)
        for which, x, y in self._batches(boxes):
            a0, a1, a2, p0, p1, p2, q0, q1, q2 = coefficients[which].T[:, :, None, None]
            w = a0 * x + (a1 * y + a2)
            p = p0 * x + (p1 * y + p2)
            q = q0 * x + (q1 * y + q2)
            round_ = disc[which, None, None]
            w *= np.where(round_, p * p + q * q <= w * w, np.maximum(np.abs(p), np.abs(q)) <= w)
            self._merge_all(first, which, boxes, w)

    def _shifts(self, boxes: np.ndarray) -> np.ndarray:
        """``(P, 3, 3)``, to rewrite forms in (u, v, 1) as forms in pixels from each box's corner: float32 is then
        exact enough for things that are small in a large picture."""
        shift = np.empty((len(boxes), 3, 3))
        shift[:] = np.eye(3)
        shift[:, :2, 2] = boxes[:, :2] + self.view.corner
        return shift

    def _batches(self, boxes: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
        """Boxes of similar size together, as one NumPy call costs as much as a thousand pixels: their indices, and
        the pixel offsets ``(1, w)`` and ``(h, 1)`` of the largest."""
        sizes = boxes[:, 2:] - boxes[:, :2]
        order = np.argsort(sizes.max(1), kind="stable")
        order = order[sizes[order].min(1) > 0]
        start = 0
        while start < len(order):
            largest = np.maximum.accumulate(sizes[order[start:]])
            fits = np.arange(1, len(largest) + 1) * largest.prod(1) <= 16384
            stop = start + max(1, int(np.searchsorted(~fits, True)))
            width, height = largest[stop - start - 1]
            yield order[start:stop], self.ramp[:width], self.ramp[:height, None]
            start = stop

    def _merge_all(self, first: int, which: np.ndarray, boxes: np.ndarray, w: np.ndarray) -> None:
        for tile, number, (left, top, right, bottom) in zip(w, which.tolist(), boxes[which].tolist(), strict=True):
            inside = slice(top, bottom), slice(left, right)
            self._merge(self.near[inside], self.ids[inside], first + number, tile[: bottom - top, : right - left])

    @staticmethod
    def _merge(near: np.ndarray, ids: np.ndarray, number: int, w: np.ndarray) -> None:
        seen = w > near
        np.copyto(near, w, where=seen)
        np.copyto(ids, number, where=seen)


class _Local:
    """The solids in the camera's axes, and the camera and its rays in the solids' coordinates."""

    def __init__(self, solids: Solids, view: View) -> None:
        self.kind = solids.kind
        self.taper = solids.taper
        self.capped = solids.capped
        self.axes = solids.axes @ view.rotation.T
        self.centre = (solids.centre - view.position) @ view.rotation.T
        self.into = np.linalg.inv(self.axes).transpose(0, 2, 1)
        self.origin = -np.einsum("nij,nj->ni", self.into, self.centre)
        self.rays = self.into @ view.rays

    def points(self, which: np.ndarray, local: np.ndarray) -> np.ndarray:
        """Local points ``(P, n, 3)`` of the solids ``which`` in the camera's axes."""
        return self.centre[which, None] + local @ self.axes[which]


def _draw_planes(raster: Raster, scene: Scene) -> tuple[np.ndarray, np.ndarray]:
    """Draw the planes; returns their normals and textures as in `Surfaces`."""
    view = raster.view
    normal = scene.planes[:, :3] @ view.rotation.T
    distance = scene.planes[:, 3] + scene.planes[:, :3] @ view.position
    for i, form in enumerate(normal @ -view.rays / distance[:, None]):
        raster.plane(i + 1, form)
    to_world = np.column_stack([view.rotation.T @ view.rays, view.position])
    turn = np.concatenate([np.zeros((len(normal), 3, 3)), normal[:, :, None]], 2)
    return turn, np.broadcast_to(to_world, turn.shape)


def _draw_curved(raster: Raster, local: _Local, first: int) -> tuple[np.ndarray, np.ndarray]:
    """Draw ellipsoids and the sides of frustums, x² + j y² + z² − 2ms y − m² = 0 (radius m + s y).

    Returns:
        The solids that they belong to, and their normals as in `Surfaces`.
    """
    which = np.flatnonzero(local.kind != BOX)
    ball, taper = local.kind[which] == ELLIPSOID, local.taper[which]
    m, s = np.where(ball, 1, (1 + taper) / 2), np.where(ball, 0, (taper - 1) / 2)
    j = np.where(ball, 1, -s * s)
    o, rays = local.origin[which], local.rays[which]

    form = np.stack([np.ones_like(j), j, np.ones_like(j)], 1)
    half = form * o
    half[:, 1] -= m * s
    c = np.einsum("ni,ni->n", half, o) - m * s * o[:, 1] - m * m
    b = np.einsum("ni,nij->nj", half, rays) / c[:, None]
    conic = b[:, :, None] * b[:, None] - (rays.transpose(0, 2, 1) @ (form[:, :, None] * rays)) / c[:, None, None]

    wide = np.maximum(m + s, m - s)
    ends = CORNERS * np.stack([wide, np.ones_like(wide), wide], 1)[:, None]
    boxes = raster.view.boxes_around(local.points(which, ends))
    boxes[ball] = raster.view.boxes_of_ellipses(conic[ball])
    boxes[c <= 0] = 0  # from within the side's cone only the ends are seen
    cut = np.concatenate([rays[:, 1], o[:, 1:2]], 1)
    cut[ball] = 0
    raster.curved(first, boxes, conic, b, cut)

    gradient = form[:, :, None] * np.concatenate([rays, o[:, :, None]], 2)
    gradient[:, 1, 3] -= m * s
    return which, local.into[which].transpose(0, 2, 1) @ gradient


def _draw_faces(raster: Raster, local: _Local, first: int) -> tuple[np.ndarray, np.ndarray]:
    """Draw the faces of boxes and the ends of frustums on whose outer side the camera is; returns as `_draw_curved`."""
    square = local.kind == BOX
    flat = np.stack([square, square | local.capped & (local.kind != ELLIPSOID), square], 1)
    which, axis = np.nonzero(flat & (np.abs(local.origin) > 1))
    row = np.arange(len(which))
    o, rays, disc = local.origin[which], local.rays[which], ~square[which]
    side = np.sign(o[row, axis])
    radius = np.where(disc & (side > 0), local.taper[which], 1.0)

    w = rays[row, axis] / (side - o[row, axis])[:, None]
    around = [(axis + 1) % 3, (axis + 2) % 3]
    forms = [w, *((rays[row, k] + o[row, k, None] * w) / radius[:, None] for k in around)]
    corners = CORNERS * radius[:, None, None]
    corners[row, :, axis] = side[:, None]
    boxes = raster.view.boxes_around(local.points(which, corners))
    raster.faces(first, boxes, np.stack(forms, 1), disc)

    normal = np.zeros((len(which), 3, 4))
    normal[:, :, 3] = side[:, None] * local.into[which, axis]
    return which, normal


def rasterise(scene: Scene, view: View) -> tuple[Raster, Surfaces]:
    """Draw all that the camera sees into fresh buffers."""
    raster = Raster(view, scene.far)
    local = _Local(scene.solids, view)
    planes = len(scene.planes)
    with np.errstate(invalid="ignore", divide="ignore"):  # the square root outside a silhouette is NaN and loses
        plane_normal, plane_texture = _draw_planes(raster, scene)
        curved, curved_normal = _draw_curved(raster, local, planes + 1)
        faces, face_normal = _draw_faces(raster, local, planes + 1 + len(curved))
    solid = np.concatenate([curved, faces])
    length = np.linalg.norm(scene.solids.axes, axis=2)
    texture = np.concatenate([local.rays, local.origin[:, :, None]], 2) * length[:, :, None]
    surfaces = Surfaces(
        np.concatenate([np.full(planes, -1), solid]),
        np.concatenate([np.arange(planes), planes + scene.solids.material[solid]]),
        np.concatenate([plane_normal, curved_normal, face_normal]).astype(np.float32),
        np.concatenate([plane_texture, texture[solid]]).astype(np.float32),
    )
    return raster, surfaces
