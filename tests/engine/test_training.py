"""Runs of the whole: train, resume, crash, test, adapter file."""

from __future__ import annotations

import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import time

import pytest
import torch
from tiny import ROOT, run_tool, write_config

from mtl.engine.adapter_file import read_meta
from mtl.engine.config import read_config


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Two epochs straight."""
    folder = tmp_path_factory.mktemp("trained")
    config = write_config(folder)
    assert run_tool("train.py", config, "--work-dir", folder / "run") == 0
    return config, folder / "run"


def weights(path):
    return torch.load(path, map_location="cpu", weights_only=True)["state_dict"]


def test_what_a_run_leaves(trained, capsys):
    _, run = trained
    result = json.loads((run / "result.json").read_text())
    assert set(result["main"]) == {"semseg", "human_parts", "saliency", "normals"}
    single = {"semseg": 50.0, "human_parts": 40.0, "saliency": 60.0, "normals": 20.0}
    signs = {"semseg": 1, "human_parts": 1, "saliency": 1, "normals": -1}
    expected = sum(signs[t] * (result["main"][t] - s) / s for t, s in single.items()) / 4 * 100
    assert result["delta_m"] == pytest.approx(expected)
    for stem in ("epoch_1", "epoch_2", "best"):
        assert (run / f"{stem}.pth").is_file()
        assert (run / f"{stem}.safetensors").stat().st_size < (run / f"{stem}.pth").stat().st_size
    assert (run / "last_checkpoint").read_text() == "epoch_2.pth"
    assert (run / "best.safetensors").stat().st_mode == (run / "config.py").stat().st_mode, "others may read it too"
    assert len(list((run / "pictures" / "epoch_2").glob("*.png"))) == 1


def test_the_config_of_a_run_is_a_config(trained, tmp_path):
    """Its tasks are in the order of the model's, so that it goes with the run's checkpoints."""
    config, run = trained
    ours, theirs = (json.dumps(read_config(path).to_dict()) for path in (run / "config.py", config))
    assert ours == theirs
    assert run_tool("test.py", run / "config.py", run / "epoch_2.safetensors", "--out", tmp_path / "test.json") == 0


def test_a_test_writes_beside_its_checkpoint(trained, tmp_path, monkeypatch):
    """A run of another method under the same config keeps its own test."""
    config, run = trained
    folder = tmp_path / "other"
    folder.mkdir()
    shutil.copy(run / "epoch_2.safetensors", folder)
    monkeypatch.chdir(tmp_path)
    assert run_tool("test.py", config, "other/epoch_2.safetensors") == 0
    assert json.loads((folder / "test.json").read_text())["checkpoint"] == "other/epoch_2.safetensors"
    assert list((folder / "pictures" / "test").glob("*.png"))
    assert list(tmp_path.iterdir()) == [folder]


def test_what_a_result_says_of_its_run(trained):
    result = json.loads((trained[1] / "result.json").read_text())
    assert result["main_metric"] == {"semseg": "mIoU", "human_parts": "mIoU", "saliency": "mIoU", "normals": "mErr"}
    assert result["unit"]["semseg"] == "%"
    assert result["single_task"] == {
        "source": None,
        "scores": {"semseg": 50.0, "human_parts": 40.0, "saliency": 60.0, "normals": 20.0},
    }
    assert result["seed"] == 0
    assert result["settings"]["method"] == {"type": "PolyhistorLite", "reduction": 4}
    cost = result["cost"]
    assert (cost["device"], cost["processes"], cost["train"]["steps"], cost["train"]["starts"]) == ("cpu", 1, 4, 1)
    assert 0 < cost["train"]["step_seconds"] < cost["train"]["seconds"]
    assert cost["train"]["peak_memory"] > 50e6, "an interpreter with torch"
    assert cost["test"]["image_seconds"] > 0


def test_two_runs_of_a_config_are_the_same(trained, tmp_path):
    """The config names no seed: MMEngine's default would be another one in every run."""
    config, run = trained
    assert run_tool("train.py", config, "--work-dir", tmp_path / "again") == 0
    first, again = weights(run / "epoch_2.pth"), weights(tmp_path / "again" / "epoch_2.pth")
    assert all(torch.equal(first[name], again[name]) for name in first)


