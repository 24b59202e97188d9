"""The colours of what the raster shows: textures, a sun with shadows on the floor, a sky, highlights."""

from __future__ import annotations

import cv2
import numpy as np

from mtl.datasets.studio.materials import Colour, Material, noise
from mtl.datasets.studio.raster import Raster, Surfaces
from mtl.datasets.studio.scene import Light, Scene
from mtl.datasets.studio.solids import BOX, CORNERS, FRUSTUM, Solids
from mtl.datasets.studio.view import View

_TURN = np.arange(16) * (np.pi / 8)
_CIRCLE = np.stack([np.cos(_TURN), np.sin(_TURN)])


def _column(colour: Colour) -> np.ndarray:
    return np.array(colour, np.float32)[:, None]


class Fragments:
    """The seen pixels in the order of their materials, so that all that share one are a slice.

    Attributes:
        order: ``(n,)`` flat pixel indices; the sky's come first.
        sky: how many pixels are sky.
        spans: material and slice of pixels, of every material that is seen.
        depth: ``(n,)`` metres along the optical axis; arbitrary in the sky.
        ray: ``(3, n)`` of depth 1, in the camera's axes.
        normal: ``(3, n)`` unit vectors in the camera's axes; zero in the sky.
        point: ``(3, n)`` object coordinates, metres; zero in the sky.
    """

    def __init__(self, view: View, raster: Raster, surfaces: Surfaces) -> None:
        height, width = view.size
        ranked = np.argsort(surfaces.material, kind="stable")
        rank = np.zeros(len(ranked) + 1, np.uint16)
        rank[ranked + 1] = np.arange(1, len(ranked) + 1)
        ids = rank[raster.ids.ravel()]
        self.order = np.argsort(ids, kind="stable")
        counts = np.bincount(ids, minlength=len(rank))
        self.sky = int(counts[0])

        n = len(ids)
        pixels = np.empty((4, n), np.float32)  # (u, v, 1, w)
        np.take(np.tile(np.arange(width, dtype=np.float32) + (1 - width) / 2, height), self.order, out=pixels[0])
        np.take(np.repeat(np.arange(height, dtype=np.float32) + (1 - height) / 2, width), self.order, out=pixels[1])
        pixels[2] = 1
        np.take(raster.near.ravel(), self.order, out=pixels[3])
        self.depth = 1 / pixels[3]
        self.ray = view.rays.astype(np.float32) @ pixels[:3]

        both = np.zeros((6, n), np.float32)
        maps = np.concatenate([surfaces.normal, surfaces.texture], 1)
        materials = surfaces.material[ranked].tolist()
        self.spans: list[tuple[int, slice]] = []
        end = self.sky
        for patch, material, count in zip(ranked.tolist(), materials, counts[1:].tolist(), strict=True):
            start, end = end, end + count
            if count:
                np.matmul(maps[patch], pixels[:, start:end], out=both[:, start:end])
                if self.spans and self.spans[-1][0] == material:
                    start = self.spans.pop()[1].start
                self.spans.append((material, slice(start, end)))
        self.normal, self.point = both[:3], both[3:]
        solid = self.normal[:, self.sky :]
        solid /= np.sqrt(np.einsum("in,in->n", solid, solid))
        self.point *= self.depth

    def spread(self, values: list[float]) -> np.ndarray:
        """One value per material -> ``(n,)``, 0 in the sky."""
        seen = [0.0, *(values[material] for material, _ in self.spans)]
        sizes = [self.sky, *(span.stop - span.start for _, span in self.spans)]
        return np.repeat(np.array(seen, np.float32), sizes)

    def albedo(self, materials: tuple[Material, ...], focal: float) -> np.ndarray:
        """Linear RGB ``(3, n)``, black in the sky."""
        facing = np.maximum(-np.einsum("in,in->n", self.normal, self.ray), 0.1)
        footprint = self.depth / (facing * np.float32(focal))
        colour = np.zeros_like(self.point)
        for material, span in self.spans:
            colour[:, span] = materials[material].albedo(self.point[:, span], footprint[span])
        grain = noise(self.point * np.float32(4))
        grain *= self.spread([material.grain for material in materials])
        grain += 1
        colour *= grain
        return colour

    def image(self, values: np.ndarray, size: tuple[int, int]) -> np.ndarray:
        """``(C, n)`` in this order -> ``(H, W, C)``."""
        out = np.empty((len(self.order), len(values)), values.dtype)
        out[self.order] = values.T
        return out.reshape(*size, len(values))


