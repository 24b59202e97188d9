"""Loose solids against the depth that finite rays see, and the classes that they name."""

from __future__ import annotations

import numpy as np
import pytest

from mtl.datasets.blocks import DISTANCES, SOLIDS, Blocks
from mtl.datasets.studio.materials import PATTERNS
from mtl.structures import VOID

TASKS = {
    "solid": dict(type="SemanticSegmentation", classes=list(SOLIDS)),
    "pattern": dict(type="SemanticSegmentation", classes=list(PATTERNS)),
    "distance": dict(type="SemanticSegmentation", classes=len(DISTANCES) + 1),
}


def blocks(**options) -> Blocks:
    return Blocks(TASKS, **{"length": 12, "size": (48, 64), **options})


def test_labels_are_valid_and_all_occur():
    dataset = blocks(length=60)
    seen = {name: set() for name in TASKS}
    for index in range(60):
        sample = dataset.load(index)
        void = sample.targets["solid"] == VOID
        for name, target in sample.targets.items():
            dataset.tasks[name].check(target, sample.name)
            assert np.array_equal(target == VOID, void), "the sky is void for every task"
            seen[name] |= set(np.unique(target).tolist()) - {VOID}
    assert {name: len(ids) for name, ids in seen.items()} == {"solid": 4, "pattern": 8, "distance": 8}


def test_the_floor_recedes():
    """Down the lowest rows of an upright camera's middle column, where nothing stands, the floor comes nearer."""
    dataset = blocks(length=40)
    checked = 0
    for index in range(40):
        targets = dataset.load(index).targets
        floor = targets["solid"][-10:, 32] == SOLIDS.index("stage")
        if floor.all():
            checked += 1
            assert (np.diff(targets["distance"][-10:, 32].astype(int)) <= 0).all()
    assert checked > 3


def test_splits_and_seeds_share_no_picture():
    sets = [blocks(split=split, scene_seed=seed) for split in ("train", "val") for seed in (0, 1)]
    assert len({s.load(i).image.tobytes() for s in sets for i in range(6)}) == 24


def test_what_it_does_not_label_is_said():
    with pytest.raises(ValueError, match="task 'normals'; valid: distance, pattern, solid"):
        Blocks({"normals": dict(type="SurfaceNormals")}, 4)
    with pytest.raises(ValueError, match="8 classes for 'pattern'; the task has 3"):
        Blocks({"pattern": dict(type="SemanticSegmentation", classes=3)}, 4)
    with pytest.raises(ValueError, match="positive length"):
        blocks(length=0)
