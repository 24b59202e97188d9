"""The comparison of all methods: done runs are kept, Δm is relative to its own single-task models."""

from __future__ import annotations

import json
import shutil

import pytest
from tiny import run_tool, write_config


def compare(config, folder, *arguments):
    return run_tool("benchmark_methods.py", config, "--work-dir", folder / "runs", *arguments)


@pytest.fixture(scope="module")
def compared(tmp_path_factory):
    folder = tmp_path_factory.mktemp("compared")
    methods = folder / "_base_" / "methods"
    methods.mkdir(parents=True)
    (methods / "single_task_full.py").write_text('method = dict(type="SingleTaskFull")\n')
    (methods / "lora.py").write_text('method = dict(type="LoRA", rank=1)\n')
    config = write_config(folder)
    assert compare(config, folder, "--seeds", "0", "1", "--cfg-options", "train_cfg.max_epochs=1") == 0
    return config, folder


def test_delta_is_relative_to_the_single_task_runs(compared):
    _, folder = compared
    results = {path.parent.name: json.loads(path.read_text()) for path in folder.glob("runs/*/result.json")}
    assert set(results) == {"lora_0", "lora_1", "single_task_full_0", "single_task_full_1"}
    single = {
        task: (results["single_task_full_0"]["main"][task] + results["single_task_full_1"]["main"][task]) / 2
        for task in results["lora_0"]["main"]
    }
    assert results["lora_0"]["single_task"]["scores"] == pytest.approx(single)
    table = (folder / "runs" / "methods.md").read_text()
    assert "| lora | 2 |" in table
    assert "| single_task_full | 2 |" in table
    assert (folder / "runs" / "report.html").is_file()


def test_runs_of_fewer_seeds_are_relative_to_the_means_of_all(compared, capsys):
    """Runs that are kept from a call with one seed have its single-task scores, not the means over two."""
    config, folder = compared
    results = {name: folder / "runs" / name / "result.json" for name in ("lora_0", "lora_1")}
    before = {name: path.read_text() for name, path in results.items()}
    kept = json.loads(before["lora_0"])
    kept["delta_m"], kept["single_task"]["scores"] = 1e3, dict.fromkeys(kept["main"], 1.0)
    results["lora_0"].write_text(json.dumps(kept))
    assert compare(config, folder, "--seeds", "0", "1", "--cfg-options", "train_cfg.max_epochs=1") == 0
    table = capsys.readouterr().out
    results["lora_0"].write_text(before["lora_0"])
    deltas = [json.loads(text)["delta_m"] for text in before.values()]
    assert f"{sum(deltas) / 2:+.2f} ± " in next(line for line in table.splitlines() if "| lora | 2 |" in line)


def test_what_was_interrupted_goes_on(compared, tmp_path):
    """One run before its first checkpoint, one after it."""
    config, folder = compared
    shutil.copytree(folder / "runs", tmp_path / "runs")
    early, late = (tmp_path / "runs" / name for name in ("lora_0", "lora_1"))
    for path in [*early.glob("epoch_*"), *early.glob("best.*"), early / "last_checkpoint"]:
        path.unlink()
    before = {run: json.loads((run / "result.json").read_text()) for run in (early, late)}
    for run in before:
        (run / "result.json").unlink()
    options = ("--seeds", "0", "1", "--cfg-options", "train_cfg.max_epochs=1")
    assert compare(config, tmp_path, "--methods", "lora", *options) == 0
    for run, result in before.items():
        again = json.loads((run / "result.json").read_text())
        assert again["main"] == result["main"]
        assert again["cost"]["train"]["starts"] == 1 + (run == late)


@pytest.mark.parametrize(
    ("options", "part"),
    [
        (["train_cfg.max_epochs=2"], "train_cfg.max_epochs 1, this call's config has 2"),
        (["train_cfg.max_epochs=1", "method.rank=2"], "method.rank 1, this call's config has 2"),
        (["train_cfg.max_epochs=1", "val_dataloader.dataset.length=3"], "val_dataloader.dataset.length 5"),
    ],
    ids=["schedule", "method", "validation"],
)
def test_done_runs_of_another_config_are_refused(options, part, compared, capsys):
    config, folder = compared
    before = sorted(folder.rglob("*"))
    # a seed that is not done: nothing trains before the refusal
    assert compare(config, folder, "--methods", "lora", "--seeds", "2", "0", "--cfg-options", *options) == 2
    line = capsys.readouterr().err
    assert line.startswith(f"error: {folder / 'runs' / 'lora_0'} is a finished run with {part}")
    assert "another --work-dir" in line
    assert f"tools/report.py {folder / 'runs'}" in line
    assert sorted(folder.rglob("*")) == before


def test_what_is_done_is_kept_and_what_fails_is_said(compared, capsys):
    config, folder = compared
    before = (folder / "runs" / "lora_0" / "result.json").stat().st_mtime_ns
    (folder / "_base_" / "methods" / "wide.py").write_text('method = dict(type="LoRA", rank=1000)\n')
    assert compare(config, folder, "--cfg-options", "train_cfg.max_epochs=1") == 1
    shown = capsys.readouterr()
    assert "lora_0: done before" in shown.out
    assert (folder / "runs" / "lora_0" / "result.json").stat().st_mtime_ns == before
    assert "error: wide_0: error: rank must lie between 1 and" in shown.err
    assert compare(config, folder, "--methods", "lara") == 2
    assert "no method 'lara'" in capsys.readouterr().err
