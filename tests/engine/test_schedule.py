"""The rate of every step, and schedules that do not fit the training."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from tiny import write_config

from mtl.engine.build import assemble, build_runner
from mtl.engine.config import read_config

CONFIGS = Path(__file__).resolve().parents[2] / "configs"


def rates(config, folder, options=None) -> list[float]:
    """The factor of the learning rate of each step that a training would do."""
    runner = build_runner(read_config(config, options), folder)
    runner._train_loop = runner.build_train_loop(runner._train_loop)
    runner.optim_wrapper = runner.build_optim_wrapper(runner.optim_wrapper)
    schedulers = runner.build_param_scheduler(runner.param_schedulers)
    seen = []
    for step in range(1, runner.max_iters + 1):
        (group, *_) = runner.optim_wrapper.optimizer.param_groups
        seen.append(group["lr"] / group["initial_lr"])
        for scheduler in schedulers:
            if not scheduler.by_epoch or step % len(runner.train_dataloader) == 0:
                scheduler.step()
    return seen


@pytest.mark.parametrize(("epochs", "steps"), [(None, 500), (2, 100)])
def test_quickstarts_schedule(epochs, steps, tmp_path):
    """Linear from 0.05 to 1 in 20 steps, times linear from 1 to 0 in all: 400 images by 8, 10 epochs."""
    options = None if epochs is None else {"train_cfg.max_epochs": epochs}
    expected = [(0.05 + 0.95 * min(t / 19, 1)) * (1 - t / (steps - 1)) for t in range(steps)]
    assert rates(CONFIGS / "quickstart.py", tmp_path, options) == pytest.approx(expected, abs=1e-12)


LINEAR = [1 - t / 5 for t in range(6)]
"""Six steps: three epochs of two, or six iterations."""


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        ("type='PolyLR', convert_to_iter_based=True", LINEAR),
        ("type='PolyLR', end=None, convert_to_iter_based=True", LINEAR),
        ("type='PolyLR', end=3, convert_to_iter_based=True", LINEAR),
        ("type='PolyLR', by_epoch=False", LINEAR),
        ("type='PolyLR'", [1, 1, 0.5, 0.5, 0, 0]),
        ("type='CosineAnnealingLR', T_max=None, by_epoch=False", [1, 0.933013, 0.75, 0.5, 0.25, 0.066987]),
        ("type='CosineAnnealingLR', T_max=3, convert_to_iter_based=True", [1, 0.933013, 0.75, 0.5, 0.25, 0.066987]),
        ("type='LinearLR', start_factor=1.0, end_factor=0.5, by_epoch=False", [1, 0.9, 0.8, 0.7, 0.6, 0.5]),
    ],
)
@pytest.mark.parametrize("loop", ["by_epoch=True, max_epochs=3", "by_epoch=False, max_iters=6"])
def test_a_schedule_without_an_end_is_as_long_as_the_training(schedule, expected, loop, tmp_path):
    if "max_iters" in loop:
        if "=3" in schedule:
            pytest.skip("it is counted in epochs")
        expected = LINEAR if schedule == "type='PolyLR'" else expected
    extra = f"\nparam_scheduler = dict({schedule})\ntrain_cfg = dict({loop})\n"
    assert rates(write_config(tmp_path, extra), tmp_path / "run") == pytest.approx(expected, abs=1e-6)


POLY = "dict(type='PolyLR', end=5, convert_to_iter_based=True)"
ENDS = "(epochs) is not the end of the training (train_cfg.max_epochs=7): leave out end"


@pytest.mark.parametrize(
    ("schedule", "loop", "part"),
    [
        (POLY, "max_epochs=7", f"param_scheduler.end=5 {ENDS}"),
        (POLY.replace("=5", "=9"), "max_epochs=7", f"param_scheduler.end=9 {ENDS}"),
        (f"[dict(type='ConstantLR', end=2), {POLY}]", "max_epochs=7", f"param_scheduler[1].end=5 {ENDS}"),
        (f"[{POLY}, dict(type='ConstantMomentum', begin=5)]", "max_epochs=7", f"param_scheduler[0].end=5 {ENDS}"),
        (f"[{POLY}, dict(type='ConstantLR', begin=6)]", "max_epochs=7", f"param_scheduler[0].end=5 {ENDS}"),
        ("dict(type='CosineAnnealingMomentum', end=5)", "max_epochs=7", f"param_scheduler.end=5 {ENDS}"),
        ("dict(type='LinearLR', start_factor=1, end_factor=0, end=5)", "max_epochs=7", f"param_scheduler.end=5 {ENDS}"),
        ("dict(type='PolyLR', by_epoch=False, end=14)", "max_epochs=7", "param_scheduler.end=14 (iterations) is not"),
        ("dict(type='CosineAnnealingLR', T_max=5)", "max_epochs=7", "param_scheduler.T_max=5 from 0 on does not end"),
        ("dict(type='CosineAnnealingLR', T_max=5, end=7)", "max_epochs=7", "does not end with param_scheduler.end=7"),
        ("dict(type='OneCycleLR', eta_max=1., total_steps=9)", "max_epochs=7", "param_scheduler.total_steps=9"),
        ("dict(type='MultiStepLR', milestones=[4, 9])", "max_epochs=7", "nothing happens at 9, after the end"),
        ("dict(type='StepLR', step_size=7)", "max_epochs=7", "param_scheduler.step_size=7: nothing happens at 7"),
        ("dict(type='ConstantLR', begin=7)", "max_epochs=7", "param_scheduler.begin=7 is after the end"),
        (
            POLY,
            "by_epoch=False, max_iters=9",
            "param_scheduler counts epochs and train_cfg (by_epoch=False) iterations",
        ),
        ("dict(type='StepLR', step_size=2)", "by_epoch=False, max_iters=9", "and its step_size in iterations"),
        (
            "dict(type='ExponentialLR', gamma=0.5)",
            "by_epoch=False, max_iters=9",
            "set by_epoch=False in param_scheduler",
        ),
        (
            "dict(type='PolyLR', by_epoch=False, end=5)",
            "by_epoch=False, max_iters=9",
            "param_scheduler.end=5 (iterations) is not the end of the training (train_cfg.max_iters=9)",
        ),
    ],
)
def test_schedules_that_do_not_fit(schedule, loop, part, tmp_path):
    config = write_config(tmp_path, f"\nparam_scheduler = {schedule}\ntrain_cfg = dict({loop})\n")
    with pytest.raises(ValueError, match=re.escape(part)):
        assemble(read_config(config), train=True)
    assemble(read_config(config), train=False)  # a finished run of such a config can be tested


@pytest.mark.parametrize(
    "schedule",
    [
        f"[{POLY}, dict(type='ConstantLR', factor=1.0, begin=5)]",
        f"[{POLY}, dict(type='CosineAnnealingLR', begin=5, end=7)]",
        "[dict(type='LinearLR', by_epoch=False, end=20), dict(type='CosineAnnealingLR', begin=1)]",
        "[dict(type='LinearLR', end=9)]",
        "dict(type='CosineRestartLR', periods=[3, 4], restart_weights=[1, 0.5], eta_min=0.)",
        "dict(type='ReduceOnPlateauLR', monitor='delta_m', rule='greater')",
        "[]",
        "None",
    ],
)
def test_schedules_that_fit(schedule, tmp_path):
    config = write_config(tmp_path, f"\nparam_scheduler = {schedule}\ntrain_cfg = dict(max_epochs=7)\n")
    assemble(read_config(config), train=True)
