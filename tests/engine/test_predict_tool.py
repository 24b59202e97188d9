"""tools/predict.py: good inputs become files, bad ones one line each, and nothing is overwritten unasked."""

from __future__ import annotations

import json
import os

import cv2
import numpy as np
import pytest
from PIL import Image
from tiny import run_tool
from trained import write_checkpoints

from mtl import Predictor
from mtl.engine.inputs import find_inputs
from mtl.engine.overlays import ContactSheet, overlay
from mtl.tasks import HumanParts, Saliency, SurfaceNormals

TASKS = ["semseg", "human_parts", "saliency", "normals"]


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    folder = tmp_path_factory.mktemp("trained")
    write_checkpoints(folder)
    return folder / "model.safetensors"


def save(path, size=(30, 44), seed=0):
    path.parent.mkdir(parents=True, exist_ok=True)
    small = np.random.default_rng(seed).integers(0, 256, (4, 5, 3), np.uint8)
    Image.fromarray(small).resize(size[::-1], Image.Resampling.BICUBIC).save(path)
    return path


def film(path, frames=7, code="mp4v", size=(48, 64)):
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*code), 10, size[::-1])
    for i in range(frames):
        writer.write(np.full((*size, 3), 10 * i, np.uint8))
    writer.release()
    return path


def read_film(path):
    capture = cv2.VideoCapture(str(path))
    frames = []
    while True:
        done, frame = capture.read()
        if not done:
            return frames, capture.get(cv2.CAP_PROP_FPS)
        frames.append(frame)


def files(out):
    return sorted(str(path.relative_to(out)) for path in out.rglob("*") if path.is_file())


def predict(checkpoint, *arguments):
    return run_tool("predict.py", checkpoint, *arguments, "--device", "cpu")


def test_images_folders_and_patterns(checkpoint, tmp_path, capsys):
    save(tmp_path / "in" / "x.jpg")
    save(tmp_path / "in" / "y.png", (50, 20), 1)
    save(tmp_path / "in" / "below" / "x.jpg", seed=2)
    (tmp_path / "in" / "notes.txt").write_text("no image")
    out = tmp_path / "out"
    given = [tmp_path / "in", tmp_path / "in" / "x.jpg", f"{tmp_path}/in/**/*.jpg"]
    assert predict(checkpoint, *given, "--out", out, "--raw") == 0
    assert "3 of 3 inputs predicted" in capsys.readouterr().out
    names = ["below_x", "in_x", "y"]
    overlays = [f"{task}/{name}.png" for task in TASKS for name in names]
    raw = [f"raw/{task}/{name}.{'png' if i < 2 else 'npy'}" for i, task in enumerate(TASKS) for name in names]
    assert files(out) == sorted([*overlays, *raw, "contact_sheet.png", "predictions.json"])
    manifest = json.loads((out / "predictions.json").read_text())
    assert manifest["inputs"]["below_x"] == str(tmp_path / "in" / "below" / "x.jpg")

    predictor = Predictor(checkpoint, device="cpu")
    with Image.open(tmp_path / "in" / "y.png") as file:
        image = np.array(file)
    for task, value in predictor(image).items():
        with Image.open(out / task / "y.png") as drawn:
            assert drawn.size == (20, 50)
        if value.dtype == np.uint8:
            with Image.open(out / "raw" / task / "y.png") as stored:
                assert stored.mode == "L"
                assert (np.array(stored) != value).mean() < 1e-3
        else:
            stored = np.load(out / "raw" / task / "y.npy")
            assert stored.dtype == np.float32
            np.testing.assert_allclose(stored, value, atol=1e-5)


def test_bad_files_are_listed_and_the_good_ones_done(checkpoint, tmp_path, capsys):
    folder = tmp_path / "in"
    for name in ("a_good.jpg", "z_good.png", "cut.jpg"):
        save(folder / name, (200, 300))
    (folder / "cut.jpg").write_bytes((folder / "cut.jpg").read_bytes()[:900])
    (folder / "zero.png").write_bytes(b"")
    (folder / "text.jpg").write_text("no image")
    Image.fromarray(np.zeros((9, 9), np.uint16)).save(folder / "deep.png")
    (folder / "broken.mp4").write_bytes(b"no video")
    (folder / "empty.avi").write_bytes(b"")
    (tmp_path / "bare").mkdir()
    out = tmp_path / "out"
    missing = [tmp_path / "gone.jpg", tmp_path / "bare", f"{tmp_path}/bare/*.png"]
    assert predict(checkpoint, *missing, folder, "--out", out, "--no-overlay", "--tasks", "saliency", "--raw") == 1
    printed = capsys.readouterr()
    assert "2 of 8 inputs predicted" in printed.out
    assert "Traceback" not in printed.err
    lines = [line.strip() for line in printed.err.partition("could not be used")[2].splitlines()[1:]]
    assert len(lines) == 9
    parts = [
        "gone.jpg",
        "in the folder",
        "bare/*.png",
        "cut.jpg",
        "zero.png",
        "text.jpg",
        "8 bits",
        "broken.mp4",
        "empty.avi",
    ]
    for part in parts:
        assert sum(part in line for line in lines) == 1, part
    assert files(out) == [
        *("contact_sheet.png", "predictions.json"),
        *("raw/saliency/a_good.npy", "raw/saliency/z_good.npy"),
    ]


