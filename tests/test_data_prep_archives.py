"""Downloading, extracting and checking of ``data_prep``, against a server on this machine."""

from __future__ import annotations

import http.server
import io
import os
import re
import socket
import tarfile
import threading
import zipfile
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace

import archives
import numpy as np
import pytest
from completeness import DataSet, check, read_list
from download import Archive, TransferError, download
from extraction import extract
from PIL import Image
from tiny import run_tool

from mtl.engine.command_line import friendly


@dataclass
class Served:
    """What the server sends: ``cut`` bytes at most of the first answers, and whether it knows ranges."""

    content: bytes
    etag: str = '"one"'
    cut: list[int] = field(default_factory=list)
    ranges: bool = True
    status: int = 200
    shifted: int = 0
    """By how much a part begins before what was asked for."""
    asked: list[str | None] = field(default_factory=list)
    url: str = ""


@pytest.fixture
def served():
    state = Served(os.urandom(300_000))

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            wanted = self.headers.get("Range")
            state.asked.append(wanted)
            if state.status != 200:
                self.send_error(state.status)
                return
            begin = int(re.fullmatch(r"bytes=(\d+)-", wanted)[1]) if wanted and state.ranges else 0
            begin = max(begin - state.shifted, 0)
            if self.headers.get("If-Range", state.etag) != state.etag:
                begin = 0
            body = state.content[begin:]
            self.send_response(206 if begin else 200)
            if begin:
                self.send_header("Content-Range", f"bytes {begin}-{len(state.content) - 1}/{len(state.content)}")
            self.send_header("Content-Length", str(len(body)))
            self.send_header("ETag", state.etag)
            self.end_headers()
            self.wfile.write(body[: state.cut.pop(0)] if state.cut else body)

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    state.url = f"http://127.0.0.1:{server.server_port}/small.tgz"
    yield state
    server.shutdown()
    server.server_close()
    thread.join(5)


@pytest.fixture(autouse=True)
def _no_pause(monkeypatch):
    monkeypatch.setattr("download.PAUSE", 0.0)


def fetch(served, folder) -> Path:
    target = folder / "small.tgz"
    download(Archive(served.url, ("a",)), target)
    assert target.read_bytes() == served.content
    assert [p.name for p in folder.iterdir()] == ["small.tgz"]
    return target


# -- download ----------------------------------------------------------------------------------------------------------
def test_a_whole_download(served, tmp_path):
    fetch(served, tmp_path)
    assert served.asked == [None]


def test_a_dropped_connection_is_gone_on_with(served, tmp_path):
    served.cut = [100_000, 50_000]
    fetch(served, tmp_path)
    assert served.asked == [None, "bytes=100000-", "bytes=150000-"]


def test_a_later_run_goes_on(served, tmp_path):
    served.cut = [100_000, 0, 0, 0]
    with pytest.raises(TransferError, match=rf"cannot download {served.url}: the connection ended early.*--archive"):
        fetch(served, tmp_path)
    assert (tmp_path / "small.tgz.part").stat().st_size == 100_000
    served.asked.clear()
    fetch(served, tmp_path)
    assert served.asked == ["bytes=100000-"]


def test_a_server_without_ranges_starts_afresh(served, tmp_path):
    served.ranges, served.cut = False, [100_000]
    fetch(served, tmp_path)


def test_a_server_that_sends_another_part_ends(served, tmp_path):
    served.shifted, served.cut = 10, [100_000]
    fetch(served, tmp_path)
    assert served.asked == [None, "bytes=100000-", None]
    served.cut = [100_000, 200_000] * 9
    with pytest.raises(TransferError, match="the connection ended early"):
        download(Archive(served.url, ("a",)), tmp_path / "other.tgz")


@pytest.mark.parametrize("length", [300_000, 90_000, 400_000])
def test_a_file_that_changed_starts_afresh(served, tmp_path, length):
    served.cut = [100_000, 0, 0, 0]
    with pytest.raises(TransferError):
        fetch(served, tmp_path)
    served.content, served.etag = os.urandom(length), '"two"'
    fetch(served, tmp_path)


