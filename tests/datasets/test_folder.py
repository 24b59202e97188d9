"""`FolderDataset` on small folders written here, and on real photographs where they are at hand."""

import os
import unicodedata
from pathlib import Path

import cv2
import numpy as np
import pytest
from conftest import PHOTOS, needs_photos
from PIL import Image

import mtl.engine.inputs
from mtl.datasets.files import IMAGE_SUFFIXES, all_leftovers, read_image
from mtl.datasets.folder import FolderDataset
from mtl.structures import VOID, TargetKind
from mtl.tasks import HumanParts, Saliency, SemanticSegmentation, SurfaceNormals

TASKS = {"semseg": dict(type="SemanticSegmentation", classes=4), "normals": dict(type="SurfaceNormals")}


def picture(seed: int, height: int = 12, width: int = 16) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def save(array: np.ndarray, path: Path, **options) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path, **options)
    return path


@pytest.fixture
def root(tmp_path):
    """Three images: ``a`` with both labels, ``b`` with normals, ``c.d`` with none."""
    for i, name in enumerate(("a.png", "b.jpeg", "c.d.JPG")):
        save(picture(i), tmp_path / "images" / name)
    ids = np.tile(np.array([0, 1, 3, VOID], np.uint8), (12, 4))
    save(ids, tmp_path / "semseg" / "a.png")
    for name in "ab":
        normals = np.full((12, 16, 3), 128, np.uint8) + np.array([0, 0, 127], np.uint8)
        save(normals, tmp_path / "normals" / f"{name}.png")
    (tmp_path / "splits").mkdir()
    (tmp_path / "splits" / "train.txt").write_text("a\nb\nc.d\n")
    (tmp_path / "splits" / "small.txt").write_bytes(b"\xef\xbb\xbfb\r\n\r\na \r\n")
    return tmp_path


def test_samples_have_the_labels_that_are_there(root):
    dataset = FolderDataset(TASKS, root)
    assert len(dataset) == 3
    assert dataset.labelled == {"semseg": 1, "normals": 2}
    a, b, c = (dataset.load(i) for i in range(3))
    assert [s.name for s in (a, b, c)] == ["a", "b", "c.d"]
    assert [sorted(s.targets) for s in (a, b, c)] == [["normals", "semseg"], ["normals"], []]
    assert a.kinds == {"semseg": TargetKind.CLASSES, "normals": TargetKind.VECTORS}
    np.testing.assert_array_equal(a.image, picture(0))
    assert set(np.unique(a.targets["semseg"])) == {0, 1, 3, VOID}
    np.testing.assert_allclose(b.targets["normals"][0, 0], (0, 0, 1), atol=0.01)


def test_items_pass_the_pipeline(root):
    dataset = FolderDataset(TASKS, root, "small", pipeline=[dict(type="RandomAugment", size=(32, 24))])
    assert dataset.names == ["b", "a"]
    item = dataset[1]
    assert item["inputs"].shape == (3, 32, 24)
    assert item["data_samples"].target("semseg").shape == (32, 24)
    assert item["data_samples"].target("normals").shape == (32, 24, 3)
    assert (item["inputs"] == dataset[1]["inputs"]).all()


def test_folders_of_other_tasks_are_not_needed(root):
    dataset = FolderDataset({"normals": SurfaceNormals()}, str(root))
    assert sorted(dataset.load(0).targets) == ["normals"]


def test_nothing_is_decoded_at_construction(root):
    for path in (root / "images" / "a.png", root / "semseg" / "a.png"):
        path.write_bytes(b"")
    dataset = FolderDataset(TASKS, root)
    with pytest.raises(ValueError, match=r"image 'a': cannot read the image .*a\.png"):
        dataset[0]


# -- images ----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(("orientation", "turn"), [(1, 0), (3, 2), (6, -1), (8, 1)])
def test_images_are_read_as_displayed(tmp_path, orientation, turn):
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = save(picture(0), tmp_path / "a.jpg", exif=exif, quality=95)
    pixels = cv2.imread(str(path), cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)[..., ::-1]
    np.testing.assert_array_equal(read_image(path), np.rot90(pixels, turn))


