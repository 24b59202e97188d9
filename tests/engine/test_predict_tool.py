"""tools/predict.py: good inputs become files, bad ones one line each, and nothing is overwritten unasked."""

from __future__ import annotations

import json
import os
import struct
import zlib

import cv2
import numpy as np
import pytest
from PIL import Image
from tiny import run_tool
from trained import write_checkpoints

import mtl.engine.predict
from mtl import Predictor
from mtl.engine.inputs import find_inputs
from mtl.engine.overlays import ContactSheet, overlay
from mtl.engine.pictures import font, legible
from mtl.tasks import HumanParts, Saliency, SemanticSegmentation, SurfaceNormals
from mtl.utils.text import printable

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


def test_videos_whose_path_is_not_utf8_are_refused(checkpoint, tmp_path, capsys):
    """OpenCV crashes at them."""
    for name in ("f.mp4", "z.mp4"):
        film(tmp_path / name, 2)
    (tmp_path / "f.mp4").rename(tmp_path / os.fsdecode(b"f\xfc.mp4"))
    out = tmp_path / "out"
    assert predict(checkpoint, f"{tmp_path}/*.mp4", "--out", out, "--tasks", "semseg") == 1
    assert "f\\udcfc.mp4: OpenCV takes no path that is not UTF-8" in capsys.readouterr().err
    assert files(out) == ["contact_sheet.png", "predictions.json", "semseg/z.mp4"]
    out = tmp_path / os.fsdecode(b"\xfc")
    assert predict(checkpoint, tmp_path / "z.mp4", "--out", out, "--tasks", "semseg") == 1
    assert "udcfc/semseg/z.mp4: OpenCV takes no path" in capsys.readouterr().err
    assert files(out) == ["contact_sheet.png", "predictions.json"]


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
    for ground in ("background", " Background"):
        assert (overlay(HumanParts([ground, "sea", "land"]), image, ids, 1)[0, 0] == 100).all()
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


def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def bomb(path, side=70_000):
    """A small PNG whose header says ``side`` x ``side``."""
    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    parts = [(b"IHDR", header), (b"IDAT", zlib.compress(bytes(1_000_000))), (b"IEND", b"")]
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*part) for part in parts))


def animation(path):
    frames = [Image.new("RGB", (40, 30), colour) for colour in ("red", "blue")]
    frames[0].save(path, save_all=True, append_images=frames[1:])


def broken_exif(path):
    exif = b"Exif\0\0II*\0\x08\0\0\0\xff\xff" + b"\x12\x01\x03\0\xff\xff\xff\xff" * 3
    Image.new("RGB", (40, 30), "red").save(path, exif=exif)


GOOD = {
    "one pixel.png": lambda path: Image.new("RGB", (1, 1)).save(path),
    "flat.png": lambda path: Image.new("RGB", (30_000, 1)).save(path),
    "high.png": lambda path: Image.new("RGB", (1, 30_000)).save(path),
    "cmyk.jpg": lambda path: Image.new("CMYK", (40, 30)).save(path),
    "palette.png": lambda path: Image.new("P", (40, 30)).save(path),
    "animated.webp": animation,
    "animated.png": animation,
    "broken exif.jpg": broken_exif,
    "line\nbreak.png": lambda path: save(path),
    "esc\x1b[31m\u202e.png": lambda path: save(path),
    "写真 Übung 😀.png": lambda path: save(path),
    "a" * 246 + ".png": lambda path: save(path),
}

