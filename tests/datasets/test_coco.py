"""`COCO` on a small json written here and on real annotations where they are at hand."""

from __future__ import annotations

import json
import runpy
import sys
import unicodedata
from pathlib import Path

import numpy as np
import pytest
from conftest import PHOTOS, needs_photos
from PIL import Image

from mtl.datasets import COCO
from mtl.datasets.coco import Instances
from mtl.structures import VOID

BASE = Path(__file__).resolve().parents[2] / "configs" / "_base_" / "datasets" / "coco.py"
TASKS = {"semseg": dict(type="SemanticSegmentation", classes=4)}


def box(left, top, right, bottom):
    return [left, top, right, top, right, bottom, left, bottom]


def instance(image, category, segmentation, area, **more):
    return {"image_id": image, "category_id": category, "segmentation": segmentation, "area": area, **more}


@pytest.fixture
def content():
    """Ids with gaps, as the real ones have; image 7 has objects within each other, 3 a crowd, 9 nothing."""
    runs = [8 * 10, 8 * 2, 8 * 8 - 16]  # columns 10 and 11 of 8 rows
    return {
        "info": {"year": 2017},
        "categories": [{"id": i, "name": name} for i, name in ((1, "a"), (5, "b"), (90, "c"))],
        "images": [{"id": i, "file_name": f"{i:012d}.jpg", "height": 8, "width": 16} for i in (7, 3, 9)],
        "annotations": [
            instance(7, 5, [box(4, 2, 8, 6)], 16, iscrowd=0),
            instance(7, 1, [box(0, 0, 8, 8), box(12, 0, 16, 8)], 96, iscrowd=0),
            instance(3, 1, {"size": [8, 16], "counts": [*runs[:2], 8 * 4]}, 16, iscrowd=1),
            instance(3, 90, [box(11, 0, 13, 8)], 16),
        ],
    }


@pytest.fixture
def root(tmp_path, content):
    (tmp_path / "annotations").mkdir()
    (tmp_path / "annotations" / "instances_train2017.json").write_text(json.dumps(content))
    (tmp_path / "train2017").mkdir()
    for image in content["images"]:
        Image.fromarray(np.zeros((8, 16, 3), np.uint8)).save(tmp_path / "train2017" / image["file_name"])
    return tmp_path


def test_smaller_objects_are_drawn_over_larger_ones(root):
    dataset = COCO(TASKS, root)
    assert dataset.names == ["000000000007", "000000000003", "000000000009"]
    expected = np.zeros((8, 16), np.uint8)
    expected[:, :8] = expected[:, 12:] = 1
    expected[2:6, 4:8] = 2
    np.testing.assert_array_equal(dataset.load(0).targets["semseg"], expected)


def test_names_are_compared_after_normalisation_and_what_is_left_over_is_named(root, content):
    composed, apart = (unicodedata.normalize(form, "gr\u00fcn.jpg") for form in ("NFC", "NFD"))
    (root / "train2017" / content["images"][0]["file_name"]).rename(root / "train2017" / apart)
    content["images"][0]["file_name"] = composed
    (root / "annotations" / "instances_train2017.json").write_text(json.dumps(content))
    (root / "train2017" / "other.jpg").touch()
    dataset = COCO(TASKS, root)
    assert dataset.load(0).image.shape == (8, 16, 3)
    assert [leftover.names for leftover in dataset.leftovers] == [("other.jpg",)]


def test_crowds_are_void_below_the_objects_and_no_objects_are_background(root):
    dataset = COCO(TASKS, root)
    expected = np.zeros((8, 16), np.uint8)
    expected[:, 10] = VOID
    expected[:, 11:13] = 3
    np.testing.assert_array_equal(dataset[1]["data_samples"].target("semseg"), expected)
    assert not dataset.load(2).targets["semseg"].any()