def shade(scene: Scene, view: View, raster: Raster, surfaces: Surfaces) -> tuple[np.ndarray, np.ndarray]:
    """The picture ``(H, W, 3)`` uint8 RGB, and the normals ``(H, W, 3)`` float32, zero in the sky."""
    fragments = Fragments(view, raster, surfaces)
    rotation = view.rotation.astype(np.float32)
    sun = rotation @ scene.light.direction.astype(np.float32)
    up = rotation[:, 1]
    height = (up @ fragments.ray) * fragments.depth + np.float32(view.position[1])
    shadow = _floor_shadow(scene, view).ravel()[fragments.order]
    shadow *= height < 0.02

    colour = _light(scene.light, fragments.normal, sun, up, shadow)
    colour += fragments.spread([material.glow for material in scene.materials])
    colour *= fragments.albedo(scene.materials, view.focal)
    half = sun + np.array([0, 0, 1], np.float32)
    half /= np.linalg.norm(half)
    highlight = np.maximum(half @ fragments.normal, 0)
    for _ in range(4):
        highlight *= highlight
    highlight *= fragments.spread([material.gloss for material in scene.materials])
    colour += highlight
    if fragments.sky:
        colour[:, : fragments.sky] = _sky(scene, rotation.T @ fragments.ray[:, : fragments.sky])

    np.clip(colour, 0, 1, out=colour)
    np.sqrt(colour, out=colour)  # the display's gamma, nearly
    colour *= 255
    colour += 0.5
    picture = fragments.image(colour.astype(np.uint8), view.size)
    return _soften(picture, raster.ids), fragments.image(fragments.normal, view.size)


def _light(light: Light, normal: np.ndarray, sun: np.ndarray, up: np.ndarray, shadow: np.ndarray) -> np.ndarray:
    """Linear RGB ``(3, n)`` that falls on the surfaces."""
    sky, ground = _column(light.sky), _column(light.ground)
    total = (sky + ground) / 2 + (sky - ground) / 2 * (up @ normal)
    total *= 1 - np.float32(0.35) * shadow
    lambert = np.maximum(sun @ normal, 0)
    lambert *= 1 - np.float32(0.85) * shadow
    total += _column(light.sun) * lambert
    return total


def _sky(scene: Scene, direction: np.ndarray) -> np.ndarray:
    """Linear RGB ``(3, n)`` in the directions ``(3, n)``, world axes."""
    direction = direction / np.sqrt(np.einsum("in,in->n", direction, direction))
    horizon, zenith = _column(scene.horizon), _column(scene.zenith)
    clouds = np.clip(noise(direction * np.array([[1.5], [5], [1.5]], np.float32)), 0, 1)
    return horizon + (zenith - horizon) * np.clip(2 * direction[1], 0, 1) + np.float32(0.15) * clouds


def _soften(picture: np.ndarray, ids: np.ndarray) -> np.ndarray:
    """Blur the pixels at the patches' borders by 3 × 3, in place of anti-aliasing."""
    kernel = np.ones((3, 3), np.uint8)
    border = cv2.dilate(ids, kernel) != cv2.erode(ids, kernel)
    return cv2.copyTo(cv2.GaussianBlur(picture, (3, 3), 0), border.view(np.uint8), picture)


def _floor_shadow(scene: Scene, view: View) -> np.ndarray:
    """``(H, W)`` float32, the share of the sun that the floor does not get at the pixels where it would be seen."""
    outlines = _shadow_outlines(scene.solids[np.flatnonzero(scene.label)], scene.light.direction)
    floor = np.stack([outlines[..., 0], np.zeros(outlines.shape[:2]), outlines[..., 1]], -1)
    pixels, depth = view.project((floor - view.position) @ view.rotation.T)
    pixels = (np.clip(pixels, -4000, 4000) * 16).astype(np.int32)
    mask = np.zeros(view.size, np.uint8)
    for points in pixels[depth.min(1) > 0.05]:
        cv2.fillConvexPoly(mask, cv2.convexHull(points), 255, cv2.LINE_8, 4)
    width = 2 * round(min(view.size) / 80) + 1
    return cv2.blur(cv2.blur(mask, (width, width)), (width, width)).astype(np.float32) / 255


def _shadow_outlines(solids: Solids, sun: np.ndarray) -> np.ndarray:
    """Points ``(N, 16, 2)`` on the floor (x, z), of which the convex hull is each solid's shadow."""
    fall = np.array([[1.0, -sun[0] / sun[1], 0.0], [0.0, -sun[2] / sun[1], 1.0]])
    axes, kind = solids.axes @ fall.T, solids.kind  # (N, 3, 2)
    covariance = axes.transpose(0, 2, 1) @ axes + 1e-9 * np.eye(2)
    points = (np.linalg.cholesky(covariance) @ _CIRCLE).transpose(0, 2, 1)
    points[kind == BOX] = np.tile(CORNERS, (2, 1)) @ axes[kind == BOX]
    rods, taper = axes[kind == FRUSTUM], solids.taper[kind == FRUSTUM, None, None]
    ring, along = _CIRCLE[:, ::2].T @ rods[:, ::2], rods[:, 1:2]
    points[kind == FRUSTUM] = np.concatenate([ring - along, taper * ring + along], 1)
    return points + (solids.centre @ fall.T)[:, None]