BAD = {
    "loop.png": (lambda path: path.symlink_to(path.name), "Too many levels of symbolic links"),
    "pipe.png": (os.mkfifo, "it is not a file but a named pipe"),
    "pipe.mp4": (os.mkfifo, "it is not a file but a named pipe"),
    "folder.jpg": (os.mkdir, "it is not a file but a folder"),
    "folder.mp4": (os.mkdir, "it is not a file but a folder"),
    "device.png": (lambda path: path.symlink_to("/dev/zero"), "it is not a file but a device"),
    "bomb.png": (bomb, "its pixels are more than max_pixels=4000000, or than Pillow opens"),
    "large.png": (lambda path: bomb(path, 2001), "its 2001 x 2001 pixels (width x height) are more than max_pixels="),
    "large.avi": (lambda path: film(path, 2, "MJPG", (1600, 2528)), "its 2528 x 1600 pixels"),
    "deep.png": (lambda path: Image.fromarray(np.zeros((9, 9), np.uint16)).save(path), "8 bits"),
    "cut\n.png": (lambda path: path.write_bytes(b"\x89PNG\r\n\x1a\n"), "cut\\n.png"),
    "empty.png": (lambda path: path.touch(), "the file is empty"),
    "text.png": (lambda path: path.write_text("no image"), "it is no image"),
}


def test_one_bad_input_never_stops_the_others(checkpoint, tmp_path, capsys):
    folder, out = tmp_path / "in", tmp_path / "out"
    folder.mkdir()
    for name, make in GOOD.items():
        make(folder / name)
    for name, (make, _) in BAD.items():
        make(folder / name)
    assert predict(checkpoint, folder, "--out", out, "--tasks", "semseg", "saliency", "--max-pixels", "4000000") == 1
    printed = capsys.readouterr()
    assert f"{len(GOOD)} of {len(GOOD) + len(BAD)} inputs predicted" in printed.out
    heading, *lines = printed.err.splitlines()
    assert heading == f"{len(BAD)} could not be used or not as a whole:"
    assert len(lines) == len(BAD)
    assert "\x1b" not in printed.err
    for name, (_, why) in BAD.items():
        assert sum(printable(folder / name) in line and why in line for line in lines) == 1, name
    drawn = {path.stem for path in (out / "semseg").iterdir()}
    assert len(drawn) == len(GOOD)
    assert {name.rpartition(".")[0] for name in GOOD if not name.startswith("animated")} <= drawn
    manifest = json.loads((out / "predictions.json").read_text())
    assert manifest["problems"] == [line.strip() for line in lines]
    with Image.open(out / "contact_sheet.png") as sheet:
        assert sheet.width == 3 * (256 + 8) + 8


def test_a_large_image_is_allowed_on_request(checkpoint, tmp_path, monkeypatch):
    Image.new("RGB", (40, 30)).save(tmp_path / "x.png")
    out = tmp_path / "out"
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 500)  # Pillow's own limit, which is at twice as many
    with pytest.raises(ValueError, match="than Pillow opens"):
        Predictor(checkpoint, device="cpu")(tmp_path / "x.png")
    assert predict(checkpoint, tmp_path / "x.png", "--out", out, "--max-pixels", "1199") == 1
    assert predict(checkpoint, tmp_path / "x.png", "--out", out, "--overwrite", "--max-pixels", "1200") == 0


@pytest.mark.parametrize("kind", ["vanished", "unreadable"])
def test_a_file_that_cannot_be_opened_stops_no_other(kind, checkpoint, tmp_path, capsys, monkeypatch):
    for name in ("a.jpg", "b.jpg", "c.jpg"):
        save(tmp_path / "in" / name)
    find = find_inputs

    def then(arguments):
        found = find(arguments)
        (tmp_path / "in" / "b.jpg").unlink()
        return found

    def denied(path, *rest, opening=open, **options):
        if str(path).endswith("b.jpg"):
            raise PermissionError(13, "Permission denied", path)
        return opening(path, *rest, **options)

    if kind == "vanished":
        monkeypatch.setattr("mtl.engine.inputs.find_inputs", then)
    else:  # as for anyone but root
        monkeypatch.setattr("mtl.utils.files.open", denied, raising=False)
    out = tmp_path / "out"
    assert predict(checkpoint, tmp_path / "in", "--out", out, "--tasks", "semseg") == 1
    line = capsys.readouterr().err.splitlines()[1].strip()
    reason = "No such file or directory" if kind == "vanished" else "Permission denied"
    assert line == f"cannot read the image {tmp_path / 'in' / 'b.jpg'}: {reason}"
    assert sorted(path.name for path in (out / "semseg").iterdir()) == ["a.png", "c.png"]


