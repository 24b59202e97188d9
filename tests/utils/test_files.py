"""Only regular files are opened, at once; a failed start leaves no folder."""

from __future__ import annotations

import os
import socket
import stat

import numpy as np
import pytest
from PIL import Image

from mtl.datasets.coco import Instances
from mtl.datasets.files import read_image
from mtl.datasets.label_formats import read_mat
from mtl.encoders.weights import read_tensors
from mtl.engine.adapter_file import read_meta, read_state
from mtl.engine.files import replacing
from mtl.engine.inputs import Video
from mtl.evaluation.delta_m import load_single_task
from mtl.report.runs import read_run
from mtl.tasks import label_files
from mtl.utils.files import check_regular, made_folder, open_regular
from mtl.utils.images import open_image
from mtl.utils.text import printable, reason


@pytest.fixture
def places(tmp_path, monkeypatch):
    os.mkfifo(tmp_path / "a named pipe")
    (tmp_path / "a folder").mkdir()
    (tmp_path / "loop").symlink_to("loop")
    monkeypatch.chdir(tmp_path)  # a socket's path has at most 107 bytes
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("a socket")
        yield tmp_path


@pytest.mark.parametrize("kind", ["a named pipe", "a folder", "a socket", "a device"])
def test_what_is_no_file_is_named_and_not_opened(kind, places):
    path = "/dev/zero" if kind == "a device" else places / kind
    for function in (open_regular, check_regular):
        with pytest.raises(OSError, match=f"it is not a file but {kind}"):
            function(path)
    with pytest.raises(OSError, match="symbolic links"):
        open_regular(places / "loop")


def test_a_file_that_becomes_a_pipe_in_between(places, monkeypatch):
    monkeypatch.setattr("mtl.utils.files.check_regular", lambda path: None)
    with pytest.raises(OSError, match="a named pipe"):
        open_regular(places / "a named pipe")


READERS = {
    "x.jpg": read_image,
    "x.png": lambda path: label_files.read_image(path, 1),
    "y.png": label_files.read_levels16,
    "x.npy": label_files.read_array,
    "x.mat": lambda path: read_mat(path, "a"),
    "x.mp4": Video,
    "x.safetensors": read_tensors,
    "x.pth": read_tensors,
    "meta.safetensors": read_meta,
    "state.safetensors": read_state,
    "result.json": read_run,
    "single.json": load_single_task,
    "coco.json": Instances,
}


@pytest.mark.parametrize("name", READERS)
def test_no_reader_waits_for_a_pipe(name, tmp_path):
    os.mkfifo(tmp_path / name)
    with pytest.raises(ValueError, match=name if name != "result.json" else "a named pipe"):
        READERS[name](tmp_path / name)


def test_images_are_bounded_before_they_are_decoded(tmp_path):
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (20, 30, 3), np.uint8)).save(tmp_path / "a.png")
    data = (tmp_path / "a.png").read_bytes()
    (tmp_path / "a.png").write_bytes(data[:-40])  # whoever decodes it fails
    with pytest.raises(ValueError, match=r"a.png: its 30 x 20 pixels .* more than max_pixels=599"):
        read_image(tmp_path / "a.png", 599)
    with open_regular(tmp_path / "a.png") as file, open_image(file, 600) as image:
        assert image.size == (30, 20)


def test_only_empty_folders_that_are_new_go_again(tmp_path):
    (tmp_path / "old").mkdir()
    with pytest.raises(KeyError), made_folder(tmp_path / "old" / "a" / "b"):
        raise KeyError
    assert list(tmp_path.rglob("*")) == [tmp_path / "old"]
    with pytest.raises(FileNotFoundError), made_folder(tmp_path / "old" / "a" / "b"):
        (tmp_path / "old" / "a" / "x").touch() or (tmp_path / "gone" / "x").touch()
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["a", "old", "x"]
    with pytest.raises(KeyError), replacing(tmp_path / "new" / "x.txt"):
        raise KeyError
    assert not (tmp_path / "new").exists()
    with replacing(tmp_path / "new" / "x.txt") as part:
        part.touch()
    assert stat.S_IMODE((tmp_path / "new" / "x.txt").stat().st_mode) & 0o600 == 0o600


def test_text_from_outside():
    assert printable("Übung 写真 😀.jpg") == "Übung 写真 😀.jpg"
    assert printable("a\nb\x1b[31m\u202e\udcfc") == "a\\nb\\x1b[31m\\u202e\\udcfc"
    assert printable("a\nb\tc\0", keep="\n\t") == "a\nb\tc\\x00"
    assert reason(OSError(28, "No space left on device", "x")) == "No space left on device"
    assert reason(ValueError("two\n lines")) == "two lines"
    assert reason(KeyError()) == "KeyError"
