"""A training goes on from a checkpoint with all of its state, or not at all."""

from __future__ import annotations

import pytest
import torch
from tiny import run_tool, write_config
from trained import resealed

EXTRA = "\ntrain_cfg.update(max_epochs=1)\ndefault_hooks.update(pictures=None)\n"


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    assert run_tool("train.py", write_config(folder, EXTRA), "--work-dir", folder) == 0
    return folder


def first_state(checkpoint):
    """Of a parameter that got gradients."""
    return next(iter(checkpoint["optimizer"]["state"].values()))


def group(checkpoint):
    return checkpoint["optimizer"]["param_groups"][0]


def scheduler(checkpoint):
    return checkpoint["param_schedulers"][0]


STATES = {
    "no state": (lambda c: c["optimizer"].update(state={}), "optimizer.state is empty"),
    "empty": (lambda c: c.update(optimizer={}), "optimizer has no 'state'"),
    "no groups": (lambda c: c["optimizer"].update(param_groups=[]), "optimizer.param_groups is a list of 1, not 0"),
    "groups": (lambda c: c["optimizer"].update(param_groups=3), "optimizer has no 'param_groups'"),
    "fewer parameters": (lambda c: group(c)["params"].pop(), "param_groups[0]['params'] is a list of"),
    "other parameters": (lambda c: group(c)["params"].reverse(), "param_groups are of other parameters"),
    "rate": (lambda c: group(c).update(lr="0.1"), "['lr'] is a finite number, not '0.1'"),
    "rate that is none": (lambda c: group(c).update(lr=float("nan")), "['lr'] is a finite number, not nan"),
    "group's key": (lambda c: group(c).pop("betas"), "param_groups[0] has the keys"),
    "of no parameter": (lambda c: c["optimizer"]["state"].update({9999: {}}), "state[9999] is of no parameter"),
    "moment": (lambda c: first_state(c).pop("exp_avg"), "] has the keys"),
    "no moments": (lambda c: first_state(c).clear(), "] has the keys []"),
    "shape": (lambda c: first_state(c).update(exp_avg=torch.zeros(1)), "]['exp_avg'] is a tensor of"),
    "number": (lambda c: first_state(c).update(exp_avg=1.0), "]['exp_avg'] is a tensor of"),
    "not finite": (lambda c: first_state(c)["exp_avg"].fill_(float("inf")), "['exp_avg'] is not finite"),
    "no schedulers": (lambda c: c.update(param_schedulers=[]), "param_schedulers is a list of 1, not 0"),
    "two schedulers": (lambda c: c["param_schedulers"].append(dict(scheduler(c))), "is a list of 1, not 2"),
    "empty scheduler": (lambda c: c.update(param_schedulers=[{}]), "param_schedulers[0] has the keys []"),
    "a method": (lambda c: scheduler(c).update(step=3), "param_schedulers[0] has the keys"),
    "step": (lambda c: scheduler(c).update(last_step="1"), "['last_step'] is a finite number, not '1'"),
    "unit": (lambda c: scheduler(c).update(by_epoch=1), "['by_epoch'] is False, not 1"),
    "bases": (lambda c: scheduler(c).update(base_values=[]), "['base_values'] is a list of 1, not 0"),
}


@pytest.mark.parametrize("case", STATES)
def test_a_state_that_is_not_the_trainings(case, run, tmp_path, capsys):
    change, part = STATES[case]
    file = resealed(run / "epoch_1.pth", tmp_path / "x.pth", change)
    config = write_config(tmp_path, EXTRA)
    assert run_tool("train.py", config, "--work-dir", tmp_path / "run", "--resume", file) == 2
    line = next(line for line in capsys.readouterr().err.splitlines() if line.startswith("error: "))
    assert line.startswith(f"error: {file} cannot be resumed from: ")
    assert part in line


@pytest.mark.parametrize("kept", [("optimizer",), ("param_schedulers",), ()])
def test_a_checkpoint_without_a_training(kept, run, tmp_path, capsys):
    def change(checkpoint):
        for key in {"optimizer", "param_schedulers"} - {*kept}:
            del checkpoint[key]

    file = resealed(run / "epoch_1.pth", tmp_path / "x.pth", change)
    config = write_config(tmp_path, EXTRA)
    assert run_tool("train.py", config, "--work-dir", tmp_path / "run", "--resume", file) == 2
    assert "to resume from" in capsys.readouterr().err


@pytest.mark.parametrize(
    "optimizer",
    [
        "dict(type='SGD', lr=1e-3)",
        "dict(type='SGD', lr=1e-3, momentum=0.9)",
        "dict(type='AdamW', lr=1e-3, amsgrad=True)",
        "dict(type='RMSprop', lr=1e-3, centered=True)",
        "dict(type='Adagrad', lr=1e-3)",
    ],
)
def test_every_optimizers_own_state_is_taken(optimizer, tmp_path):
    """Two groups of parameters, a scheduler with state of its own beside one that has ended."""
    schedules = "param_scheduler = [dict(type='LinearLR', begin=0, end=2, by_epoch=False), dict(type='MultiStepLR', "
    extra = (
        EXTRA
        + f"optim_wrapper['optimizer'] = {optimizer}\n"
        + "optim_wrapper['paramwise_cfg'] = dict(custom_keys=dict(decoders=dict(lr_mult=2.0)))\n"
        + schedules
        + "milestones=[1], by_epoch=False)]\n"
    )
    config = write_config(tmp_path, extra)
    assert run_tool("train.py", config, "--work-dir", tmp_path / "run") == 0
    assert run_tool("train.py", config, "--work-dir", tmp_path / "run", "--resume") == 0