def test_coordinates_are_as_they_were_written(root, content):
    # 0.7, 0.3 and 1/5-pixel corners lie on pycocotools' grid, where float32 alone would fall to the other side
    ring = [0.7, 0.3, 7.9, 0.1, 639.99, 7.7, 3.14, 6.5]
    content["annotations"] = [instance(7, 1, [ring], 10)]
    (root / "annotations" / "instances_train2017.json").write_text(json.dumps(content))
    kept = Instances(root / "annotations" / "instances_train2017.json")
    assert kept._coordinates.astype(np.float64).round(3).tolist() == ring


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c["annotations"][0].update(image_id=8), "annotations of the image 8, which it lacks"),
        (lambda c: c["annotations"][0].update(category_id=2), "annotations of the category 2, which is none"),
        (lambda c: c["annotations"][0].pop("area"), "not in COCO's format: an entry without 'area'"),
        (lambda c: c["annotations"][0].update(segmentation=[[1, 2, 3, 4]]), "a polygon of 4 numbers"),
        (lambda c: c["annotations"][0]["segmentation"].append([0, 0, 1e9, 0, 1e9, 1e9]), "a corner at 1000000000"),
        (lambda c: c["annotations"][0].update(segmentation=[[0, 0, float("nan"), 0, 4, 4]]), "a corner at nan"),
        (
            lambda c: c["annotations"][2]["segmentation"].update(counts=[8, 8]),
            "run lengths that do not add up to .* 8 x 16",
        ),
        (lambda c: c["annotations"][2]["segmentation"].update(counts=[-8, 136]), "run lengths that do not add up"),
        (lambda c: c["categories"][1].update(id=1), "two categories of the id 1"),
        (lambda c: c["images"][0].update(id=10**30), "not in COCO's format: an entry .*too "),
        (lambda c: c["images"].append(c["images"][0]), "two images of one id"),
        (lambda c: c.update(images=[], annotations=[]), "has no images"),
        (lambda c: c.pop("annotations"), "has no annotations: it is no instances json"),
        (lambda c: c["images"].append({"id": 1, "file_name": "x.jpg", "height": 1, "width": 1}), ": x.jpg; "),
    ],
)
def test_wrong_annotations_are_named(root, content, change, message):
    change(content)
    (root / "annotations" / "instances_train2017.json").write_text(json.dumps(content))
    with pytest.raises(ValueError, match=message):
        COCO(TASKS, root)


def test_a_cut_off_json_is_named(root):
    path = root / "annotations" / "instances_train2017.json"
    text = path.read_text()
    for end in (0, 1, 100, len(text) // 2, len(text) - 1):
        path.write_text(text[:end])
        with pytest.raises(ValueError, match=r"instances_train2017\.json is broken or cut off"):
            COCO(TASKS, root)


def test_wrong_roots_and_sizes_are_named(root):
    with pytest.raises(ValueError, match=rf"not the folder of COCO: .*; {root} has: give that folder"):
        COCO(TASKS, root / "train2017")
    with pytest.raises(ValueError, match="COCO has 4 classes for 'semseg'; the task has 81"):
        COCO({"semseg": dict(type="SemanticSegmentation", classes=81)}, root)
    Image.fromarray(np.zeros((16, 8, 3), np.uint8)).save(root / "train2017" / "000000000007.jpg")
    with pytest.raises(ValueError, match=r"says 8 x 16 of train2017/000000000007\.jpg, the image is 16 x 8"):
        COCO(TASKS, root)[0]


def test_pycocotools_missing_is_one_clear_line(root, monkeypatch):
    monkeypatch.setitem(sys.modules, "pycocotools", None)
    with pytest.raises(ValueError, match=r'pip install "mtl\[coco\]"'):
        COCO(TASKS, root)


def test_names_agree_with_mmsegmentation():
    from mmseg.datasets import COCOStuffDataset

    classes = runpy.run_path(str(BASE))["tasks"]["semseg"]["classes"]
    # the first 80 of COCO-Stuff are COCO's things
    assert classes == ["background", *COCOStuffDataset.METAINFO["classes"][:80]]


# -- real annotations ------------------------------------------------------------------------------------------------
@needs_photos
@pytest.mark.parametrize("split", ["train", "val"])
def test_real_annotations(split):
    from pycocotools import coco as reference

    file = f"annotations/instances_{split}.json"
    tasks = {"semseg": dict(type="SemanticSegmentation", classes=21)}
    ours = COCO(tasks, PHOTOS, split, images="images", annotations="annotations/instances_{split}.json")
    theirs = reference.COCO(str(PHOTOS / file))
    ids = {category: i + 1 for i, category in enumerate(theirs.cats)}
    assert len(ours) == len(theirs.imgs) == 100
    agreeing = labelled = 0
    for index, image in enumerate(theirs.imgs.values()):
        drawn = ours.instances.draw(index)
        found = theirs.imgToAnns[image["id"]]
        expected = np.zeros((image["height"], image["width"]), np.uint8)
        for thing in sorted(found, key=lambda a: (not a["iscrowd"], -a["area"])):
            expected[theirs.annToMask(thing) == 1] = VOID if thing["iscrowd"] else ids[thing["category_id"]]
        np.testing.assert_array_equal(drawn, expected)
        # the folder's maps come from COCO's panoptic labels, which settle overlaps otherwise
        stored = np.array(Image.open(PHOTOS / "semseg" / f"{ours.names[index]}.png"))
        both = (stored != VOID) & (drawn != VOID)
        agreeing += int((stored == drawn)[both].sum())
        labelled += int(both.sum())
    print(agreeing / labelled)
    assert agreeing / labelled > 0.98
