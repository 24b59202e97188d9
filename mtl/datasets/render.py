"""Pictures of scenes with exact labels."""

from __future__ import annotations

import numpy as np

from mtl.datasets.studio.compose import compose
from mtl.datasets.studio.people import PART_CLASSES
from mtl.datasets.studio.raster import Raster, Surfaces, rasterise
from mtl.datasets.studio.scene import SCENE_CLASSES, Scene
from mtl.datasets.studio.shading import shade
from mtl.datasets.studio.view import View
from mtl.structures import TargetKind

__all__ = ["PART_CLASSES", "SCENE_CLASSES", "TARGETS", "Scene", "compose", "render"]

TARGETS = {
    "semseg": TargetKind.CLASSES,
    "human_parts": TargetKind.CLASSES,
    "saliency": TargetKind.CLASSES,
    "normals": TargetKind.VECTORS,
    "depth": TargetKind.DEPTH,
}
"""What `render` can label, by task name."""


def render(
    scene: Scene, size: tuple[int, int], roll: float = 0.0, zoom: float = 1.0, flip: bool = False
) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """The picture of a scene and its exact targets.

    Zooming by ``zoom``, then turning by ``roll``, then mirroring is exactly what these do to the picture about its
    centre; normals turn with it. The zoom is one of the focal length, so depth stays as it is (a
    transform that keeps the focal length divides it by the zoom).

    Args:
        size: (H, W) in pixels; the field of view is the scene's along the shorter side.
        roll: degrees, counter-clockwise.
        zoom: above 1 enlarges.
        flip: mirror left and right.

    Returns:
        The image, ``(H, W, 3)`` uint8 RGB, and targets by the names of ``TARGETS``: ``semseg`` ids of
        ``SCENE_CLASSES``; ``human_parts`` ids of ``PART_CLASSES``, absent where no person is seen; ``saliency`` 1 on
        all people and on the object nearest to the camera (along the optical axis, in the whole scene); ``normals`` in
        the picture's axes x right, y up, z to the viewer, and ``depth`` in metres along the optical axis, zero in the
        sky.
    """
    view = view_of(scene, size, roll, zoom, flip)
    raster, surfaces = rasterise(scene, view)
    image, normals = shade(scene, view, raster, surfaces)
    return image, _labels(scene, raster, surfaces) | {"normals": normals}


def view_of(scene: Scene, size: tuple[int, int], roll: float = 0.0, zoom: float = 1.0, flip: bool = False) -> View:
    """The view of ``scene``'s camera as `render` takes it."""
    c, s = np.cos(np.radians(roll)), np.sin(np.radians(roll))
    turn = np.array([[c, -s, 0.0], [s, c, 0.0], [0.0, 0.0, 1.0]])
    if flip:
        turn[0] *= -1
    focal = scene.camera.focal * zoom * min(size)
    return View(size, scene.camera.position, turn @ scene.camera.rotation, focal)


def _labels(scene: Scene, raster: Raster, surfaces: Surfaces) -> dict[str, np.ndarray]:
    """All but the normals."""
    solid = surfaces.solid >= 0

    def painted(values: np.ndarray) -> np.ndarray:
        table = np.zeros(len(solid) + 1, np.uint8)
        table[1:][solid] = values[surfaces.solid[solid]]
        return table[raster.ids]

    targets = {
        "semseg": painted(scene.label),
        "saliency": painted(scene.salient),
        "depth": np.where(raster.ids > 0, 1 / raster.near, np.float32(0)),
    }
    parts = painted(scene.solids.part)
    return targets | {"human_parts": parts} if parts.any() else targets
