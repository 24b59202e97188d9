"""The scripts of ``data_prep`` on small data written here."""

from __future__ import annotations

import os

import numpy as np
import pytest
from PIL import Image
from tiny import run_tool, write_config

from mtl.datasets import FolderDataset, Scenes
from mtl.tasks import SemanticSegmentation

LOADERS = """
tasks = dict(semseg=dict(type="SemanticSegmentation", classes=4))
train_dataloader.update(dataset=dict(type="FolderDataset"))
val_dataloader = None
val_evaluator = val_cfg = None
single_task = None
"""
CLASSES = np.arange(64, dtype=np.uint8).reshape(8, 8) % 4


@pytest.fixture
def data(tmp_path):
    """Five images of 64 pixels, 16 of each of 4 classes."""
    names = [f"im{i}" for i in range(5)]
    for name in names:
        for folder, array in (("images", np.zeros((8, 8, 3), np.uint8)), ("semseg", CLASSES)):
            (tmp_path / "data" / folder).mkdir(parents=True, exist_ok=True)
            Image.fromarray(array).save(tmp_path / "data" / folder / f"{name}.png")
    (tmp_path / "data" / "splits").mkdir()
    (tmp_path / "data" / "splits" / "train.txt").write_text("\n".join(names))
    return tmp_path / "data"


def check(data) -> int:
    config = write_config(data.parent, LOADERS)
    return run_tool("folder.py", config, "--cfg-options", f"data_root={data}", folder="data_prep")


def test_whole_data_are_counted(data, capsys):
    assert check(data) == 0
    shown = capsys.readouterr()
    first, *rest = shown.out.splitlines()
    assert first == f"train: 5 images in {data}, labelled: semseg 5"
    assert [line.split() for line in rest] == [
        [],
        ["labels", "train"],
        ["images", "pixels", "share"],
        ["semseg", "5", "320"],
        *(["class_" + i, "5", "80", "25.00", "%"] for i in "0123"),
        [],
        ["0", "broken"],
    ]
    assert shown.err == ""


def test_every_broken_file_is_listed(data, capsys):
    for name in ("im1", "im3"):  # two of the files are of one image
        Image.fromarray(np.full((8, 8), 9, np.uint8)).save(data / "semseg" / f"{name}.png")
    (data / "images" / "im1.png").write_bytes(b"")
    assert check(data) == 1
    shown = capsys.readouterr()
    assert shown.out.endswith("3 broken\n")
    image, *labels = shown.err.splitlines()
    assert f"cannot read the image {data / 'images' / 'im1.png'}" in image
    for line, name in zip(labels, ("im1", "im3"), strict=True):
        assert f"{data / 'semseg' / name}.png: class id 9 is not in 0..3" in line


def test_what_is_no_file_is_listed_like_any_broken_one(data, capsys):
    for name, make in (("im0", os.mkfifo), ("im1", os.mkdir), ("im2", lambda path: path.symlink_to(path.name))):
        for folder in ("images", "semseg"):
            (data / folder / f"{name}.png").unlink()
            make(data / folder / f"{name}.png")
    assert check(data) == 1
    shown = capsys.readouterr()
    assert shown.out.endswith("6 broken\n")
    reasons = [
        "it is not a file but a named pipe",
        "it is not a file but a folder",
        "Too many levels of symbolic links",
    ]
    expected = [
        f"train: cannot read the {kind} {data / folder / f'im{i}.png'}: {reason}"
        for i, reason in enumerate(reasons)
        for kind, folder in (("image", "images"), ("label", "semseg"))
    ]
    assert shown.err.splitlines() == expected


def test_an_error_of_a_task_s_own_reader_stops_nothing(data, capsys, monkeypatch):
    def read(task, path, reading=SemanticSegmentation.read):
        if path.name == "im1.png":
            raise KeyError("own")
        return reading(task, path)

    monkeypatch.setattr(SemanticSegmentation, "read", read)
    assert check(data) == 1
    shown = capsys.readouterr()
    assert shown.out.endswith("1 broken\n")
    assert shown.err == f"train: {data / 'semseg' / 'im1.png'}: KeyError: 'own'\n"


