"""What a run leaves is what it scored, and a resumed run is the run that was never stopped."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import torch
from mmengine.hooks import Hook
from PIL import Image
from safetensors.torch import load_file
from tiny import ROOT, run_tool, write_config

from mtl.registry import HOOKS

FAST = """
method = dict(type='LoRA', rank=2)
default_hooks.update(pictures=None, checkpoint=dict(keep=9), logger=dict(interval=100))
train_dataloader.update(batch_size=2)
val_dataloader['dataset'].update(length=2)
optim_wrapper['optimizer'] = dict(type='Adam', lr=0.02)
"""


def train(folder, extra="", *options, status=0, name="run"):
    """Train `FAST` with ``extra`` into ``folder/name``."""
    folder.mkdir(exist_ok=True)
    config = write_config(folder, FAST + extra)
    assert run_tool("train.py", config, "--work-dir", folder / name, *options) == status
    return folder / name


def checkpoint(path):
    return torch.load(path, weights_only=True)


def assert_same_weights(one, other):
    one, other = (checkpoint(path)["state_dict"] for path in (one, other))
    assert one.keys() == other.keys()
    assert all(torch.equal(value, other[name]) for name, value in one.items())


def resumed_from(run, stem, extra, tmp_path):
    """The run of ``extra`` resumed in a folder of its own from one of its checkpoints."""
    folder = tmp_path / "again"
    (folder / "run").mkdir(parents=True)
    shutil.copy(run / f"{stem}.pth", folder / "run")
    return train(folder, extra, "--resume")


def error_line(capsys):
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1
    return lines[0]


# -- the weights that were scored ----------------------------------------------------------------------------------
EMA = "custom_hooks = [dict(type='EMAHook', momentum=0.3)]\n"


@pytest.fixture(scope="module")
def averaged(tmp_path_factory):
    return train(tmp_path_factory.mktemp("ema"), EMA + "train_cfg.update(val_interval=1)\n")


@pytest.mark.parametrize("stem", ["epoch_2", "best"])
def test_averaged_weights_are_in_both_files(averaged, stem):
    full, adapter = checkpoint(averaged / f"{stem}.pth"), load_file(averaged / f"{stem}.safetensors")
    assert all(torch.equal(value, full["state_dict"][name]) for name, value in adapter.items())
    raw = full["ema_state_dict"]  # MMEngine swaps the two: what trains on is here
    trained = [name for name in adapter if "decoders" not in name and adapter[name].any()]
    assert any(not torch.equal(adapter[name], raw[f"module.{name}"]) for name in trained)


def test_averaged_weights_give_the_scores_of_the_run(averaged, tmp_path):
    config = averaged.parent / "tiny.py"
    for suffix in ("pth", "safetensors"):
        out = tmp_path / f"{suffix}.json"
        file = averaged / f"epoch_2.{suffix}"
        assert run_tool("test.py", config, file, "--work-dir", tmp_path / "test", "--out", out) == 0
        assert json.loads(out.read_text())["metrics"] == json.loads((averaged / "result.json").read_text())["metrics"]


def test_averaging_goes_on_after_a_resume(averaged, tmp_path):
    again = resumed_from(averaged, "epoch_1", EMA + "train_cfg.update(val_interval=1)\n", tmp_path)
    assert_same_weights(averaged / "epoch_2.pth", again / "epoch_2.pth")
    one, other = (checkpoint(run / "epoch_2.pth")["ema_state_dict"] for run in (averaged, again))
    assert all(torch.equal(value, other[name]) for name, value in one.items())


@HOOKS.register_module(force=True)
class ScoresOthers(Hook):
    """Scores weights that are in no file."""

    priority = "NORMAL"

    def before_val_epoch(self, runner):
        self.parameter = next(p for p in runner.model.parameters() if p.requires_grad)
        self.parameter.data += 1

    def after_val_epoch(self, runner, metrics=None):
        self.parameter.data -= 1


def test_a_hook_that_scores_other_weights_is_found_out(tmp_path, capsys):
    train(tmp_path, "custom_hooks = [dict(type='ScoresOthers')]\ntrain_cfg.update(val_interval=1)\n", status=1)
    assert "scores other weights" in error_line(capsys)


# -- resuming anywhere ---------------------------------------------------------------------------------------------
WITHIN = "default_hooks['checkpoint'].update(by_epoch=False, interval=3)\n"
ITERATIONS = """
train_cfg = dict(by_epoch=False, max_iters=7, val_interval=3)
param_scheduler = dict(type="PolyLR", power=1.0, begin=0, end=7, by_epoch=False)
"""
ACCUMULATED = WITHIN + "optim_wrapper.update(accumulative_counts=2)\n"
ONE_CYCLE = "param_scheduler = dict(type='OneCycleLR', eta_max=0.02, by_epoch=False)\n"


@pytest.mark.parametrize(
    ("extra", "last", "stems"),
    [
        (WITHIN, "iter_8", ["iter_3", "iter_6"]),
        (WITHIN.replace("3", "4"), "iter_8", ["iter_4"]),  # the end of an epoch, before it was counted
        (ITERATIONS, "iter_7", ["iter_4"]),
        (ITERATIONS + WITHIN, "iter_7", ["iter_3", "iter_6"]),
        (ACCUMULATED, "iter_8", ["iter_3"]),  # a gradient waits for its step
        (ACCUMULATED.replace("2", "5"), "iter_8", ["iter_3"]),  # and no step was made
        (ONE_CYCLE, "epoch_2", ["epoch_1"]),  # a schedule with functions of its own
    ],
    ids=["within", "end", "iterations", "before a validation", "accumulated", "before the first step", "one cycle"],
)
def test_a_run_goes_on_from_any_iteration(extra, last, stems, tmp_path):
    run = train(tmp_path, extra)
    for stem in stems:
        again = resumed_from(run, stem, extra, tmp_path)
        assert_same_weights(run / f"{last}.pth", again / f"{last}.pth")
        assert_same_weights(run / "best.pth", again / "best.pth")
        one, other = (json.loads((folder / "result.json").read_text()) for folder in (run, again))
        assert one["metrics"] == other["metrics"]
        assert one["cost"]["train"]["steps"] == other["cost"]["train"]["steps"]
        shutil.rmtree(again.parent)


def test_a_training_by_iterations_saves_and_draws_by_iterations(tmp_path):
    run = train(tmp_path, ITERATIONS + "default_hooks.update(pictures=dict(images=1))\n")
    assert sorted(p.name for p in run.glob("*_*.pth")) == ["iter_4.pth", "iter_7.pth"], "an epoch has four iterations"
    assert sorted(p.name for p in (run / "pictures").iterdir()) == ["iter_3", "iter_6", "iter_7"]
    log = next(run.glob("*/*.log")).read_text()
    assert "Iter(val)" in log
    assert "Epoch(val)" not in log


# -- the same training ---------------------------------------------------------------------------------------------
PHOTOS = """
tasks = dict(semseg=dict(type="SemanticSegmentation", classes=3))
single_task = None
data_root = {root!r}
_resize = [dict(type="Resize")]
train_dataloader.update(dataset=dict(type="FolderDataset", split="train", pipeline=_resize))
val_dataloader.update(dataset=dict(type="FolderDataset", split="val", pipeline=_resize))
"""


def write_photos(root, names):
    for folder in ("images", "semseg", "splits"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    draw = np.random.default_rng(0)
    for name in names:
        Image.fromarray(draw.integers(0, 255, (40, 60, 3), np.uint8)).save(root / "images" / f"{name}.jpg")
        Image.fromarray(draw.integers(0, 3, (40, 60), np.uint8)).save(root / "semseg" / f"{name}.png")
    (root / "splits" / "train.txt").write_text("\n".join(names[:-2]))
    (root / "splits" / "val.txt").write_text("\n".join(names[-2:]))


def test_resuming_with_other_images_is_refused(tmp_path, capsys):
    """Neither more of them nor others of the same number: settings are the same in both."""
    root = tmp_path / "photos"
    write_photos(root, [f"im{i}" for i in range(6)])
    extra = PHOTOS.format(root=str(root))
    run = train(tmp_path, extra)
    (run / "last_checkpoint").write_text("epoch_1.pth")
    write_photos(root, [f"im{i}" for i in range(8)])
    capsys.readouterr()
    train(tmp_path, extra, "--resume", status=2)
    assert "other steps per epoch (2, now 3)" in error_line(capsys)
    write_photos(root, [f"other{i}" for i in range(6)])
    train(tmp_path, extra, "--resume", status=2)
    assert "names of the training images" in error_line(capsys)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("finished")
    return train(folder, "train_cfg.update(val_interval=1)\n")


@pytest.mark.parametrize(
    ("extra", "part"),
    [
        ("randomness = dict(seed=1)", "other seed (0, now 1)"),
        ("custom_hooks = [dict(type='EMAHook')]", "custom_hooks"),
        ("single_task.update(semseg=40.0)", "other single-task scores ({'semseg': 50.0, 'human_parts'"),
        ("val_dataloader['dataset'].update(length=3)", "val_dataloader.dataset.length"),
        ("default_hooks.update(iteration_seed=None)", "default_hooks.iteration_seed"),
        ("default_hooks['checkpoint'].update(best='saliency/mIoU')", "best checkpoint is by delta_m"),
    ],
)
def test_resuming_as_another_run_is_refused(finished, extra, part, tmp_path, capsys):
    again = tmp_path / "run"
    again.mkdir()
    shutil.copy(finished / "epoch_2.pth", again)
    train(tmp_path, f"train_cfg.update(val_interval=1)\n{extra}\n", "--resume", status=2)
    assert part in error_line(capsys)


# -- the best ------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(("best", "better"), [("normals/mErr", min), ("saliency/mIoU", max)])
def test_the_best_follows_the_metrics_direction(best, better, tmp_path):
    extra = f"train_cfg.update(max_epochs=4, val_interval=1)\ndefault_hooks['checkpoint'].update(best={best!r})\n"
    run = train(tmp_path, extra + "param_scheduler.update(end=4)\n")
    records = [json.loads(line) for line in next(run.glob("*/vis_data/scalars.json")).read_text().splitlines()]
    values = [record[best] for record in records if best in record]
    assert len(set(values)) > 1
    assert checkpoint(run / "best.pth")["best"]["value"] == better(values)
    assert checkpoint(run / "best.pth")["best"]["epoch"] == 1 + values.index(better(values))


def test_a_best_of_no_metric_is_refused_before_training(tmp_path, capsys):
    run = train(tmp_path, "default_hooks['checkpoint'].update(best='mIoU')\n", status=2)
    line = error_line(capsys)
    assert "no metric 'mIoU'" in line
    assert "semseg/mIoU" in line
    assert not run.exists()


def test_there_is_a_best_without_single_task_scores(tmp_path, capsys):
    """By the mean gain over the first validation, by hand from the logged scores; and the summary says which it is."""
    extra = "single_task = None\ntrain_cfg.update(max_epochs=3, val_interval=1)\nparam_scheduler.update(end=3)\n"
    run = train(tmp_path, extra + "optim_wrapper['optimizer'].update(lr=0.2)\n")
    records = [json.loads(line) for line in next(run.glob("*/vis_data/scalars.json")).read_text().splitlines()]
    scores = [r for r in records if "normals/mErr" in r]
    keys = ("semseg/mIoU", "human_parts/mIoU", "saliency/mIoU", "normals/mErr")
    gains = [25 * sum((r[k] / scores[0][k] - 1) * (-1 if k == "normals/mErr" else 1) for k in keys) for r in scores]
    best = checkpoint(run / "best.pth")["best"]
    assert best["metric"] == "gain"
    assert best["epoch"] == 1 + int(np.argmax(gains))
    assert best["value"] == pytest.approx(max(gains), abs=1e-3)
    out = capsys.readouterr().out
    assert "best.safetensors" in out
    assert ("the scores above are the last ones" in out) == (best["epoch"] != 3)


def test_without_validations_the_best_is_the_last(tmp_path, capsys):
    run = train(tmp_path, "val_dataloader = None\nsingle_task = None\ntrain_cfg.pop('val_interval')\n")
    assert_same_weights(run / "best.pth", run / "epoch_2.pth")
    assert (run / "best.safetensors").is_file()
    assert f"nothing was validated, so that there is no new result ({run} has the weights)" in capsys.readouterr().out


def test_a_resume_from_before_the_best_keeps_it(tmp_path):
    """Its checkpoint knows no best yet, and the folder has a better one than the next validation's."""
    extra = "train_cfg.update(max_epochs=3, val_interval=1)\nparam_scheduler.update(end=3)\n"
    run = train(tmp_path, extra)
    best = checkpoint(run / "best.pth")["best"]
    before = (run / "best.pth").read_bytes()
    train(tmp_path, extra, "--resume", run / "epoch_1.pth")
    assert checkpoint(run / "epoch_3.pth")["best"] == best or best["epoch"] == 3
    assert (run / "best.pth").read_bytes() == before


