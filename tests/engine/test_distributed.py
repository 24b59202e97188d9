"""One process and two train the same model on the same global batch."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys

import pytest
import torch
import torch.distributed as dist
from tiny import ROOT, write_config
from torch import nn

from mtl.engine.distributed import GlooBatchNorm

# dropout draws differ by process; human_parts is missing on some images, on one rank only in some steps
EXTRA = """
decoder.update(dropout=0.0)
train_dataloader['dataset'].update(length=12)
train_dataloader.update(batch_size={batch})
optim_wrapper['optimizer'] = dict(type='SGD', lr=0.05)
val_dataloader['dataset'].update(length=7)
default_hooks.update(pictures=None)
model = dict(joint={joint})
"""


def launch(config, work_dir, processes: int, *options: str) -> subprocess.CompletedProcess:
    launcher = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"] if processes > 1 else []
    command = [sys.executable, *launcher, str(ROOT / "tools" / "train.py"), str(config), "--work-dir", str(work_dir)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.run([*command, *options], capture_output=True, text=True, timeout=300, env=environment)


def run(folder, processes: int, joint: bool = False) -> tuple[list[dict], dict, dict]:
    folder.mkdir()
    config = write_config(folder, EXTRA.format(batch=4 // processes, joint=joint))
    done = launch(config, folder / "run", processes)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    logged = next((folder / "run").glob("*/vis_data/scalars.json")).read_text().splitlines()
    steps = [step for step in map(json.loads, logged) if "loss" in step]
    state = torch.load(folder / "run" / "epoch_2.pth", weights_only=True)["state_dict"]
    return steps, json.loads((folder / "run" / "result.json").read_text()), state


@pytest.fixture(scope="module")
def one_process(tmp_path_factory):
    folder = tmp_path_factory.mktemp("processes") / "one"
    return (*run(folder, 1), folder / "run")


@pytest.mark.parametrize("joint", [False, True])
def test_two_processes_equal_one(tmp_path, one_process, joint):
    one, one_result, one_state, _ = one_process
    two, two_result, two_state = run(tmp_path / "two", 2, joint)
    assert len(one) == len(two) == 6
    for a, b in zip(one, two, strict=True):
        losses = {key for key in a if key.endswith("loss")}
        assert losses == {key for key in b if key.endswith("loss")}
        for key in losses:
            assert b[key] == pytest.approx(a[key], rel=2e-4), key
    for name, value in one_state.items():
        torch.testing.assert_close(two_state[name], value, rtol=2e-3, atol=2e-4, msg=name)
    for task, metrics in one_result["metrics"].items():
        for name, value in metrics.items():
            assert two_result["metrics"][task][name] == pytest.approx(value, abs=0.5, nan_ok=True), (task, name)


def test_a_run_of_one_process_is_not_resumed_by_two(tmp_path, one_process):
    """Their global batch would be twice as large, and the schedule at its end after half of the epochs."""
    config = write_config(tmp_path, EXTRA.format(batch=4, joint=False))
    shutil.copytree(one_process[3], tmp_path / "run")
    done = launch(config, tmp_path / "run", 2, "--resume")
    assert done.returncode != 0
    assert "of a run with other processes (1, now 2)" in done.stderr


def test_batch_norm_of_one_process_equals_torchs(tmp_path):
    store = torch.distributed.FileStore(str(tmp_path / "store"), 1)
    torch.distributed.init_process_group("gloo", store=store, rank=0, world_size=1)
    try:
        torch.manual_seed(0)
        plain = nn.BatchNorm2d(5, dtype=torch.float32)
        nn.init.normal_(plain.weight)
        ours = GlooBatchNorm.of(plain)
        ours.weight, ours.bias = nn.Parameter(plain.weight.clone()), nn.Parameter(plain.bias.clone())
        for train in (True, True, False):
            x = (3 + torch.randn(4, 5, 6, 7)).requires_grad_()
            y = x.detach().clone().requires_grad_()
            a, b = plain.train(train)(x), ours.train(train)(y)
            torch.testing.assert_close(b, a, rtol=1e-5, atol=1e-5)
            weights = torch.randn_like(a)
            (a * weights).sum().backward()
            (b * weights).sum().backward()
            torch.testing.assert_close(y.grad, x.grad, rtol=1e-4, atol=1e-5)
            torch.testing.assert_close(ours.running_mean, plain.running_mean)
            torch.testing.assert_close(ours.running_var, plain.running_var)
        torch.testing.assert_close(ours.weight.grad, plain.weight.grad, rtol=1e-4, atol=1e-4)
    finally:
        torch.distributed.destroy_process_group()


@pytest.fixture
def one_process_group(tmp_path):
    dist.init_process_group("gloo", init_method=f"file://{tmp_path / 'store'}", rank=0, world_size=1)
    yield
    dist.destroy_process_group()


@pytest.mark.parametrize("mean", [0.0, 1000.0])
def test_gloo_batch_norm_keeps_its_digits_far_from_zero(one_process_group, mean):
    """Against torch's batch norm in float64, as it stands and in the gradient."""
    torch.manual_seed(0)
    reference = torch.nn.BatchNorm2d(3).double()
    norm = GlooBatchNorm.of(torch.nn.BatchNorm2d(3))
    x = torch.randn(4, 3, 8, 8) + mean
    ours, theirs = x.clone().requires_grad_(), x.double().requires_grad_()
    direction = torch.randn(x.shape)
    y, expected = norm(ours), reference(theirs)
    (y * direction).sum().backward()
    (expected * direction).sum().backward()
    # float32 holds the inputs themselves to 6e-5 at 1000
    torch.testing.assert_close(y.double(), expected, rtol=0, atol=5e-4)
    torch.testing.assert_close(ours.grad.double(), theirs.grad, rtol=0, atol=5e-4)
    torch.testing.assert_close(norm.running_var.double(), reference.running_var, rtol=1e-5, atol=0)
