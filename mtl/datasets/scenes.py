"""Synthetic scenes with exact labels: a data set that needs no download."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from mtl.datasets.base import MultiTaskDataset, Transform, check_tasks
from mtl.datasets.label_formats import label_edges
from mtl.datasets.render import PART_CLASSES, SCENE_CLASSES, TARGETS, compose, render
from mtl.registry import DATASETS, choices
from mtl.structures import TargetKind
from mtl.tasks.base import Task
from mtl.transforms.sample import Sample

SPLITS = ("train", "val")
_KINDS = {**TARGETS, "edge": TargetKind.EDGES}
_CLASSES = {"semseg": len(SCENE_CLASSES), "human_parts": len(PART_CLASSES)}


@DATASETS.register_module()
class Scenes(MultiTaskDataset):
    """People and objects in rooms and streets, rendered when they are loaded (`mtl.datasets.render`).

    Serves the tasks named ``semseg`` (9 classes, `SCENE_CLASSES`), ``human_parts`` (7, `PART_CLASSES`; absent where no
    person is seen), ``saliency`` (all people and the object nearest to the camera), ``normals``, ``depth`` and ``edge``
    (boundaries of the semseg classes).

    Args:
        tasks: any of these.
        length: number of images; the first ones stay the same whatever it is.
        size: (H, W) pixels.
        pipeline: the transforms.
        seed: of the transforms' random numbers; runs of other seeds see the same scenes.
        split: ``train`` or ``val``; they have no scene in common.
        scene_seed: of the scenes.
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
        check_request("Scenes", length, size, split, scene_seed)
        super().__init__(tasks, pipeline, seed)
        check_tasks("Scenes", self.tasks, _KINDS, _CLASSES)
        self.length = length
        self.size = (int(size[0]), int(size[1]))
        self.split = split
        self.scene_seed = scene_seed

    def __len__(self) -> int:
        return self.length

    def describe(self, index: int) -> str:
        return f"scene {self.split}-{index:06d}"

    def load(self, index: int) -> Sample:
        # the last number keeps the splits apart, and both from the generators of the transforms
        rng = np.random.default_rng((self.scene_seed, index, 0, 1 + SPLITS.index(self.split)))
        image, targets = render(compose(rng), self.size)
        if "edge" in self.tasks:
            targets["edge"] = label_edges(targets["semseg"])
        targets = {name: targets[name] for name in self.tasks if name in targets}
        kinds = {name: _KINDS[name] for name in self.tasks}
        return Sample(f"{self.split}-{index:06d}", sensor_noise(image, rng), targets, kinds)


def sensor_noise(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A uint8 image with noise of up to 2 to 6 grey levels."""
    amplitude = int(rng.integers(2, 7))
    noise = rng.integers(-amplitude, amplitude, image.shape, np.int8, endpoint=True)
    return np.clip(image + noise.astype(np.int16), 0, 255).astype(np.uint8)


def check_request(owner: str, length: int, size: Sequence[int], split: str, scene_seed: int) -> None:
    """Raise `ValueError` for what no rendered data set has."""
    if split not in SPLITS:
        raise ValueError(f"{owner} has no split {split!r}; {choices(SPLITS, split)}")
    if length < 1 or len(size) != 2 or min(size) < 1:
        raise ValueError(f"{owner} needs a positive length and size (H, W); got length {length}, size {size}")
    if scene_seed < 0:
        raise ValueError(f"{owner}: scene_seed is at least 0; got {scene_seed}")