# -- the folder ----------------------------------------------------------------------------------------------------
def test_files_of_others_are_left_alone(tmp_path):
    run = train(tmp_path, "default_hooks['checkpoint'].update(keep=1)\n")
    foreign = ["epoch_x.pth", "epoch_.pth", "my_epoch_1.pth", "epoch_1.txt", ".half.part", "iter_best.pth"]
    for name in foreign:
        (run / name).write_text("mine")
    shutil.rmtree(run / "pictures", ignore_errors=True)
    (run / "result.json").unlink()
    (run / "last_checkpoint").write_bytes(b"\xff\xfe\x00")  # damaged: the newest is taken
    train(tmp_path, "default_hooks['checkpoint'].update(keep=1)\n", "--resume")
    assert all((run / name).read_text() == "mine" for name in foreign)


def test_a_resume_says_nothing_of_other_data_where_they_are_the_same(tmp_path, capsys):
    train(tmp_path, "")
    train(tmp_path, "", "--resume")
    printed = "".join(capsys.readouterr())
    assert "loaded " in printed
    assert "metainfo" not in printed


def in_another_process(config, run):
    def listen():  # a shell's background jobs, and what they start, ignore SIGINT
        signal.signal(signal.SIGINT, signal.SIG_DFL)

    command = [sys.executable, str(ROOT / "tools" / "train.py"), str(config), "--work-dir", str(run)]
    output = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    return subprocess.Popen(command, preexec_fn=listen, **output)


