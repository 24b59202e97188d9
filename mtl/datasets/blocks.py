"""Loose solids with exact labels: what the quickstart's encoder is pretrained on, with none of its tasks.

Balls, boxes, cylinders and cones of any shape, direction and texture lie on and float above the stages of `Scenes`;
there are no people and no composed objects, whose pieces occur as bare solids. Labels say of which kind of solid and
of which texture a pixel is and how far away.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from mtl.datasets.base import MultiTaskDataset, Transform, check_tasks
from mtl.datasets.render import view_of
from mtl.datasets.scenes import SPLITS, check_request, sensor_noise
from mtl.datasets.studio.cast import Cast
from mtl.datasets.studio.compose import direction
from mtl.datasets.studio.materials import PATTERNS, Material, pick, shade_of, tint
from mtl.datasets.studio.raster import rasterise
from mtl.datasets.studio.scene import BACKGROUND, Camera, Light, Scene
from mtl.datasets.studio.sets import room, street
from mtl.datasets.studio.shading import shade
from mtl.datasets.studio.solids import BOX, ELLIPSOID, FRUSTUM, frames, join, oriented
from mtl.registry import DATASETS
from mtl.structures import VOID, TargetKind
from mtl.tasks.base import Task
from mtl.transforms.sample import Sample

SOLIDS = ("stage", "ellipsoid", "frustum", "box")
DISTANCES = (1.7, 2.1, 2.5, 3.2, 4.1, 4.9, 5.9)
"""Metres along the optical axis at which a class of ``distance`` ends: about eight equal shares of the pixels."""

TARGETS = {"solid": TargetKind.CLASSES, "pattern": TargetKind.CLASSES, "distance": TargetKind.CLASSES}
_CLASSES = {"solid": len(SOLIDS), "pattern": len(PATTERNS), "distance": len(DISTANCES) + 1}


def scatter(rng: np.random.Generator) -> Scene:
    """A room or a street with 4 to 14 solids."""
    focal, height, near = rng.uniform([0.85, 0.8, 1.0], [1.2, 1.6, 2.0]).tolist()
    cast = Cast()
    for _ in range(int(rng.integers(4, 15))):
        half = rng.uniform(0.06, 0.42) * rng.uniform(0.35, 1.0, 3)
        turn = frames(rng.standard_normal((1, 3)))
        kind, taper = pick(rng, [ELLIPSOID, FRUSTUM, BOX]), rng.uniform(0.0, 1.0)
        solid = oriented(kind, [0.0, 0.0, 0.0], turn, half, taper=taper)
        depth = rng.uniform(1.2, 4.5)
        reach = float(np.abs(turn[0, :, 1] * half).sum())
        at = [rng.uniform(-0.5, 0.5) * depth / focal, reach + rng.uniform(0, 1.3) * (rng.random() < 0.6), -depth]
        cast.add((solid, [_material(rng, float(half.mean()))]), BACKGROUND, at, 0.0)
    loose = sum(len(solids) for solids in cast.solids)
    planes, surfaces = (room if rng.random() < 0.65 else street)(cast, rng)
    solids = join(cast.solids)
    turn_, rise = rng.uniform([-1.8, 0.6], [1.8, 1.25])
    return Scene(
        solids,
        # the label is the kind of solid; what belongs to the stage is none
        np.where(np.arange(len(solids)) < loose, 1 + solids.kind, 0),
        np.zeros(len(solids), bool),
        planes,
        (*surfaces, *cast.materials),
        Camera.above(height, np.arctan(height / near) - np.arctan(0.5 / focal), focal),
        Light(direction(turn_, rise)),
    )


def _material(rng: np.random.Generator, size: float) -> Material:
    base = tint(rng, (0.0, 0.8), (0.2, 0.95))
    accent = shade_of(rng, base, 0.6) if rng.random() < 0.5 else tint(rng, (0.0, 0.8), (0.2, 0.95))
    axis = tuple(np.eye(3)[rng.integers(3)].tolist())
    return Material(base, accent, pick(rng, PATTERNS), size * rng.uniform(0.5, 1.6), axis, gloss=rng.uniform(0, 0.5))


@DATASETS.register_module()
class Blocks(MultiTaskDataset):
    """Loose solids, rendered when they are loaded.

    Serves the tasks ``solid`` (`SOLIDS`), ``pattern`` (`PATTERNS`, the texture of every surface) and ``distance`` (one
    class more than `DISTANCES`); the sky is void.

    Args:
        tasks: any of these.
        length: number of images.
        size: (H, W) pixels.
        pipeline: the transforms.
        seed: of the transforms' random numbers.
        split: ``train`` or ``val``.
        scene_seed: of the pictures.
    """

    rendered = True

    def __init__(
        self,
        tasks: Mapping[str, Mapping[str, Any] | Task],
        length: int,
        size: Sequence[int] = (128, 128),
        pipeline: Sequence[Mapping[str, Any] | Transform] = (),
        seed: int = 0,
        split: str = "train",
        scene_seed: int = 0,
    ) -> None:
        check_request("Blocks", length, size, split, scene_seed)
        super().__init__(tasks, pipeline, seed)
        check_tasks("Blocks", self.tasks, TARGETS, _CLASSES)
        self.split = split
        self.scene_seed = scene_seed
        self.length = length
        self.size = (int(size[0]), int(size[1]))

    def __len__(self) -> int:
        return self.length

    def load(self, index: int) -> Sample:
        # the third number keeps the pictures apart from those of `Scenes`
        rng = np.random.default_rng((self.scene_seed, index, 1, SPLITS.index(self.split)))
        scene = scatter(rng)
        view = view_of(scene, self.size)
        raster, surfaces = rasterise(scene, view)
        image, _ = shade(scene, view, raster, surfaces)
        pattern = np.array([PATTERNS.index(material.pattern) for material in scene.materials])
        labels = {
            "solid": np.where(surfaces.solid >= 0, scene.label[surfaces.solid], 0),
            "pattern": pattern[surfaces.material],
        }
        painted = {name: np.append(VOID, values).astype(np.uint8)[raster.ids] for name, values in labels.items()}
        distance = np.digitize(1 / raster.near, DISTANCES).astype(np.uint8)
        painted["distance"] = np.where(raster.ids > 0, distance, np.uint8(VOID))
        targets = {name: painted[name] for name in self.tasks}
        return Sample(f"{index:06d}", sensor_noise(image, rng), targets, {name: TARGETS[name] for name in self.tasks})