def test_a_part_of_unknown_origin_is_not_gone_on_with(served, tmp_path):
    (tmp_path / "small.tgz.part").write_bytes(b"x" * 1000)
    fetch(served, tmp_path)
    assert served.asked == [None]


def test_another_checksum_is_refused(served, tmp_path):
    with pytest.raises(TransferError, match="another SHA-256"):
        download(Archive(served.url, ("a",), sha256="0" * 64), tmp_path / "small.tgz")
    assert not list(tmp_path.iterdir())


def test_a_missing_file_and_no_network_are_one_line(served, tmp_path):
    served.status = 404
    with pytest.raises(TransferError, match=rf"cannot download {served.url}: the server answers 404.*--archive FILE"):
        fetch(served, tmp_path)
    assert len(served.asked) == 1
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        closed = f"http://127.0.0.1:{free.getsockname()[1]}/small.tgz"
    with pytest.raises(TransferError, match=rf"cannot download {closed}: no connection .*refused.*--archive FILE"):
        download(Archive(closed, ("a",)), tmp_path / "small.tgz")
    assert not list(tmp_path.iterdir())


def test_a_full_disk_is_one_line(served, tmp_path, monkeypatch):
    monkeypatch.setattr(archives.shutil, "disk_usage", lambda _: SimpleNamespace(free=9))
    with pytest.raises(TransferError, match=r"no room for .*small\.tgz\.part: 0\.0 GiB are to come"):
        fetch(served, tmp_path)


# -- extraction --------------------------------------------------------------------------------------------------------
def tar(path: Path, files: dict[str, bytes], links=()) -> Path:
    with tarfile.open(path, "w:gz") as opened:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            opened.addfile(entry, io.BytesIO(content))
        for name, to, kind in links:
            entry = tarfile.TarInfo(name)
            entry.type, entry.linkname = kind, to
            opened.addfile(entry)
    return path


def zipped(path: Path, files: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w") as opened:
        for name, content in files.items():
            opened.writestr(name, content)
    return path


@pytest.mark.parametrize("pack", [tar, zipped])
@pytest.mark.parametrize("name", ["../out", "a/../../out", "/tmp/out-of-it", "..\\out", "c:/out"])
def test_entries_that_lead_out_are_refused(tmp_path, pack, name):
    path = pack(tmp_path / "x", {"a/b": b"1", name: b"2"})
    with pytest.raises(ValueError, match="an entry that leads out of its folder"):
        extract(path, tmp_path / "deep" / "in")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["deep", "x"]


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE])
@pytest.mark.parametrize("to", ["/etc", "../..", "/etc/passwd", "a"])
def test_links_out_of_the_folder_or_to_folders_are_refused(tmp_path, kind, to):
    path = tar(tmp_path / "x", {"a/b": b"1"}, [("link", to, kind), ("link/evil", "a/b", tarfile.LNKTYPE)])
    with pytest.raises(ValueError, match=r"leads out of its folder|which is no file in it"):
        extract(path, tmp_path / "in")
    assert not any(p.is_symlink() for p in tmp_path.rglob("*"))


def test_links_within_become_copies(tmp_path):
    path = tar(tmp_path / "x", {"a/b": b"1"}, [("a/c", "b", tarfile.SYMTYPE), ("d", "a/b", tarfile.LNKTYPE)])
    extract(path, tmp_path / "in")
    assert {p.name: p.read_bytes() for p in (tmp_path / "in").rglob("*") if p.is_file()} == dict.fromkeys("bcd", b"1")
    assert not any(p.is_symlink() for p in tmp_path.rglob("*"))


def test_a_link_in_a_zip_and_a_device_are_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as opened:
        entry = zipfile.ZipInfo("link")
        entry.external_attr = 0o120777 << 16
        opened.writestr(entry, "/etc/passwd")
    with pytest.raises(ValueError, match="has the link 'link'"):
        extract(tmp_path / "x.zip", tmp_path / "in")
    with pytest.raises(ValueError, match="neither a file nor a folder"):
        extract(tar(tmp_path / "x", {}, [("pipe", "", tarfile.FIFOTYPE)]), tmp_path / "in")