def test_when_there_is_nothing_to_do(checkpoint, tmp_path, capsys):
    assert predict(checkpoint, tmp_path / "gone.jpg", f"{tmp_path}/*.jpg", "--out", tmp_path / "out") == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "nothing to predict: no such file" in line
    assert "; no image or video matches" in line
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (["--tasks", "semsg"], "did you mean 'semseg'? valid: human_parts, normals, saliency, semseg"),
        (["--weights", "nowhere.pth"], "no weights file 'nowhere.pth'"),
        (["--size", "30", "64"], "multiples of 32"),
        (["--batch-size", "0"], "batch_size is at least 1"),
        (["--opacity", "2"], "opacity lies between 0 and 1"),
        (["--custom-imports", "not_there"], "'not_there' cannot be imported"),
    ],
)
def test_wrong_options(arguments, part, checkpoint, tmp_path, capsys):
    image = save(tmp_path / "x.jpg")
    assert predict(checkpoint, image, "--out", tmp_path / "out", *arguments) == 2
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1
    assert part in lines[0]
    assert not (tmp_path / "out").exists()


def test_missing_checkpoints_and_devices(checkpoint, tmp_path, capsys):
    image = save(tmp_path / "x.jpg")
    assert predict(tmp_path / "none.pth", image, "--out", tmp_path / "out") == 2
    assert "no checkpoint" in capsys.readouterr().err
    assert run_tool("predict.py", checkpoint, image, "--out", tmp_path / "out", "--device", "abacus") == 2
    assert "the device 'abacus' cannot be used" in capsys.readouterr().err


def test_outputs_are_not_mixed(checkpoint, tmp_path, capsys):
    one, two, out = save(tmp_path / "one.jpg"), save(tmp_path / "two.jpg"), tmp_path / "out"
    assert predict(checkpoint, one, "--out", out, "--raw") == 0
    before = files(out)
    (out / "own.txt").write_text("mine")
    assert predict(checkpoint, two, "--out", out) == 2
    assert "--overwrite replaces" in capsys.readouterr().err
    assert predict(tmp_path / "none.pth", two, "--out", out, "--overwrite") == 2
    assert files(out) == sorted([*before, "own.txt"]), "nothing goes before the checkpoint is read"
    assert predict(checkpoint, two, "--out", out, "--overwrite", "--tasks", "semseg") == 0
    assert files(out) == ["contact_sheet.png", "own.txt", "predictions.json", "semseg/two.png"]
    assert predict(checkpoint, out / "semseg", "--out", out, "--overwrite") == 2
    assert "lies in" in capsys.readouterr().err
    (out / "predictions.json").unlink()
    assert predict(checkpoint, two, "--out", out, "--overwrite") == 2
    assert "no earlier prediction" in capsys.readouterr().err
    assert predict(checkpoint, two, "--out", one) == 2
    assert "is a file" in capsys.readouterr().err


@pytest.mark.parametrize(("suffix", "code"), [("mp4", "mp4v"), ("avi", "MJPG")])
def test_videos(suffix, code, checkpoint, tmp_path):
    video = film(tmp_path / f"clip.{suffix}", code=code)
    out = tmp_path / "out"
    assert predict(checkpoint, video, "--out", out, "--every", "2", "--raw", "--batch-size", "3") == 0
    for task in TASKS:
        frames, fps = read_film(out / task / "clip.mp4")
        assert len(frames) == 4
        assert frames[0].shape == (48, 64, 3)
        assert fps == 5
    raw = [f"{n:06d}.npy" for n in (0, 2, 4, 6)]
    assert [path.name for path in sorted((out / "raw" / "normals" / "clip").iterdir())] == raw
    capture = [cv2.cvtColor(frame, cv2.COLOR_BGR2RGB) for frame in read_film(video)[0]]
    expected = Predictor(checkpoint, device="cpu")(capture[4])
    np.testing.assert_allclose(np.load(out / "raw" / "normals" / "clip" / "000004.npy"), expected["normals"], atol=1e-5)