def test_an_output_that_cannot_be_written_stops_no_other(checkpoint, tmp_path, capsys, monkeypatch):
    long = "ü" * 125  # 250 bytes, too many with a folder in front
    for name in ("in/a.jpg", f"in/long/{long}.jpg", f"in/other/{long}.jpg", "in/full.jpg", "in/z.jpg"):
        save(tmp_path / name)
    film(tmp_path / "in" / f"{long}.mp4", 2)
    film(tmp_path / "in" / "clip.avi", 2, "MJPG")
    written = Image.Image.save

    def full(image, path, *rest, **options):
        if "full" in str(path):
            path.write_bytes(b"half")
            raise OSError(28, "No space left on device")
        return written(image, path, *rest, **options)

    monkeypatch.setattr(Image.Image, "save", full)
    out = tmp_path / "out"
    assert predict(checkpoint, f"{tmp_path}/in/**/*.*", "--out", out, "--tasks", "semseg") == 1
    printed = capsys.readouterr()
    assert printed.out.startswith("3 of 7 inputs predicted")
    lines = [line.strip() for line in printed.err.splitlines()[1:]]
    assert len(lines) == 4
    assert sum("File name too long" in line for line in lines) == 3
    (disk,) = [line for line in lines if "No space left on device" in line]
    assert disk.startswith(f"{tmp_path / 'in' / 'full.jpg'}: cannot write {out / 'semseg' / 'full.png'}: ")
    assert files(out) == ["contact_sheet.png", "predictions.json", "semseg/a.png", "semseg/clip.mp4", "semseg/z.png"]


def test_a_contact_sheet_that_cannot_be_written_is_told_of(checkpoint, tmp_path, capsys, monkeypatch):
    image, out = save(tmp_path / "x.jpg"), tmp_path / "out"
    monkeypatch.setattr(ContactSheet, "draw", lambda sheet: 1 / 0)
    assert predict(checkpoint, image, "--out", out, "--tasks", "semseg") == 1
    printed = capsys.readouterr()
    assert "1 of 1 inputs predicted" in printed.out
    assert "contact_sheet.png: ZeroDivisionError: division by zero" in printed.err
    assert files(out) == ["predictions.json", "semseg/x.png"]


def test_an_image_whose_prediction_fails_stops_no_other(checkpoint, tmp_path, capsys, monkeypatch):
    for name in ("a", "b", "c"):
        save(tmp_path / "in" / f"{name}.jpg", (30, 44) if name != "b" else (31, 44))
    run = Predictor._run

    def fails(predictor, images):
        if any(len(image) == 31 for image in images):
            raise MemoryError("too large")
        return run(predictor, images)

    monkeypatch.setattr(Predictor, "_run", fails)
    out = tmp_path / "out"
    assert predict(checkpoint, tmp_path / "in", "--out", out, "--tasks", "semseg") == 1
    printed = capsys.readouterr()
    assert "2 of 3 inputs predicted" in printed.out
    assert printed.err.splitlines()[1].strip() == f"{tmp_path / 'in' / 'b.jpg'}: MemoryError: too large"
    assert [path.name for path in sorted((out / "semseg").iterdir())] == ["a.png", "c.png"]


def test_a_video_that_is_not_written_as_a_whole_is_told_of(checkpoint, tmp_path, capsys, monkeypatch):
    """OpenCV says nothing of a full disk."""
    open_film = mtl.engine.predict._open_film

    class Full:
        def __init__(self, *arguments):
            self.film, self.frames = open_film(*arguments), 0
            self.release = self.film.release

        def write(self, frame):
            self.frames += 1
            if self.frames < 4:
                self.film.write(frame)

    monkeypatch.setattr("mtl.engine.predict._open_film", Full)
    film(tmp_path / "a.avi", 6, "MJPG")
    assert predict(checkpoint, tmp_path / "a.avi", "--out", tmp_path / "out", "--tasks", "semseg") == 1
    assert "semseg/a.mp4: it has 3 of 6 frames" in capsys.readouterr().err


