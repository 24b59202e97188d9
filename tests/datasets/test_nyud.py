"""NYUD-MT in the three forms of its archives, on replicas, on one real frame, and on an archive that a user has."""

import os
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
from conftest import FIXTURES
from PIL import Image
from replicas import TRAIN, nyud, save_mat

from mtl.datasets import NYUD

TASKS = {
    "semseg": dict(type="SemanticSegmentation", classes=40),
    "normals": dict(type="SurfaceNormals"),
    "depth": dict(type="Depth"),
    "edge": dict(type="Edge", tolerance=0.011),
}
FIXTURE = FIXTURES / "nyud"
ARCHIVE = Path(os.environ.get("MTL_DATA_ROOT", "")) / "NYUD_MT"


@pytest.fixture(scope="module", params=["A", "B", "C"])
def form(request, tmp_path_factory):
    return nyud(tmp_path_factory.mktemp(request.param) / "NYUD_MT", request.param)


def targets(root, index=0, **options):
    return NYUD(TASKS, root, **options).load(index).targets


def test_every_form_gives_the_same_targets(form, tmp_path):
    same = targets(nyud(tmp_path / "NYUD_MT", "B"))
    found = targets(form)
    assert set(found) == set(TASKS)
    np.testing.assert_array_equal(found["semseg"], same["semseg"])
    assert set(np.unique(found["semseg"])) == {0, 1, 39, 255}
    np.testing.assert_array_equal(found["depth"], same["depth"])
    np.testing.assert_array_equal(found["edge"], same["edge"])
    labelled = (same["normals"] != 0).any(-1)
    assert labelled.mean() > 0.5
    cosine = (found["normals"] * same["normals"]).sum(-1)[labelled]
    # 8 bits lose a degree; a JPEG of random vectors more
    assert np.degrees(np.arccos(np.clip(cosine, -1, 1))).mean() < (4 if "A" in form.parent.name else 1)


def test_suffixes_in_capitals_are_the_same(form, tmp_path):
    root = Path(shutil.copytree(form, tmp_path / "NYUD_MT"))
    for folder in ("images", "segmentation", "normals", "depth", "edge"):
        for path in list((root / folder).iterdir()):
            path.rename(path.with_suffix(path.suffix.upper()))
    for task, target in targets(form).items():
        np.testing.assert_array_equal(targets(root)[task], target)


def test_stored_values_mean_what_the_archive_says(tmp_path):
    root = nyud(tmp_path / "NYUD_MT", "B")
    found = targets(root)
    stored = np.load(root / "normals" / f"{TRAIN[0]}.npy")
    np.testing.assert_allclose(found["normals"], stored * [1, -1, 1], atol=1e-6)
    turned = targets(root, normal_axes="x,z,-y")["normals"]
    np.testing.assert_allclose(turned, np.stack([stored[..., 0], stored[..., 2], -stored[..., 1]], -1), atol=1e-6)
    ids = np.array(Image.open(root / "segmentation" / f"{TRAIN[0]}.png")).astype(int)
    np.testing.assert_array_equal(found["semseg"], np.where(ids == 0, 255, ids - 1))


@pytest.mark.parametrize(("quality", "subsampling"), [(95, 0), (75, 2)])
def test_black_normals_stay_void_in_a_jpeg(quality, subsampling, tmp_path):
    """A sphere's normals in a black frame; the frame's levels are no longer 0 once they are compressed."""
    root = nyud(tmp_path / "NYUD_MT", "A")
    height, width = Image.open(root / "images" / f"{TRAIN[0]}.jpg").size[::-1]
    y, x = np.mgrid[:height, :width]
    x, y = (x - width / 2) / width, (y - height / 2) / height
    levels = np.round(127.5 * (np.stack([x, y, np.sqrt(1 - x * x - y * y)], -1) + 1)).astype(np.uint8)
    frame = np.ones((height, width), bool)
    frame[5:-5, 5:-5] = False
    levels[frame] = 0
    path = root / "normals" / f"{TRAIN[0]}.jpg"
    Image.fromarray(levels).save(path, quality=quality, subsampling=subsampling)
    assert np.array(Image.open(path))[frame].any(), "the frame is not all black"
    labelled = (NYUD({"normals": TASKS["normals"]}, root).load(0).targets["normals"] != 0).any(-1)
    assert labelled[~frame].all()
    assert labelled[frame].mean() < 0.02, "colours of half the resolution bleed at the frame's edge"