# -- a whole data set --------------------------------------------------------------------------------------------------
def image(value: int = 0) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.full((40, 40), value, np.uint8)).save(buffer, "png")
    return buffer.getvalue()


FILES = {f"Set/{folder}/{name}.png": image() for folder in ("images", "labels") for name in "abc"} | {
    "Set/lists/train.txt": b"a\nb\n",
    "Set/lists/val.txt": b"c\n",
}


@pytest.fixture
def data(served, tmp_path):
    served.content = tar(tmp_path / "small.tgz", FILES).read_bytes()
    return DataSet(
        name="Small",
        archives=(Archive(served.url, ("images", "lists")),),
        level=("images", "lists"),
        splits={"train": 2, "val": 1},
        names=lambda root, split: read_list(root / "lists" / f"{split}.txt"),
        needs=(("images/{name}.png",), ("labels/{name}.png", "labels/{name}.mat")),
        one_form=True,
    )


def script(data, *arguments) -> int:
    @friendly
    def main():
        return archives.run(data, archives.command_line(data, "").parse_args([str(a) for a in arguments]))

    return main()


def tree(root: Path) -> list[str]:
    return sorted(str(p.relative_to(root)) for p in root.rglob("*") if p.is_file())


WHOLE = sorted(name.removeprefix("Set/") for name in FILES)


def test_download_arrange_check_and_nothing_the_second_time(data, served, tmp_path, capsys):
    root = tmp_path / "root"
    assert script(data, root) == 0
    assert tree(root) == WHOLE
    assert capsys.readouterr().out.splitlines() == [
        "train: 2 of 2 images",
        "  images/*.png 2 of 2",
        "  labels/*.png 2 of 2",
        "val: 1 of 1 images",
        "  images/*.png 1 of 1",
        "  labels/*.png 1 of 1",
        "Small is complete",
    ]
    before = {p: p.stat().st_mtime_ns for p in root.rglob("*")}
    assert script(data, root) == 0
    assert "nothing to download" in capsys.readouterr().out
    assert {p: p.stat().st_mtime_ns for p in root.rglob("*")} == before
    assert len(served.asked) == 1


def test_without_a_network_it_says_what_to_do_by_hand(data, tmp_path, capsys):
    away = replace(data, archives=(Archive("http://127.0.0.1:9/small.tgz", ("images", "lists")),))
    assert script(away, tmp_path / "root") == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: cannot download http://127.0.0.1:9/small.tgz: no connection")
    assert script(away, tmp_path / "root", "--archive", tmp_path / "small.tgz") == 0
    assert tree(tmp_path / "root") == WHOLE
    assert (tmp_path / "small.tgz").is_file()


@pytest.mark.parametrize("end", [0.02, 0.5, 0.98])
def test_a_truncated_archive_leaves_nothing(data, served, tmp_path, capsys, end):
    served.content = served.content[: int(len(served.content) * end)]
    assert script(data, tmp_path / "root") == 2
    assert re.search(r"^error: .*small\.tgz is (cut off or broken|no archive)", capsys.readouterr().err)
    assert not (tmp_path / "root").exists()


def test_a_truncated_zip_leaves_nothing(data, tmp_path, capsys):
    path = zipped(tmp_path / "x.zip", FILES)
    path.write_bytes(path.read_bytes()[:-100])
    assert script(data, tmp_path / "root", "--archive", path) == 2
    assert "x.zip is cut off or broken" in capsys.readouterr().err
    assert not (tmp_path / "root").exists()


