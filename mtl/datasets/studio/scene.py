"""A scene: solids on a stage, a camera and a light."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mtl.datasets.studio.materials import Colour, Material
from mtl.datasets.studio.objects import OBJECTS
from mtl.datasets.studio.solids import Solids

SCENE_CLASSES = ("background", "person", *OBJECTS)
BACKGROUND, PERSON = range(2)


@dataclass(frozen=True)
class Camera:
    """A pinhole camera; its axes are x right, y up, z to the viewer.

    Args:
        position: ``(3,)`` metres.
        rotation: ``(3, 3)``, the camera's axes as rows in world coordinates.
        focal: focal length in units of the picture's shorter side.
    """

    position: np.ndarray
    rotation: np.ndarray
    focal: float

    @classmethod
    def above(cls, height: float, pitch: float, focal: float) -> Camera:
        """``height`` metres above the origin, looking along −z and ``pitch`` radians downward."""
        c, s = np.cos(pitch), np.sin(pitch)
        return cls(np.array([0.0, height, 0.0]), np.array([[1.0, 0.0, 0.0], [0.0, c, -s], [0.0, s, c]]), focal)


@dataclass(frozen=True)
class Light:
    """A sun and a sky; with ``direction`` the unit vector ``(3,)`` to the sun in world coordinates."""

    direction: np.ndarray
    sun: Colour = (0.75, 0.72, 0.66)
    sky: Colour = (0.42, 0.44, 0.48)
    ground: Colour = (0.26, 0.25, 0.23)


@dataclass(frozen=True)
class Scene:
    """What `render` draws. World axes: x right, y up, z towards the camera; metres.

    Args:
        solids: ``N`` solids.
        label: ``(N,)`` class of each, index into ``SCENE_CLASSES``.
        salient: ``(N,)`` bool.
        planes: ``(P, 4)``; the camera and all solids are in the half spaces n·p + d ≥ 0. The first is the floor.
        materials: the planes' first, then the ones that ``solids.material`` counts from 0.
        horizon, zenith: colours of the sky.
        far: metres along the optical axis at which the planes end.
    """

    solids: Solids
    label: np.ndarray
    salient: np.ndarray
    planes: np.ndarray
    materials: tuple[Material, ...]
    camera: Camera
    light: Light
    horizon: Colour = (0.7, 0.78, 0.9)
    zenith: Colour = (0.2, 0.38, 0.75)
    far: float = 40.0
