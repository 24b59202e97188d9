"""What a full disk, and a process that lost another one, tell the user."""

from __future__ import annotations

import os
import resource
import signal
import socket
import subprocess
import sys
from contextlib import contextmanager

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from mtl.engine.command_line import friendly
from mtl.engine.files import replacing


@contextmanager
def files_of_at_most(size):
    """A file that grows beyond ``size`` bytes fails as on a full disk, but for the error's number."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def error_of(main, capsys) -> str:
    assert friendly(main)() == 1
    line = capsys.readouterr().err
    assert line.startswith("error: ")
    assert line.count("\n") == 1
    return line


NOISE = np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)
WRITERS = {
    "text": lambda path: path.write_text("a" * 5000),
    "tensors": lambda path: save_file({"a": torch.zeros(5000)}, path),
    "picture": lambda path: Image.fromarray(NOISE).save(path, format="PNG"),
}


@pytest.mark.parametrize("kind", WRITERS)
def test_a_file_that_cannot_be_replaced_is_named(kind, tmp_path, capsys):
    path = tmp_path / "wanted.bin"
    path.write_text("old")

    def main():
        with files_of_at_most(1000), replacing(path) as part:
            WRITERS[kind](part)

    line = error_of(main, capsys)
    assert f"'{path}'" in line
    assert "File too large" in line
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("write", [WRITERS["text"], WRITERS["picture"], lambda path: np.save(path, NOISE)])
def test_a_file_that_cannot_be_written_is_named(write, tmp_path, capsys):
    """By whatever writes it, MMEngine too."""
    path = tmp_path / "wanted.npy"

    def main():
        with files_of_at_most(1000):
            write(path)

    assert f"'{path}'" in error_of(main, capsys)


def test_errors_of_no_file_stay_as_they_are(tmp_path, capsys):
    def lost():
        raise ConnectionResetError("reset")

    assert error_of(lost, capsys) == "error: reset\n"

    def elsewhere():
        with replacing(tmp_path / "wanted.bin"):
            (tmp_path / "other.bin").read_text()

    assert friendly(elsewhere)() == 2
    assert f"'{tmp_path / 'other.bin'}'" in capsys.readouterr().err


LOST = """
import os, signal
import torch, torch.distributed as dist
from mtl.engine.command_line import friendly

@friendly
def main():
    dist.init_process_group("gloo")
    dist.all_reduce(torch.ones(1))
    if dist.get_rank() == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    while True:
        dist.all_reduce(torch.ones(1))

raise SystemExit(main())
"""


def test_a_process_that_lost_another_one_says_so(tmp_path):
    (tmp_path / "lost.py").write_text(LOST)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    common = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(tmp_path / "lost.py")]
    processes = [
        subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env={**os.environ, **common, "RANK": rank})
        for rank in "01"
    ]
    try:
        (_, error), _ = [process.communicate(timeout=300) for process in processes]  # importing takes its time
    finally:
        for process in processes:
            process.kill()
    assert [process.returncode for process in processes] == [1, -signal.SIGKILL]
    (line,) = [line for line in error.splitlines() if line.startswith("error: ")]
    assert "another process of this run ended" in line
    assert "gloo" not in line