def test_large_images_are_not_held_together(checkpoint, tmp_path, monkeypatch):
    sizes = [(10, 10), (40, 40), (10, 10), (10, 10), (10, 10)]
    for i, size in enumerate(sizes):
        save(tmp_path / "in" / f"{i}.png", size)
    held, run = [], Predictor._run
    monkeypatch.setattr("mtl.engine.predict._BATCH_PIXELS", 500)
    monkeypatch.setattr(Predictor, "_run", lambda self, images: held.append(len(images)) or run(self, images))
    assert predict(checkpoint, tmp_path / "in", "--out", tmp_path / "out", "--batch-size", "3") == 0
    assert held == [2, 3]


@pytest.mark.parametrize("kind", [SemanticSegmentation, HumanParts])
def test_class_0_has_a_colour_like_any_other_unless_it_is_the_background(kind):
    task, ids = kind(["road", "tree", "sky"]), np.array([[0, 1], [2, 255]], np.uint8)
    colours = [tuple(pixel) for pixel in task.draw(ids).reshape(-1, 3).tolist()]
    assert len(set(colours)) == 4
    assert task.legend() == list(zip(("road", "tree", "sky"), colours, strict=False))
    assert max(colours[0]) > 200, "bright: black would darken the picture under it"
    drawn = overlay(task, np.full((2, 2, 3), 100, np.uint8), ids, 0.5).reshape(-1, 3).tolist()
    for mixed, colour in zip(drawn[:3], colours, strict=False):
        np.testing.assert_allclose(mixed, (100 + np.array(colour)) / 2, atol=0.5)
    assert drawn[3] == [100, 100, 100]
    many = [tuple(colour) for _, colour in SemanticSegmentation(255).legend()]
    assert len(set(many)) == 255


def test_names_in_pictures_are_legible():
    assert legible("Straße Übung é Москва Ελλάδα") == "Straße Übung é Москва Ελλάδα"
    assert legible("U\u0308bung") == "Übung", "composed as it is displayed"
    assert legible("写真\n.jpg\x1b\udcfc") == r"\u5199\u771f\n.jpg\x1b\udcfc"
    missing = bytes(font().getmask("\uffff"))
    for character in "Üßéж":
        assert bytes(font().getmask(character)) not in (missing, b""), character


def test_an_overlay_in_strips_is_that_of_the_whole(monkeypatch):
    draw = np.random.default_rng(0)
    image, ids = draw.integers(0, 256, (23, 17, 3), np.uint8), draw.integers(0, 7, (23, 17), np.uint8)
    whole = overlay(HumanParts(), image, ids)
    monkeypatch.setattr("mtl.engine.overlays._STRIP", 40)
    assert (overlay(HumanParts(), image, ids) == whole).all()


def test_a_start_that_fails_leaves_no_folder(checkpoint, tmp_path, capsys, monkeypatch):
    def full(path, *rest):
        path.touch()
        raise OSError(28, "No space left on device", str(path))

    image, out = save(tmp_path / "x.jpg"), tmp_path / "new" / "out"
    monkeypatch.setattr("pathlib.Path.write_text", full)
    assert predict(checkpoint, image, "--out", out) == 1
    assert "No space left on device" in capsys.readouterr().err
    assert not (tmp_path / "new").exists()
    assert run_tool("export.py", checkpoint, tmp_path / "new" / "x.safetensors") == 2
    assert run_tool("export.py", checkpoint, "--timm", tmp_path / "new") == 2
    assert run_tool("adapters.py", "remove", checkpoint, *TASKS, "--out", tmp_path / "new" / "x.safetensors") == 2
    assert not (tmp_path / "new").exists()


def test_a_manifest_that_is_a_pipe(checkpoint, tmp_path, capsys):
    (tmp_path / "out").mkdir()
    os.mkfifo(tmp_path / "out" / "predictions.json")
    assert predict(checkpoint, save(tmp_path / "x.jpg"), "--out", tmp_path / "out", "--overwrite") == 2
    assert "holds no earlier prediction" in capsys.readouterr().err