def test_masks_of_0_and_255_for_two_classes_are_broken(data, capsys):
    for i in range(5):
        Image.fromarray(255 * np.eye(8, dtype=np.uint8)).save(data / "semseg" / f"im{i}.png")
    config = write_config(data.parent, LOADERS + "tasks['semseg'].update(classes=['ground', 'cat'])\n")
    check = ("folder.py", config, "--cfg-options", f"data_root={data}")
    assert run_tool(*check, folder="data_prep") == 1
    shown = capsys.readouterr()
    assert shown.out.endswith("\n1 broken\n")
    assert f"train: no label of 'semseg' in {data / 'semseg'} has anything but 'ground' or void; " in shown.err
    assert "a mask of 0 and 255 has no class 1" in shown.err
    for i in (0, 2, 4):
        Image.fromarray(np.eye(8, dtype=np.uint8)).save(data / "semseg" / f"im{i}.png")
    assert run_tool(*check, folder="data_prep") == 0
    err = capsys.readouterr().err
    assert err == "train: 2 of 5 labels of 'semseg' have nothing but 'ground' or void: im1, im3\n"


def test_classes_that_never_occur_are_named(data, capsys):
    for i in range(5):
        Image.fromarray(CLASSES // 2 * 2).save(data / "semseg" / f"im{i}.png")
    assert check(data) == 0
    assert capsys.readouterr().err == "classes of 'semseg' without a label: class_1, class_3 in train\n"


def test_labels_of_no_image_are_broken_and_what_is_not_used_is_named(data, capsys):
    (data / "semseg" / "im2.png").rename(data / "semseg" / "mi2.png")
    (data / "semseg" / "im4.png").rename(data / "semseg" / "im04.png")
    (data / "splits" / "train.txt").write_text("im0\nim1\nim2\nim3\n")
    assert check(data) == 1
    shown = capsys.readouterr()
    assert shown.out.endswith("\n2 broken\n")
    assert shown.err.splitlines() == [
        "not used in train: images in no split: 1 (im4.png)",
        "broken: not used in train: label files of 'semseg' without an image of their name: 2 (im04.png, mi2.png)",
        "not used in train: images without a label for any task: 1 (im2)",
    ]


def test_masks_of_0_and_1_are_told_of(data, capsys):
    for i in range(5):
        Image.fromarray(np.eye(8, dtype=np.uint8)).save(data / "semseg" / f"im{i}.png")
    (data / "semseg").rename(data / "edge")
    config = write_config(data.parent, LOADERS + 'tasks = dict(edge=dict(type="Edge"))\n')
    assert run_tool("folder.py", config, "--cfg-options", f"data_root={data}", folder="data_prep") == 1
    assert (
        "has anything but 'background' or void; grey levels above 127 are edges: an edge is stored as 255"
        in capsys.readouterr().err
    )
    Image.fromarray(255 * np.eye(8, dtype=np.uint8)).save(data / "edge" / "im3.png")
    assert run_tool("folder.py", config, "--cfg-options", f"data_root={data}", folder="data_prep") == 0


def test_rendered_data_are_refused(tmp_path, capsys):
    assert run_tool("folder.py", write_config(tmp_path), folder="data_prep") == 2
    assert "train_dataloader has a Scenes; this checks data sets of files" in capsys.readouterr().err


def test_scenes_are_written_as_a_folder_data_set(tmp_path, capsys):
    root = tmp_path / "scenes"
    assert run_tool("scenes.py", root, "--train", 3, "--val", 2, "--size", 48, 64, folder="data_prep") == 0
    tasks = {
        "semseg": dict(type="SemanticSegmentation", classes=9),
        "human_parts": dict(type="HumanParts"),
        "saliency": dict(type="Saliency"),
        "normals": dict(type="SurfaceNormals"),
        "depth": dict(type="Depth"),
        "edge": dict(type="Edge"),
    }
    for split, length in (("train", 3), ("val", 2)):
        written, rendered = FolderDataset(tasks, root, split), Scenes(tasks, length, (48, 64), split=split)
        for i in range(length):
            found, expected = written.load(i).targets, rendered.load(i).targets
            assert set(found) == set(expected)
            for task, target in expected.items():
                # 8 bits a channel keep a unit vector to half a degree
                np.testing.assert_allclose(found[task], target, atol=0.01 if task == "normals" else 0)
    assert run_tool("scenes.py", root, folder="data_prep") == 2
    assert "name a new folder" in capsys.readouterr().err
    assert run_tool("scenes.py", tmp_path / "new", "--train", 1, "--val", 0, folder="data_prep") == 2
    assert not (tmp_path / "new").exists()