def test_resumed_run_is_bit_identical(trained, tmp_path):
    config, run = trained
    again = tmp_path / "again"
    again.mkdir()
    shutil.copy(run / "epoch_1.pth", again)
    (again / "last_checkpoint").write_text(str(again / "epoch_1.pth"))
    assert run_tool("train.py", config, "--work-dir", again, "--resume") == 0
    straight, resumed = weights(run / "epoch_2.pth"), weights(again / "epoch_2.pth")
    assert straight.keys() == resumed.keys()
    assert all(torch.equal(straight[name], resumed[name]) for name in straight)
    before = torch.load(run / "epoch_1.pth", map_location="cpu", weights_only=True)["cost"]
    train = json.loads((again / "result.json").read_text())["cost"]["train"]
    assert (train["steps"], train["starts"]) == (4, 2), "the cost adds up over starts"
    assert train["seconds"] > before["seconds"] > 0
    assert any(not torch.equal(straight[n], weights(run / "epoch_1.pth")[n]) for n in straight), "epoch 2 did nothing"


def test_adapter_file_gives_the_checkpoints_numbers(trained, tmp_path, capsys):
    config, run = trained
    results = []
    for name in ("epoch_2.pth", "epoch_2.safetensors"):
        out = tmp_path / f"{name}.json"
        assert run_tool("test.py", config, run / name, "--work-dir", tmp_path, "--out", out) == 0
        results.append(json.loads(out.read_text()))
    table = capsys.readouterr().out
    assert results[0]["cost"]["train"] is None
    assert results[0]["cost"]["test"]["peak_memory"] > 50e6
    assert results[0]["metrics"] == results[1]["metrics"] == json.loads((run / "result.json").read_text())["metrics"]
    assert "trained parameters" in table
    assert "Δm" in table
    meta = read_meta(run / "epoch_2.safetensors")
    assert meta["config"]["method"] == {"type": "PolyhistorLite", "reduction": 4}
    assert list(meta["config"]["tasks"]) == ["semseg", "human_parts", "saliency", "normals"]


KILLED = """
import os, signal, sys, runpy
from pathlib import Path
real, count = Path.write_bytes, 0
def write_bytes(path, data):
    # the second checkpoint dies when half of it is on the disk
    global count
    count += ".pth." in path.name
    if count < 2:
        return real(path, data)
    real(path, bytes(data)[: len(data) // 2])
    os.kill(os.getpid(), signal.SIGKILL)
Path.write_bytes = write_bytes
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def launch(arguments, code=None, **options):
    """A run in a process of its own, without inherited torchrun variables."""
    program = [sys.executable, "-c", code] if code else [sys.executable]
    return subprocess.Popen(
        [*program, str(ROOT / "tools" / "train.py"), *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        **options,
    )


def test_killed_while_saving_leaves_a_loadable_checkpoint(tmp_path):
    config = write_config(tmp_path, "\ndefault_hooks.update(checkpoint=dict(keep=1))\n")
    process = launch([config, "--work-dir", tmp_path / "run"], KILLED)
    output, _ = process.communicate(timeout=180)
    assert process.returncode == -signal.SIGKILL, output
    last = (tmp_path / "run" / "last_checkpoint").read_text()
    assert last == "epoch_1.pth"
    assert weights(tmp_path / "run" / last)
    assert not (tmp_path / "run" / "epoch_2.pth").exists()
    assert run_tool("train.py", config, "--work-dir", tmp_path / "run", "--resume") == 0
    assert (tmp_path / "run" / "epoch_2.pth").is_file()
    assert not list((tmp_path / "run").glob(".*-part"))


def test_full_disk_while_saving_keeps_the_previous_checkpoint(tmp_path, trained):
    """The limit on a file's size stands in for the disk: the write fails half-way with the system's error."""
    config, run = trained
    folder = tmp_path / "run"
    shutil.copytree(run, folder, ignore=shutil.ignore_patterns("epoch_2.*", "best.*", "20*"))
    (folder / "last_checkpoint").write_text(str(folder / "epoch_1.pth"))

    def limit():
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, 300_000))

    process = launch([config, "--work-dir", folder, "--resume"], preexec_fn=limit)
    output, _ = process.communicate(timeout=180)
    assert process.returncode == 1, output
    assert output.splitlines()[-1].startswith("error: ")
    assert "large" in output.splitlines()[-1]
    assert (folder / "last_checkpoint").read_text() == str(folder / "epoch_1.pth")
    assert weights(folder / "epoch_1.pth")
    assert not list(folder.glob(".*-part"))


def test_interrupted_between_checkpoints_resumes(tmp_path):
    """A kill at an arbitrary moment: whatever ``last_checkpoint`` names can be loaded."""
    config = write_config(tmp_path, "\ntrain_cfg.update(max_epochs=50)\n")
    process = launch([config, "--work-dir", tmp_path / "run"])
    try:
        for _ in range(600):
            if (tmp_path / "run" / "last_checkpoint").exists():
                break
            time.sleep(0.1)
        time.sleep(0.3)
    finally:
        os.kill(process.pid, signal.SIGKILL)
        process.communicate()
    assert weights(tmp_path / "run" / (tmp_path / "run" / "last_checkpoint").read_text())
