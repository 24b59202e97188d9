"""PASCAL-Context on a replica of its layout, on real part files, and on the whole archive where a user has it."""

import os
import re
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
from conftest import FIXTURES
from PIL import Image
from replicas import SIZE, TRAIN, VAL, pascal, save_mat
from scipy.io import loadmat
from skimage.morphology import thin
from tiny import run_tool

from mtl.datasets import PascalContext
from mtl.datasets.pascal_context import read_human_parts, read_label_map, valid_classes

TASKS = {
    "semseg": dict(type="SemanticSegmentation", classes=21),
    "human_parts": dict(type="HumanParts"),
    "saliency": dict(type="Saliency"),
    "normals": dict(type="SurfaceNormals"),
    "edge": dict(type="Edge"),
}
FIXTURE = FIXTURES / "pascal_mt"
needs_fixture = pytest.mark.skipif(
    not FIXTURE.is_dir(), reason="needs original part annotations (MTL_FIXTURES=FOLDER with pascal_mt in it)"
)
ARCHIVE = Path(os.environ.get("MTL_DATA_ROOT", "")) / "PASCAL_MT"
needs_archive = pytest.mark.skipif(
    "MTL_DATA_ROOT" not in os.environ or not ARCHIVE.is_dir(), reason="needs MTL_DATA_ROOT=FOLDER with PASCAL_MT in it"
)


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    return pascal(tmp_path_factory.mktemp("pascal") / "PASCAL_MT")


@pytest.fixture
def root(original, tmp_path):
    return Path(shutil.copytree(original, tmp_path / "PASCAL_MT"))


def slow_parts(path):
    """An independent reading: attributes instead of indices, regular expressions instead of a table, pixel counts."""
    groups = [
        r"hair|head|[lr]ear|[lr]ebrow|[lr]eye|mouth|nose",
        "neck|torso",
        "[lr]uarm",
        "[lr]larm|[lr]hand",
        "[lr]uleg",
        "[lr]lleg|[lr]foot",
    ]
    anno = loadmat(path, struct_as_record=False, squeeze_me=True)["anno"]
    target = None
    for thing in np.atleast_1d(anno.objects):
        parts = [p for p in np.atleast_1d(thing.parts) if hasattr(p, "mask")] if thing.class_ind == 15 else []
        for part in parts:
            target = np.zeros(thing.mask.shape, int) if target is None else target
            (group,) = [i for i, names in enumerate(groups, 1) if re.fullmatch(names, part.part_name)]
            target = np.where(part.mask == 1, group, target)
    return target


def test_the_targets_are_those_of_the_files(original):
    data = PascalContext(TASKS, original)
    assert data.names == list(TRAIN)
    assert data.labelled == {"semseg": 3, "human_parts": 3, "saliency": 3, "normals": 3, "edge": 3}
    samples = [data.load(i) for i in range(3)]
    # a dog alone, and a person without parts, give no target
    assert ["human_parts" in s.targets for s in samples] == [True, False, False]
    for name, sample in zip(TRAIN, samples, strict=True):
        folder = "VOC12" if name == TRAIN[1] else "pascal-context"
        semseg = np.array(Image.open(original / "semseg" / folder / f"{name}.png"))
        np.testing.assert_array_equal(sample.targets["semseg"], semseg)
        grey = np.array(Image.open(original / "sal_distill" / f"{name}.png"))
        np.testing.assert_array_equal(sample.targets["saliency"], grey / 255 > 0.5)
        labels = loadmat(original / "pascal-context" / "trainval" / f"{name}.mat")["LabelMap"]
        np.testing.assert_array_equal(sample.targets["edge"], thin(abs(cv2.Laplacian(labels, cv2.CV_64F)) > 0))
        x, y, z = (np.array(Image.open(original / "normals_distill" / f"{name}.png")) / 127.5 - 1).transpose(2, 0, 1)
        expected = np.stack([x, -y, z], -1) / np.sqrt(x * x + y * y + z * z)[..., None]
        valid = np.isin(labels, [158, 427])
        short = np.sqrt(x * x + y * y + z * z) < 0.1
        np.testing.assert_allclose(sample.targets["normals"][valid & ~short], expected[valid & ~short], atol=1e-5)
        assert not sample.targets["normals"][~valid].any()
    np.testing.assert_array_equal(
        samples[0].targets["human_parts"], slow_parts(original / "human_parts" / f"{TRAIN[0]}.mat")
    )
    assert len(PascalContext(TASKS, original, "val")) == 2


def test_170_classes_have_normals():
    assert valid_classes().sum() == 170
    assert valid_classes()[427]


