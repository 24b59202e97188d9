"""Counting labels: by hand on small arrays, even samples of a data set that records what is read."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mtl.datasets import FolderDataset, MultiTaskDataset, Scenes
from mtl.datasets.label_counts import count_labels
from mtl.structures import VOID, TargetKind
from mtl.tasks import Task
from mtl.transforms.sample import Sample


def folder(root: Path, task: str, labels: list[np.ndarray]) -> Path:
    """A folder data set whose images are no images: labels are counted without them."""
    for name in ("images", task, "splits"):
        (root / name).mkdir(parents=True, exist_ok=True)
    for i, label in enumerate(labels):
        (root / "images" / f"im{i}.jpg").write_bytes(b"")
        if label.dtype == np.float32:
            np.save(root / task / f"im{i}.npy", label)
        else:
            Image.fromarray(label).save(root / task / f"im{i}.png")
    (root / "splits" / "train.txt").write_text("".join(f"im{i}\n" for i in range(len(labels))))
    return root


def grey(*rows: list[int]) -> np.ndarray:
    return np.array(rows, np.uint8)


def count(root, task, config, **options):
    return count_labels(FolderDataset({task: config}, root), most=options.pop("most", 100), **options)[task]


def test_images_and_pixels_of_each_class(tmp_path):
    labels = [grey([0, 0, 2], [VOID, 2, 2]), grey([0, VOID, VOID], [VOID] * 3), grey([VOID] * 3, [VOID] * 3)]
    root = folder(tmp_path, "semseg", labels)
    found = count(root, "semseg", dict(type="SemanticSegmentation", classes=["ground", "cat", "dog"]))
    assert found.pixels == {"ground": 3, "cat": 0, "dog": 3}
    assert found.images == {"ground": 2, "cat": 0, "dog": 1}
    assert (found.total, found.seen, found.labelled) == (3, 3, 2)
    assert found.absent == ["cat"]
    assert found.only_first == ["image 'im1'"]
    assert found.fault() == ""


@pytest.mark.parametrize("workers", [0, 3])
def test_vectors_and_depth_have_labelled_pixels(tmp_path, workers):
    normals = np.zeros((2, 3, 3), np.uint8)
    normals[0, 1] = normals[1, 2] = 128, 128, 255
    found = count(folder(tmp_path / "n", "normals", [normals]), "normals", dict(type="SurfaceNormals"), workers=workers)
    assert (found.pixels, found.images, found.absent, found.fault()) == ({"labelled": 2}, {"labelled": 1}, [], "")
    depth = np.array([[0, np.nan, 1], [2, 3, np.inf]], np.float32)
    found = count(folder(tmp_path / "d", "depth", [depth]), "depth", dict(type="Depth"), workers=workers)
    assert found.pixels == {"labelled": 3}


FAULTS = {
    "0 and 255 for two classes": (
        dict(type="SemanticSegmentation", classes=2),
        grey([0, 255], [0, 255]),
        ["anything but 'class_0' or void", "a mask of 0 and 255 has no class 1"],
    ),
    "255 alone": (
        dict(type="SemanticSegmentation", classes=3),
        grey([255, 255]),
        ["a labelled pixel", "255 is void"],
    ),
    "one class": (dict(type="SemanticSegmentation", classes=3), grey([2, 2]), ["anything but 'class_2' or void"]),
    "no part": (dict(type="HumanParts"), grey([0, 0, 255]), ["a labelled pixel", "a label without any part"]),
    "saliency of 0 and 1": (dict(type="Saliency"), grey([0, 1]), ["anything but 'background'", "labels='ids'"]),
    "ids of 0 and 255": (
        dict(type="Saliency", labels="ids"),
        grey([0, 255]),
        ["anything but 'background'", "labels='mask'"],
    ),
    "edges of 0 and 1": (dict(type="Edge"), grey([0, 1]), ["anything but 'background'", "255, not as 1"]),
    "black normals": (dict(type="SurfaceNormals"), np.zeros((2, 2, 3), np.uint8), ["a labelled pixel", "black"]),
    "no depth": (dict(type="Depth"), np.zeros((2, 2), np.float32), ["a labelled pixel", "0, NaN"]),
    "too far": (dict(type="Depth", farthest=2.5), np.full((2, 2), 3, np.float32), ["farther than 2.5 m (farthest)"]),
}


@pytest.mark.parametrize("case", FAULTS)
def test_labels_that_teach_nothing_are_named_with_the_cause(case, tmp_path):
    config, label, parts = FAULTS[case]
    fault = count(folder(tmp_path, "own", [label, label]), "own", config).fault()
    for part in [f"no label of 'own' in {tmp_path / 'own'} has ", *parts]:
        assert part in fault, fault
    assert "\n" not in fault


def test_a_broken_label_is_named(tmp_path):
    root = folder(tmp_path, "semseg", [grey([0, 1])] * 3)
    (root / "semseg" / "im1.png").write_bytes(b"")
    with pytest.raises(ValueError, match=r"image 'im1': cannot read the label .*im1\.png: the file is empty"):
        count(root, "semseg", dict(type="SemanticSegmentation", classes=2), workers=2)


class OwnClasses(Task):
    """A plug-in's task without a legend."""

    kind = TargetKind.CLASSES

    def __init__(self, name: str = "own") -> None:
        super().__init__(name, 4, 1.0)