def test_a_task_needs_only_its_own_files(form, tmp_path):
    root = Path(shutil.copytree(form, tmp_path / "NYUD_MT"))
    for folder in ("segmentation", "normals", "edge"):
        shutil.rmtree(root / folder)
    assert set(NYUD({"depth": TASKS["depth"]}, root).load(0).targets) == {"depth"}
    with pytest.raises(ValueError, match=r"no file of the split 'train' in .*edge \(\.png\)"):
        NYUD({"edge": TASKS["edge"]}, root)


def test_mistakes_are_named(tmp_path):
    root = nyud(tmp_path / "NYUD_MT", "A")
    with pytest.raises(ValueError, match="is not the folder of NYUD-MT"):
        NYUD(TASKS, root / "images")
    with pytest.raises(ValueError, match=r'such as "x,-y,z"; got "?\'?x,y'):
        NYUD(TASKS, root, normal_axes="x,y")
    with pytest.raises(ValueError, match="40 classes for 'semseg'; the task has 13"):
        NYUD({"semseg": dict(type="SemanticSegmentation", classes=13)}, root)
    (root / "depth" / f"{TRAIN[1]}.mat").unlink()
    with pytest.raises(ValueError, match=rf"1 of 3 files of the split 'train' are missing in .*: {TRAIN[1]}\.mat$"):
        NYUD(TASKS, root)
    save_mat(root / "depth" / f"{TRAIN[1]}.mat", other=np.ones((2, 2)))
    with pytest.raises(ValueError, match="has no variable 'depth'"):
        NYUD(TASKS, root)[1]
    (root / "segmentation" / f"{TRAIN[2]}.mat").write_bytes(b"")
    with pytest.raises(ValueError, match=rf"image '{TRAIN[2]}': cannot read the label .*\.mat"):
        NYUD(TASKS, root)[2]
    (root / "gt_sets" / "val.txt").write_text(TRAIN[0])
    with pytest.raises(ValueError, match=r"names in train and in val \(1\)"):
        NYUD(TASKS, root)


@pytest.mark.skipif(not FIXTURE.is_dir(), reason="needs a real frame (MTL_FIXTURES=FOLDER with nyud in it)")
def test_a_real_frame(tmp_path):
    """Image, 40 classes, depth and normals of NYUv2's frame 433, arranged as the form C has them."""
    (name,) = ["000433"]
    for folder in ("images", "segmentation", "normals", "depth", "gt_sets"):
        (tmp_path / folder).mkdir()
    shutil.copy(FIXTURE / f"{name}.png", tmp_path / "images" / f"{name}.png")
    ids = cv2.imread(str(FIXTURE / f"segm_gt_{name}.png"), cv2.IMREAD_UNCHANGED)
    Image.fromarray(ids + np.uint8(1)).save(tmp_path / "segmentation" / f"{name}.png")  # 255 becomes 0
    shutil.copy(FIXTURE / f"norm_gt_{name}.png", tmp_path / "normals" / f"{name}.png")
    depth = cv2.imread(str(FIXTURE / f"depth_gt_{name}.png"), cv2.IMREAD_UNCHANGED)
    np.save(tmp_path / "depth" / f"{name}.npy", depth.astype(np.float32) / 5000)
    (tmp_path / "gt_sets" / "train.txt").write_text(name)
    tasks = {task: TASKS[task] for task in ("semseg", "normals", "depth")}
    # this frame comes from elsewhere than the archives: y points into the picture, z up
    data = NYUD(tasks, tmp_path, normal_axes="x,z,-y")
    found = data.load(0).targets
    np.testing.assert_array_equal(found["semseg"], ids)
    floor = (ids == 1) & (found["normals"] != 0).any(-1)
    assert floor.sum() > 10_000
    x, up, _ = found["normals"][floor].mean(0)
    assert up > 0.8
    assert abs(x) < 0.2
    assert 0.5 < np.median(found["depth"][found["depth"] > 0]) < 6
    item = NYUD(tasks, tmp_path, pipeline=[dict(type="RandomAugment", size=(256, 320))], normal_axes="x,z,-y")[0]
    assert item["data_samples"].target("normals").shape == (256, 320, 3)


@pytest.mark.skipif(
    "MTL_DATA_ROOT" not in os.environ or not ARCHIVE.is_dir(), reason="needs MTL_DATA_ROOT=FOLDER with NYUD_MT in it"
)
@pytest.mark.parametrize(("split", "number"), [("train", 795), ("val", 654)])
def test_the_whole_archive(split, number):
    data = NYUD(TASKS, ARCHIVE, split)
    assert len(data) == number
    for i in range(number):
        assert set(data.load(i).targets) == set(TASKS)