@needs_fixture
def test_real_part_files_agree_with_an_independent_reading():
    persons = 0
    files = sorted((FIXTURE / "human_parts").glob("*.mat"))
    assert len(files) == 18
    for path in files:
        expected, found = slow_parts(path), read_human_parts(path)
        assert (found is None) == (expected is None), path
        if found is not None:
            np.testing.assert_array_equal(found, expected)
            with Image.open(FIXTURE / "JPEGImages" / f"{path.stem}.jpg") as image:
                assert found.shape == image.size[::-1]
            persons += 1
    assert persons == 8


@needs_fixture
def test_real_images_and_parts_load_without_what_other_tasks_need(tmp_path):
    shutil.copytree(FIXTURE, tmp_path, dirs_exist_ok=True)
    names = sorted(path.stem for path in (FIXTURE / "JPEGImages").glob("*.jpg"))
    (tmp_path / "ImageSets" / "Context").mkdir(parents=True)
    (tmp_path / "ImageSets" / "Context" / "train.txt").write_text("\n".join(names))
    data = PascalContext(
        {"human_parts": TASKS["human_parts"]}, tmp_path, pipeline=[dict(type="RandomAugment", size=(64, 64))]
    )
    items = [data[i]["data_samples"] for i in range(len(data))]
    assert sum(item.target("human_parts") is not None for item in items) == 8


@pytest.mark.parametrize("task", list(TASKS))
def test_a_task_needs_only_its_own_files(root, task):
    needs = {
        "semseg": ["semseg"],
        "human_parts": ["human_parts"],
        "saliency": ["sal_distill"],
        "normals": ["normals_distill", "pascal-context"],
        "edge": ["pascal-context"],
    }
    for folder in ("semseg", "human_parts", "sal_distill", "normals_distill", "pascal-context"):
        if folder not in needs[task]:
            shutil.rmtree(root / folder)
    assert task in PascalContext({task: TASKS[task]}, root).load(0).targets
    shutil.rmtree(root / needs[task][-1])
    with pytest.raises(
        ValueError,
        match=r"3 of 3 files of the split 'train' are missing in .*: (\w+\.\w+, )(\w+\.\w+, )\w+\.\w+ \(data_prep",
    ):
        PascalContext({task: TASKS[task]}, root)


def convert(root, *arguments):
    return run_tool("pascal_context.py", root, "--convert", *arguments, "--workers", "1", folder="data_prep")


def test_only_what_is_there_is_converted(root, tmp_path, capsys):
    shutil.rmtree(root / "pascal-context")
    assert convert(root, tmp_path / "png") == 0
    lines = capsys.readouterr().out.splitlines()
    absent = root / "pascal-context" / "trainval"
    assert lines[-3:-1] == [f"{task}: left out, there is no folder {absent}" for task in ("normals", "edge")]
    assert [path.name for path in (tmp_path / "png").iterdir() if path.is_dir()] == ["human_parts"]
    shutil.rmtree(root / "ImageSets")
    assert convert(root, tmp_path / "none") == 2
    assert "no image is listed in" in capsys.readouterr().err
    assert not (tmp_path / "none").exists()


def test_converted_labels_are_the_same(root, tmp_path, capsys):
    assert convert(root, tmp_path / "png") == 0
    assert "every label that is there is converted" in capsys.readouterr().out
    plain = [PascalContext(TASKS, root, split) for split in ("train", "val")]
    shutil.rmtree(root / "pascal-context")
    shutil.rmtree(root / "human_parts")
    fast = [PascalContext(TASKS, root, split, converted=tmp_path / "png") for split in ("train", "val")]
    assert fast[0].labelled["human_parts"] == 1
    pascal(root)
    for before, after in zip(plain, fast, strict=True):
        for i in range(len(before)):
            a, b = before.load(i).targets, after.load(i).targets
            assert set(a) == set(b)
            for task in a:
                np.testing.assert_array_equal(a[task], b[task])
    assert convert(root, tmp_path / "png") == 0
    assert capsys.readouterr().out.count("nothing to do") == 3


def test_a_conversion_that_was_cut_off_is_not_used(root):
    assert convert(root) == 0
    (root / "mtl_converted" / "human_parts_unlabelled.txt").unlink()
    with pytest.raises(ValueError, match=r"human_parts lacks 2 images of the split 'train'.*--convert"):
        PascalContext(TASKS, root)
    assert convert(root) == 0
    assert PascalContext(TASKS, root).labelled["human_parts"] == 1