def test_images_of_other_modes_become_rgb(tmp_path):
    image = Image.fromarray(picture(0))
    grey = np.array(image.convert("L"))
    image.convert("L").save(tmp_path / "grey.png")
    image.convert("1").save(tmp_path / "binary.png")
    image.convert("P").save(tmp_path / "palette.png")
    image.convert("RGBA").save(tmp_path / "alpha.png")
    image.convert("CMYK").save(tmp_path / "cmyk.jpg", quality=100)
    cv2.imwrite(str(tmp_path / "sixteen.png"), picture(0)[..., ::-1].astype(np.uint16) * 257)
    np.testing.assert_array_equal(read_image(tmp_path / "sixteen.png"), picture(0))
    np.testing.assert_array_equal(read_image(tmp_path / "grey.png"), grey[..., None].repeat(3, axis=2))
    assert set(np.unique(read_image(tmp_path / "binary.png"))) == {0, 255}
    np.testing.assert_array_equal(read_image(tmp_path / "palette.png"), np.array(image.convert("P").convert("RGB")))
    np.testing.assert_array_equal(read_image(tmp_path / "alpha.png"), picture(0))
    cmyk = read_image(tmp_path / "cmyk.jpg")
    assert cmyk.dtype == np.uint8
    # noise at JPEG's highest quality; a missed inversion would be off by 128 in the mean
    assert abs(cmyk.astype(int) - picture(0)).mean() < 10


def test_16_bit_grey_is_refused(tmp_path):
    path = save(np.full((4, 4), 1000, np.uint16), tmp_path / "a.png")
    with pytest.raises(ValueError, match=r"a\.png: .*more than 8 bits per channel"):
        read_image(path)