def test_videos_without_frames_or_cut_off(checkpoint, tmp_path, capsys):
    film(tmp_path / "none.avi", 0, "MJPG")
    whole = film(tmp_path / "cut.avi", 20, "MJPG")
    whole.write_bytes(whole.read_bytes()[: whole.stat().st_size * 2 // 3])
    out = tmp_path / "out"
    assert predict(checkpoint, tmp_path / "none.avi", whole, "--out", out, "--tasks", "semseg") == 1
    error = capsys.readouterr().err
    assert "none.avi" in error
    assert "cut.avi is cut off: it ends after" in error
    assert 0 < len(read_film(out / "semseg" / "cut.mp4")[0]) < 20


def test_a_video_that_cannot_be_encoded_stops_no_other(checkpoint, tmp_path, capfd):
    film(tmp_path / "a.avi", 2, "MJPG", size=(40, 1))
    film(tmp_path / "b.avi", 2, "MJPG")
    capfd.readouterr()  # OpenCV's words on the first
    out = tmp_path / "out"
    assert predict(checkpoint, tmp_path / "a.avi", tmp_path / "b.avi", "--out", out, "--tasks", "semseg") == 1
    shown = capfd.readouterr()
    assert shown.out.startswith("1 of 2 inputs predicted")
    heading, line = shown.err.splitlines()
    assert heading == "1 could not be used or not as a whole:"
    assert "a.mp4: OpenCV has no mp4v encoder for 1 x 40" in line
    assert [path.name for path in (out / "semseg").iterdir()] == ["b.mp4"]


def test_names_that_are_not_utf8_and_links_to_nothing(checkpoint, tmp_path, capsys):
    folder, out = tmp_path / "in", tmp_path / "out"
    save(folder / os.fsdecode(b"f\xfcr.jpg"))
    (folder / "gone.jpg").symlink_to("nowhere.jpg")
    assert predict(checkpoint, folder, "--out", out, "--tasks", "semseg") == 1
    assert "cannot read the image" in capsys.readouterr().err.splitlines()[1]
    assert [path.name for path in (out / "semseg").iterdir()] == [os.fsdecode(b"f\xfcr.png")]
    manifest = json.loads((out / "predictions.json").read_text("utf-8"))
    assert manifest["inputs"][os.fsdecode(b"f\xfcr")] == str(folder / os.fsdecode(b"f\xfcr.jpg"))


def test_names_keep_apart(tmp_path):
    for name in ("a/x.jpg", "b/x.jpg", "b/x.png", "a/c/y.jpg", "b/c/y.jpg", "b/z.jpg", "b/c/Z.jpg"):
        save(tmp_path / name)
    inputs, problems = find_inputs([f"{tmp_path}/**/*.*"])
    assert problems == []
    assert {str(item.path.relative_to(tmp_path)): item.name for item in inputs} == {
        "a/x.jpg": "x",
        "b/x.jpg": "x_jpg",
        "b/x.png": "x_png",
        "a/c/y.jpg": "a_c_y",
        "b/c/y.jpg": "b_c_y",
        "b/z.jpg": "b_z",
        "b/c/Z.jpg": "c_Z",
    }
    assert [item.name for item in find_inputs([f"{tmp_path}/a/x.jpg", f"{tmp_path}/b/x.jpg"])[0]] == ["a_x", "b_x"]


def test_an_overlay_leaves_the_background_as_it_is():
    image = np.full((2, 3, 3), 100, np.uint8)
    ids = np.array([[0, 1, 255], [0, 2, 2]], np.uint8)
    drawn = overlay(HumanParts(), image, ids, 0.5)
    clear = (ids == 0) | (ids == 255)
    assert (drawn[clear] == 100).all()
    np.testing.assert_allclose(drawn[~clear], (100 + HumanParts().draw(ids)[~clear].astype(float)) / 2, atol=0.5)
    assert (overlay(HumanParts(["sky", "sea", "land"]), image, ids, 1)[0, 0] == 0).all(), "a class like any other"
    probability = np.array([[0, 0.5, 1]] * 2, np.float32)
    assert (overlay(Saliency(), image, probability, 1)[:, 0] == 100).all()
    assert (overlay(Saliency(), image, probability, 1)[:, 2] == Saliency().draw(probability)[:, 2]).all()
    up = np.zeros((2, 3, 3), np.float32) + np.array([0, 1, 0], np.float32)
    assert (overlay(SurfaceNormals(), image, up, 1) == SurfaceNormals().draw(up)).all()


def test_the_contact_sheet_names_what_is_seen():
    tasks = {"parts": HumanParts(), "normals": SurfaceNormals()}
    sheet = ContactSheet(tasks)
    for size in ((30, 60), (600, 20)):
        ids = np.zeros(size, np.uint8)
        ids[:3] = 2
        sheet.add(
            "a name " * 20, np.zeros((*size, 3), np.uint8), {"parts": ids, "normals": np.ones((*size, 3), np.float32)}
        )
    assert [panels[0].shape[:2] for _, panels in sheet.rows] == [(128, 256), (320, 11)]
    assert {label for label, _ in sheet.legends["parts"]} == {"torso"}
    assert sheet.draw().width == 3 * (256 + 8) + 8