def test_an_own_task_is_counted_by_its_kind():
    task = OwnClasses()
    assert task.label_counts(grey([3, 3, 1], [VOID, 0, VOID])) == {"0": 1, "1": 1, "2": 0, "3": 2}
    assert task.label_hint() == ""


class Recorded(MultiTaskDataset):
    """60 items of one pixel row; ``classes`` of an item by its index; what is read is recorded."""

    def __init__(self, classes: dict[int, list[int]], other: list[int]) -> None:
        super().__init__({"own": OwnClasses()})
        self.classes, self.other, self.read = classes, other, []

    def __len__(self) -> int:
        return 60

    def load(self, index: int) -> Sample:
        self.read.append(index)
        target = grey(self.classes.get(index, self.other))
        return Sample(str(index), np.zeros((1, 4, 3), np.uint8), {"own": target}, {"own": TargetKind.CLASSES})


def test_of_a_large_set_an_even_sample_is_read():
    data = Recorded({}, [0, 1, 2, 3])
    found = count_labels(data, most=20)["own"]
    assert data.read == list(range(0, 60, 3))
    assert (found.seen, found.total, found.pixels["2"]) == (20, 60, 20)
    assert found.share_seen == "20 of 60"


def test_a_second_sample_looks_for_classes_that_the_first_lacks():
    data = Recorded({4: [3, 3, 3, 3]}, [0, 1, 2, VOID])
    found = count_labels(data, most=20)["own"]
    assert data.read == [*range(0, 60, 3), *range(1, 60, 3)]
    assert found.absent == []
    data = Recorded({5: [3, 3, 3, 3]}, [0, 1, 2, VOID])
    found = count_labels(data, most=20)["own"]
    assert len(data.read) == 40
    assert found.absent == ["3"]
    assert found.share_seen == "40 of 60"


def test_where_nothing_can_be_learnt_more_is_read_within_a_bound():
    data = Recorded({59: [0, 1, 2, 3]}, [VOID] * 4)
    found = count_labels(data, most=20)["own"]
    assert sorted(data.read) == list(range(60))
    assert found.fault() == ""
    data = Recorded({59: [0, 1, 2, 3]}, [VOID] * 4)
    found = count_labels(data, most=3)["own"]
    assert len(set(data.read)) == len(data.read) == 30
    assert "has a labelled pixel (an even sample of 30 of 60 was looked at)" in found.fault()


def test_of_rendered_pictures_all_tasks_are_read_at_once():
    tasks = {"semseg": dict(type="SemanticSegmentation", classes=9), "human_parts": dict(type="HumanParts")}
    data = Scenes(tasks, 6, (32, 32))
    assert data.rendered
    found = count_labels(data, most=6)
    samples = [data.load(i).targets for i in range(6)]
    assert found["semseg"].pixels["class_1"] == sum(int((s["semseg"] == 1).sum()) for s in samples)
    assert found["human_parts"].labelled == sum("human_parts" in s for s in samples) < found["human_parts"].seen == 6