@pytest.mark.parametrize("form", ["gz", "xz", "bz2", ""])
def test_a_damaged_tar_is_named(data, tmp_path, capsys, form):
    path = tmp_path / "x.tar"
    with tarfile.open(path, f"w:{form}") as opened:
        for name, content in {**FILES, "Set/noise": os.urandom(50_000)}.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            opened.addfile(entry, io.BytesIO(content))
    content = bytearray(path.read_bytes())
    middle = slice(0, 200) if not form else slice(len(content) // 2, len(content) // 2 + 50)
    content[middle] = bytes(255 - byte for byte in content[middle])
    path.write_bytes(content)
    assert script(data, tmp_path / "root", "--archive", path) == 2
    assert re.fullmatch(r"error: .*x\.tar is (cut off or broken|no archive).*\n", capsys.readouterr().err)
    assert not (tmp_path / "root").exists()


def test_an_interrupted_extraction_keeps_the_download(data, served, tmp_path, capsys, monkeypatch):
    def stopped(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(archives, "extract", stopped)
        assert script(data, tmp_path / "root") == 1
    assert "interrupted; the same command goes on" in capsys.readouterr().err
    assert [p.name for p in (tmp_path / "root").iterdir()] == ["small.tgz"]
    assert script(data, tmp_path / "root") == 0
    assert len(served.asked) == 1


def test_two_at_once_do_not_disturb_each_other(data, served, tmp_path, capsys):
    root = tmp_path / "root"
    root.mkdir()
    with archives._alone(root):
        assert script(data, root) == 1
        assert "another process is bringing a data set to" in capsys.readouterr().err
        assert not served.asked
    assert script(data, root) == 0


def test_a_disk_that_fills_while_extracting_leaves_nothing(data, tmp_path, capsys, monkeypatch):
    class Full(io.FileIO):
        def write(self, _):
            raise OSError(28, "No space left on device")

    monkeypatch.setattr("extraction.open", lambda p, m, buffering: Full(p, m), raising=False)
    assert script(data, tmp_path / "root", "--archive", tmp_path / "small.tgz") == 1
    assert re.fullmatch(r"error: cannot write .*: the disk is full \(.*\); make room.*\n", capsys.readouterr().err)
    assert not (tmp_path / "root").exists()


def test_an_interrupted_arrangement_goes_on(data, tmp_path, monkeypatch):
    root, moves = tmp_path / "root", []

    def killed(source, target):
        moves.append(target)
        if len(moves) == 2:
            raise KeyboardInterrupt
        os.rename(source, target)

    with monkeypatch.context() as patched:
        patched.setattr(archives.os, "replace", killed)
        assert script(data, root, "--archive", tmp_path / "small.tgz") == 1
    assert {name.partition("/")[0] for name in tree(root)} == {"labels"}
    assert script(data, root, "--archive", tmp_path / "small.tgz") == 0
    assert tree(root) == WHOLE


def test_what_a_killed_extraction_left_is_no_data_set(data, tmp_path):
    root = tmp_path / "root"
    for folder in ("images", "lists"):
        (root / ".small.tgz.extracting" / "Set" / folder).mkdir(parents=True)
    assert script(data, root, "--archive", tmp_path / "small.tgz") == 0
    assert sorted(p.name for p in root.iterdir()) == ["images", "labels", "lists"]


@pytest.mark.parametrize("content", [b"", b"hello" * 500])
def test_what_is_no_archive_is_refused(data, tmp_path, capsys, content):
    (tmp_path / "x").write_bytes(content)
    assert script(data, tmp_path / "root", "--archive", tmp_path / "x") == 2
    assert "x is no archive (zip or tar)" in capsys.readouterr().err
    other = zipped(tmp_path / "y.zip", {"other/a": b""})
    assert script(data, tmp_path / "root", "--archive", other) == 2
    assert "y.zip is no archive of Small: it has no folder images, lists" in capsys.readouterr().err


def test_wrong_roots_are_named(data, tmp_path, capsys):
    root = tmp_path / "up" / "root"
    assert script(data, root, "--archive", tmp_path / "small.tgz") == 0
    for wrong in (root.parent, root / "images"):
        assert script(data, wrong) == 2
        assert f"error: {root} is the folder of Small, not {wrong}" in capsys.readouterr().err
    assert script(data, tmp_path / "small.tgz") == 2
    assert "small.tgz is a file; give the folder of Small" in capsys.readouterr().err
    assert script(data, tmp_path / "none", "--check") == 2
    assert "there is no Small at" in capsys.readouterr().err
    assert not (tmp_path / "none").exists()


def test_a_read_only_root_is_checked_and_not_written_to(data, tmp_path, capsys, monkeypatch):
    root = tmp_path / "root"
    script(data, root, "--archive", tmp_path / "small.tgz")
    # root's own permissions stop no superuser: whatever would write fails instead
    monkeypatch.setattr(archives.os, "access", lambda *_: False)
    monkeypatch.setattr(Path, "mkdir", lambda *_, **__: pytest.fail("writes"))
    monkeypatch.setattr(Path, "write_text", lambda *_, **__: pytest.fail("writes"))
    assert script(data, root, "--check", "--deep") == 0
    monkeypatch.undo()
    monkeypatch.setattr(archives.os, "access", lambda *_: False)
    assert script(data, tmp_path / "other") == 2
    assert "is read-only" in capsys.readouterr().err


def test_the_check_lists_every_file(data, tmp_path, capsys):
    root = tmp_path / "root"
    script(data, root, "--archive", tmp_path / "small.tgz")
    (root / "images" / "b.png").unlink()
    (root / "labels" / "c.png").write_bytes(image()[:45])
    assert list(check(data, root)) == [f"missing: {root / 'images' / 'b.png'}"]
    capsys.readouterr()
    assert script(data, root, "--check", "--deep") == 1
    shown = capsys.readouterr()
    assert shown.out.endswith("2 missing or broken\n")
    assert shown.err.splitlines()[0] == f"missing: {root / 'images' / 'b.png'}"
    assert shown.err.splitlines()[1].startswith(f"broken: {root / 'labels' / 'c.png'}: ")


def test_mixed_up_splits_and_forms_are_named(data, tmp_path, capsys):
    root = tmp_path / "root"
    script(data, root, "--archive", tmp_path / "small.tgz")
    assert script(data, root, "--archive", tmp_path / "none.tgz") == 2
    assert f"there is no archive {tmp_path / 'none.tgz'}" in capsys.readouterr().err
    (root / "lists" / "val.txt").write_text("c\n", "utf-16")
    assert f"val: {root / 'lists' / 'val.txt'} is not a UTF-8 text file" in next(check(data, root))
    (root / "lists" / "val.txt").write_text("b\n")
    (root / "labels" / "a.png").rename(root / "labels" / "a.mat")
    assert list(check(data, root)) == [
        "train: labels/*.png and labels/*.mat are of different archives: keep one form",
        "images in train and in val: 1, such as 'b'",
    ]


# -- the scripts -------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("name", "files", "shown"),
    [
        ("pascal_context", ("JPEGImages/a.jpg", "ImageSets/Context/train.txt"), "JPEGImages/*.jpg 1 of 1"),
        ("nyud", ("images/a.png", "gt_sets/train.txt", "depth/a.npy"), "depth/*.npy 1 of 1"),
        ("ade20k", ("images/training/a.jpg", "annotations/training/a.png"), "annotations/training/*.png 1 of 1"),
        ("coco", ("val2017/a.jpg", "annotations/instances_val2017.json"), "val2017/*.jpg 1 of 1"),
    ],
)
def test_each_script_counts_what_is_there(tmp_path, capsys, name, files, shown):
    for file in files:
        path = tmp_path / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("a")
    if name == "coco":
        path.write_text(
            '{"images": [{"id": 1, "file_name": "a.jpg", "height": 1, "width": 1}], "annotations": ['
            '{"image_id": 1, "category_id": 1, "area": 1, "segmentation": []}], '
            '"categories": [{"id": 1, "name": "x"}]}'
        )
    assert run_tool(f"{name}.py", tmp_path, "--check", folder="data_prep") == 1
    output = capsys.readouterr()
    assert shown in output.out
    assert "images instead of" in output.err


def test_a_check_without_any_list(tmp_path, capsys):
    (tmp_path / "val2017").mkdir()
    assert run_tool("coco.py", tmp_path, "--check", folder="data_prep") == 1
    assert capsys.readouterr().err.count("instances_") == 2