def test_broken_and_truncated_images_are_named(tmp_path):
    for name in ("a.jpg", "a.png"):
        path = save(picture(0, 80, 80), tmp_path / name)
        content = path.read_bytes()
        for end in (0, 30, len(content) // 2, len(content) - 200):
            path.write_bytes(content[:end])
            with pytest.raises(ValueError, match=f"cannot read the image .*{name}"):
                read_image(path)
    with pytest.raises(ValueError, match=r"cannot read the image .*none\.png"):
        read_image(tmp_path / "none.png")


# -- mistakes --------------------------------------------------------------------------------------------------------
def test_wrong_roots_and_splits_are_named(root):
    with pytest.raises(ValueError, match=r"no data set at .*nowhere"):
        FolderDataset(TASKS, root / "nowhere")
    with pytest.raises(ValueError, match=r"no split 'trian'.*did you mean 'train'\? valid: small, train"):
        FolderDataset(TASKS, root, "trian")
    (root / "splits" / "small.txt").write_text("\n\n")
    with pytest.raises(ValueError, match=r"small\.txt is empty"):
        FolderDataset(TASKS, root, "small")
    (root / "splits" / "small.txt").write_text("a\nb\na\n")
    with pytest.raises(ValueError, match=r"small\.txt names 'a' twice"):
        FolderDataset(TASKS, root, "small")


def test_a_name_in_both_lists_is_named(root):
    (root / "splits" / "val.txt").write_text("c.d\n")
    for split in ("train", "val"):
        with pytest.raises(ValueError, match=r"names in train and in val \(1\): c\.d$"):
            FolderDataset(TASKS, root, split)
    assert len(FolderDataset(TASKS, root, "small")) == 2


def test_names_without_an_image_are_named(root):
    (root / "splits" / "small.txt").write_text("a\nx\ny\n")
    with pytest.raises(ValueError, match=r"2 of 3 names in the split 'small' have no image in .*images: 'x', 'y'$"):
        FolderDataset(TASKS, root, "small")
    (root / "images" / "x.heic").touch()
    (root / "splits" / "small.txt").write_text("a.jpg\nx\n")
    with pytest.raises(ValueError, match=r": 'a\.jpg', 'x' \(files .*\.tiff\); it has a\.png, x\.heic$"):
        FolderDataset(TASKS, root, "small")
    (root / "splits" / "small.txt").write_text("\n".join(f"n{i:02}" for i in range(13)))
    with pytest.raises(ValueError, match=r"13 of 13 names .*images: 'n00', .*, 'n09' and 3 more$"):
        FolderDataset(TASKS, root, "small")


def test_a_list_may_name_files(root):
    (root / "splits" / "train.txt").write_text("a.png\nb.JPEG\nc.d.JPG\n")
    assert FolderDataset(TASKS, root).names == ["a", "b", "c.d"]
    (root / "splits" / "val.txt").write_text("c.d\n")
    with pytest.raises(ValueError, match=r"in train and in val \(1\): c\.d$"):
        FolderDataset(TASKS, root)
    (root / "splits" / "train.txt").write_text("a.png\na\n")
    with pytest.raises(ValueError, match=r"train\.txt names 'a' twice"):
        FolderDataset(TASKS, root)


@pytest.mark.parametrize("forms", [("NFC", "NFD", "NFD"), ("NFD", "NFC", "NFD"), ("NFC", "NFC", "NFD")])
def test_an_umlaut_is_the_same_however_it_is_composed(root, forms):
    image, label, line = (unicodedata.normalize(form, "gr\u00fcn") for form in forms)
    save(picture(0), root / "images" / f"{image}.png")
    save(np.zeros((12, 16), np.uint8), root / "semseg" / f"{label}.png")
    (root / "splits" / "small.txt").write_text(f"{line}\na\nb\n", "utf-8")
    dataset = FolderDataset(TASKS, root, "small")
    assert dataset.names[0] == "gr\u00fcn"
    assert not dataset.load(0).targets["semseg"].any()
    assert dataset.load(0).image.shape == (12, 16, 3)
    assert dataset.leftovers == []


@pytest.mark.parametrize("suffix", IMAGE_SUFFIXES)
def test_images_that_are_predicted_are_trained_on(tmp_path, suffix):
    assert mtl.engine.inputs.IMAGE_SUFFIXES is IMAGE_SUFFIXES
    save(picture(0), tmp_path / "images" / f"a{suffix}")
    save(np.zeros((12, 16), np.uint8), tmp_path / "semseg" / "a.png")
    (tmp_path / "splits").mkdir()
    (tmp_path / "splits" / "train.txt").write_text("a\n")
    dataset = FolderDataset({"semseg": TASKS["semseg"]}, tmp_path)
    assert dataset.load(0).image.shape == (12, 16, 3)


def lines_of(dataset) -> list[tuple[str, bool]]:
    return [(str(leftover), leftover.mistake) for leftover in dataset.leftovers]


def test_what_is_not_used_is_named(root):
    assert lines_of(FolderDataset(TASKS, root)) == [("images without a label for any task: 1 (c.d)", False)]
    for name in ("mistyped", "c,d"):
        save(picture(0), root / "normals" / f"{name}.png")
    save(picture(0), root / "images" / "unlisted.jpg")
    (root / "images" / "notes.txt").touch()
    (root / "images" / ".DS_Store").touch()
    save(picture(0), root / "normals" / "._a.png")  # what macOS leaves on other systems' disks
    (root / "splits" / "broken.txt").write_bytes(b"\xff\xfe")
    os.mkfifo(root / "images" / "pipe.png")
    (root / "images" / "folder.png").mkdir()
    assert lines_of(FolderDataset(TASKS, root, "small")) == [
        (f"entries of {root / 'images'} that are no image files: 1 (notes.txt)", False),
        ("images in no split: 3 (folder.png, pipe.png, unlisted.jpg)", False),
        ("label files of 'normals' without an image of their name: 2 (c,d.png, mistyped.png)", True),
    ]


def test_a_pipe_is_named_when_it_is_read(root):
    os.mkfifo(root / "images" / "pipe.png")
    (root / "splits" / "small.txt").write_text("a\nb\npipe\n")
    with pytest.raises(ValueError, match=r"cannot read the image .*pipe\.png: it is not a file but a named pipe"):
        FolderDataset(TASKS, root, "small")[2]


def test_leftovers_of_both_parts_are_named_once(root):
    save(picture(0), root / "normals" / "mistyped.png")
    parts = {"train": FolderDataset(TASKS, root), "val": FolderDataset(TASKS, root, "small")}
    found = {str(leftover): part for leftover, part in all_leftovers(parts).items()}
    assert found == {
        "label files of 'normals' without an image of their name: 1 (mistyped.png)": "train and val",
        "images without a label for any task: 1 (c.d)": "train",
    }


def test_two_images_of_one_name_are_named(root):
    save(picture(0), root / "images" / "a.jpg")
    with pytest.raises(ValueError, match=r"a\.jpg and a\.png in .*images have the same name"):
        FolderDataset(TASKS, root)


def test_no_images_are_named(root):
    for path in (root / "images").iterdir():
        path.unlink()
    with pytest.raises(ValueError, match=r"no images \(.jpg, .jpeg, .png, .webp, .bmp, .tif, .tiff\) in .*images"):
        FolderDataset(TASKS, root)


def test_a_task_without_labels_is_named(root):
    (root / "splits" / "small.txt").write_text("b\n")
    with pytest.raises(ValueError, match=r"no image of the split 'small' .*'semseg': expected .*semseg/<name>\.png"):
        FolderDataset(TASKS, root, "small")
    with pytest.raises(ValueError, match=r"the task 'saliency': .*folders in .*: normals, semseg$"):
        FolderDataset({"saliency": Saliency()}, root)


def test_a_label_of_another_size_is_named(root):
    save(np.zeros((16, 12), np.uint8), root / "semseg" / "a.png")
    with pytest.raises(ValueError, match=r"semseg/a\.png is 16 x 12, its image .*images/a\.png is 12 x 16"):
        FolderDataset(TASKS, root).load(0)


def test_class_ids_out_of_range_are_named(root):
    save(np.full((12, 16), 4, np.uint8), root / "semseg" / "a.png")
    with pytest.raises(ValueError, match=r"image 'a': .*semseg/a\.png.*\b4\b"):
        FolderDataset(TASKS, root)[0]


def test_labels_of_another_suffix_are_not_lost_in_silence(root):
    (root / "semseg" / "a.png").rename(root / "semseg" / "a.PNG")
    assert FolderDataset(TASKS, root).labelled["semseg"] > 0
    (root / "semseg" / "a.PNG").rename(root / "semseg" / "a.bmp")
    (root / "semseg" / "b.tif").touch()
    (root / "normals" / "a.png").rename(root / "normals" / "a.gif")
    with pytest.raises(
        ValueError,
        match=r"not read: .*/semseg/a\.bmp, .*/semseg/b\.tif: labels for 'semseg' are files with the suffix "
        r"\.png; not read: .*/normals/a\.gif: labels for 'normals' are .*\.png$",
    ):
        FolderDataset(TASKS, root)


def test_two_labels_of_one_name_are_refused(root):
    (root / "semseg" / "a.PNG").write_bytes((root / "semseg" / "a.png").read_bytes())
    with pytest.raises(ValueError, match=r"a\.PNG and a\.png in .*semseg have the same name; keep one"):
        FolderDataset(TASKS, root)


# -- real photographs ------------------------------------------------------------------------------------------------
@needs_photos
def test_real_photographs():
    tasks = {
        "semseg": SemanticSegmentation(classes=21),
        "human_parts": HumanParts(),
        "saliency": Saliency(),
        "normals": SurfaceNormals(),
    }
    splits = [FolderDataset(tasks, PHOTOS, split) for split in ("train", "val")]
    assert [len(s) for s in splits] == [868, 316]
    labelled = {task: sum(s.labelled[task] for s in splits) for task in tasks}
    # counted when the set was made
    assert labelled == {"semseg": 200, "human_parts": 500, "saliency": 900, "normals": 84}

    seen = set()
    for dataset in splits:
        for index in range(0, len(dataset), 37):
            sample = dataset.load(index)
            assert sample.targets, sample.name
            for name, target in sample.targets.items():
                void = tasks[name].kind.void(*target.shape[:2])
                assert target.shape == void.shape
                assert target.dtype == void.dtype
                assert (target != void).any(), sample.name
            seen |= set(sample.targets)
    assert seen == set(tasks)