def wait_for(condition, process, seconds=120):
    until = time.monotonic() + seconds
    while not condition() and process.poll() is None and time.monotonic() < until:
        time.sleep(0.05)
    assert condition(), process.communicate()[0] if process.poll() is not None else "nothing came"


LONG = "train_cfg.update(max_epochs=500, val_interval=500)\nparam_scheduler.update(end=500)\n"


def test_one_training_a_folder_and_what_an_interruption_says(tmp_path, capsys):
    config, run = write_config(tmp_path, FAST + LONG), tmp_path / "run"
    process = in_another_process(config, run)
    try:
        wait_for(lambda: (run / "last_checkpoint").is_file(), process)
        assert run_tool("train.py", config, "--work-dir", run, "--resume") == 2
        assert "another process trains into" in error_line(capsys)
        process.send_signal(signal.SIGINT)
        output, _ = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 130
    assert "--resume goes on from" in output.splitlines()[-1]
    assert (run / (run / "last_checkpoint").read_text()).is_file()
    assert not (run / ".lock").exists()


def test_an_interruption_before_the_first_checkpoint_promises_nothing(tmp_path):
    """And a run that was killed does not keep its folder."""
    extra = FAST + LONG + "default_hooks['checkpoint'].update(interval=400)\n"
    config, run = write_config(tmp_path, extra), tmp_path / "run"
    for number in (signal.SIGKILL, signal.SIGINT):
        before = set(run.glob("*/vis_data/config.py"))
        process = in_another_process(config, run)
        try:
            wait_for(lambda before=before: set(run.glob("*/vis_data/config.py")) - before, process)
            time.sleep(2)
            os.kill(process.pid, number)
            output, _ = process.communicate(timeout=60)
        finally:
            process.kill()
    assert "before the first checkpoint; nothing can be resumed" in output.splitlines()[-1]