def test_broken_labels_are_named_and_the_others_converted(root, capsys):
    path = root / "human_parts" / f"{VAL[0]}.mat"
    path.write_bytes(path.read_bytes()[:300])
    (root / "pascal-context" / "trainval" / f"{VAL[1]}.mat").write_bytes(b"")
    assert convert(root) == 1
    shown = capsys.readouterr()
    assert shown.err.count(f"cannot read the label {path}") == 1
    assert shown.err.count(f"{VAL[1]}.mat") == 2  # its edges and its normals
    assert "3 labels could not be converted" in shown.out
    with pytest.raises(ValueError, match=rf"image '{VAL[0]}': cannot read the label .*{VAL[0]}\.mat"):
        PascalContext({"human_parts": TASKS["human_parts"]}, root, "val", converted=root / "JPEGImages")[0]
    assert not (root / "mtl_converted" / "edge" / f"{VAL[1]}.png").exists()


@pytest.mark.parametrize(
    "labels",
    [
        np.full(SIZE, 460, np.uint16),
        np.full(SIZE, 1.5),
        np.full(SIZE, np.nan),
        np.zeros((*SIZE, 2), np.uint16),
        np.array([["a", 1]], object),
    ],
)
def test_label_maps_that_are_none_are_named(root, labels):
    save_mat(root / "pascal-context" / "trainval" / f"{TRAIN[0]}.mat", LabelMap=labels)
    dataset = PascalContext({"edge": TASKS["edge"], "normals": TASKS["normals"]}, root)
    for task in ("edge", "normals"):
        with pytest.raises(ValueError, match=rf"{TRAIN[0]}\.mat: a LabelMap is \(H, W\) ids of 0 to 459"):
            dataset.target(0, task)


def test_label_maps_of_any_number_type_are_the_same(root):
    dataset = PascalContext({"edge": TASKS["edge"], "normals": TASKS["normals"]}, root)
    before = dataset.load(0).targets
    path = root / "pascal-context" / "trainval" / f"{TRAIN[0]}.mat"
    for kind in (np.int32, np.int64, np.uint32, np.float64):
        save_mat(path, LabelMap=read_label_map(path).astype(kind))
        for task, target in dataset.load(0).targets.items():
            np.testing.assert_array_equal(target, before[task])


@pytest.mark.parametrize("annotation", [3, "abc", np.zeros((1, 1), [("imname", "O")])])
def test_what_is_no_part_annotation_is_named(root, annotation):
    save_mat(root / "human_parts" / f"{TRAIN[0]}.mat", anno=annotation)
    with pytest.raises(ValueError, match=rf"{TRAIN[0]}\.mat is no PASCAL-Part annotation"):
        PascalContext({"human_parts": TASKS["human_parts"]}, root).target(0, "human_parts")


def test_wrong_folder_level_names_the_right_one(root):
    for wrong in (root.parent, root / "JPEGImages"):
        with pytest.raises(ValueError, match=rf"is not the folder of PASCAL-Context.*{re.escape(str(root))} has"):
            PascalContext(TASKS, wrong)
    with pytest.raises(ValueError, match="no such folder"):
        PascalContext(TASKS, root / "nowhere")


def test_mixed_up_splits_and_wrong_tasks_are_named(root):
    with pytest.raises(ValueError, match=r"no split 'test'.*valid: train, val"):
        PascalContext(TASKS, root, "test")
    with pytest.raises(ValueError, match=r"no labels for the task 'depth'"):
        PascalContext({"depth": dict(type="Depth")}, root)
    with pytest.raises(ValueError, match="21 classes for 'semseg'; the task has 20"):
        PascalContext({"semseg": dict(type="SemanticSegmentation", classes=20)}, root)
    (root / "ImageSets" / "Context" / "val.txt").write_text(f"{VAL[0]}\n{TRAIN[0]}\n")
    with pytest.raises(ValueError, match=rf"names in train and in val \(1\): {TRAIN[0]}$"):
        PascalContext(TASKS, root)


def test_labels_of_another_size_are_named(root):
    Image.new("L", (5, 6)).save(root / "sal_distill" / f"{TRAIN[0]}.png")
    with pytest.raises(ValueError, match=rf"sal_distill.*is 6 x 5, its image .* is {SIZE[0]} x {SIZE[1]}"):
        PascalContext(TASKS, root)[0]


@needs_archive
@pytest.mark.parametrize(("split", "number"), [("train", 4998), ("val", 5105)])
def test_the_whole_archive(split, number):
    data = PascalContext(TASKS, ARCHIVE, split)
    assert len(data) == number
    seen = dict.fromkeys(TASKS, 0)
    for i in range(number):
        for task in data.load(i).targets:
            seen[task] += 1
    assert all(seen[task] == number for task in TASKS if task != "human_parts")
    assert 0 < seen["human_parts"] < number
