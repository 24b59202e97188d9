"""`ADE20K` on small folders written here."""

from __future__ import annotations

import runpy
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mtl.datasets import ADE20K
from mtl.structures import VOID

BASE = Path(__file__).resolve().parents[2] / "configs" / "_base_" / "datasets" / "ade20k.py"
TASKS = {"semseg": dict(type="SemanticSegmentation", classes=150)}


@pytest.fixture
def root(tmp_path):
    """Two training images and one for validation; the labels hold 0, 1, 2 and 150."""
    ids = np.tile(np.array([0, 1, 2, 150], np.uint8), (6, 2))
    for part, names in (("training", ("ADE_train_1", "ADE_train_2")), ("validation", ("ADE_val_1",))):
        for name in names:
            for folder, array, suffix in (
                ("images", np.zeros((6, 8, 3), np.uint8), "jpg"),
                ("annotations", ids, "png"),
            ):
                path = tmp_path / "ADEChallengeData2016" / folder / part / f"{name}.{suffix}"
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(array).save(path)
    return tmp_path / "ADEChallengeData2016"


def test_ids_shift_by_one_and_0_is_void(root):
    train, val = (ADE20K(TASKS, root, split) for split in ("train", "val"))
    assert (train.names, val.names) == (["ADE_train_1", "ADE_train_2"], ["ADE_val_1"])
    target = train[0]["data_samples"].target("semseg")
    assert target[0, :4].tolist() == [VOID, 0, 1, 149]


def test_a_stored_id_above_150_is_named(root):
    Image.fromarray(np.full((6, 8), 151, np.uint8)).save(root / "annotations" / "training" / "ADE_train_1.png")
    with pytest.raises(ValueError, match=r"ADE_train_1\.png: class id 150 is not in 0\.\.149"):
        ADE20K(TASKS, root)[0]


def test_the_wrong_level_is_named(root):
    for wrong in (root.parent, root / "images", root / "images" / "training"):
        with pytest.raises(ValueError, match=rf"not the folder of ADE20K: .*; {root} has: give that folder"):
            ADE20K(TASKS, wrong)


def test_mistakes_are_named(root):
    with pytest.raises(ValueError, match=r"no split 'test'; valid: train, val|did you mean"):
        ADE20K(TASKS, root, "test")
    with pytest.raises(ValueError, match="ADE20K has 150 classes for 'semseg'; the task has 151"):
        ADE20K({"semseg": dict(type="SemanticSegmentation", classes=151)}, root)
    (root / "annotations" / "training" / "ADE_train_2.png").unlink()
    with pytest.raises(ValueError, match=r"1 of 2 images have no label in .*: ADE_train_2; "):
        ADE20K(TASKS, root)
    assert len(ADE20K({}, root)) == 2


def test_names_agree_with_mmsegmentation():
    from mmseg.datasets import ADE20KDataset

    classes = runpy.run_path(str(BASE))["tasks"]["semseg"]["classes"]
    assert classes == [name.strip() for name in ADE20KDataset.METAINFO["classes"]]


def test_a_label_without_an_image_is_left_over(root):
    (root / "annotations" / "training" / "ADE_train_1.png").rename(
        root / "annotations" / "training" / "ADE_train_3.png"
    )
    (root / "images" / "training" / "ADE_train_1.jpg").unlink()
    (leftover,) = ADE20K(TASKS, root).leftovers
    assert str(leftover) == "label files without an image of their name: 1 (ADE_train_3.png)"
    assert leftover.mistake