@pytest.mark.parametrize(
    "extra",
    ["method = dict(type='LoRA', rank=99)", "single_task = dict(semseg=1.0)", "stored_results = 'nothing'"],
)
def test_a_start_that_fails_leaves_nothing(extra, tmp_path, capsys):
    config = write_config(tmp_path, f"{FAST}\n{extra}\n")
    assert run_tool("train.py", config, "--work-dir", tmp_path / "some" / "run") == 2
    assert not (tmp_path / "some").exists()
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "notes.txt").write_text("kept")
    assert run_tool("train.py", config, "--work-dir", mine) == 2
    assert [path.name for path in mine.iterdir()] == ["notes.txt"]


def test_an_empty_work_dir_is_no_default(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert run_tool("train.py", write_config(tmp_path, FAST), "--work-dir", "") == 2
    assert "--work-dir names a folder" in error_line(capsys)
    assert [path.name for path in tmp_path.iterdir()] == ["tiny.py"]


def test_a_test_that_fails_leaves_nothing(finished, tmp_path, capsys):
    config = write_config(tmp_path, FAST + "method = dict(type='LoRA', rank=4)\n")
    assert run_tool("test.py", config, finished / "best.safetensors", "--work-dir", tmp_path / "test") == 2
    assert not (tmp_path / "test").exists()
