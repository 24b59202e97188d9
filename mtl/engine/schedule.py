"""Schedules of the rate that fit the training: counted in its unit, and as long as it is.

MMEngine ends a schedule that has no ``end`` with the training; one that has another end leaves the rate at its floor
for the rest of the training, or is cut off before it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from mmengine.config import Config
from mmengine.optim.scheduler.lr_scheduler import LRSchedulerMixin
from mmengine.optim.scheduler.momentum_scheduler import MomentumSchedulerMixin
from mmengine.optim.scheduler.param_scheduler import (
    CosineAnnealingParamScheduler,
    CosineRestartParamScheduler,
    LinearParamScheduler,
    OneCycleParamScheduler,
    PolyParamScheduler,
    ReduceOnPlateauParamScheduler,
)
from mmengine.registry import PARAM_SCHEDULERS

from mtl.registry import type_of

_LENGTHS = ("T_max", "total_steps", "periods")
"""Arguments that say how long a schedule is besides its ``begin`` and ``end``."""

_DECAYS = (
    PolyParamScheduler,
    CosineAnnealingParamScheduler,
    OneCycleParamScheduler,
    CosineRestartParamScheduler,
)
"""Schedulers whose last value is the end of the training's."""


def named_schedulers(full: Config) -> list[tuple[str, dict[str, Any]]]:
    """The schedulers of a config with the keys that they have there."""
    schedulers = full.get("param_scheduler")
    if schedulers is None:
        return []
    if isinstance(schedulers, dict):
        return [("param_scheduler", schedulers)]
    return [(f"param_scheduler[{i}]", scheduler) for i, scheduler in enumerate(schedulers)]


def fit_schedules(full: Config) -> None:
    """Let schedules without an end end with the training; `ValueError` names those that end elsewhere."""
    named = named_schedulers(full)
    loop = full.get("train_cfg") or {}
    by_epoch = loop.get("by_epoch", True)
    limit = "max_epochs" if by_epoch else "max_iters"
    for name, scheduler in named:
        for key in [key for key, value in scheduler.items() if value is None]:
            del scheduler[key]
        if not by_epoch:
            _count_iterations(name, scheduler)
    for name, scheduler in named:
        _check_span(name, scheduler, [other for _, other in named], f"train_cfg.{limit}", loop[limit], by_epoch)


def _count_iterations(name: str, scheduler: dict[str, Any]) -> None:
    """A schedule over the whole of a training that has no epochs; `ValueError` if a part of it is counted in epochs."""
    kind = type_of(scheduler, PARAM_SCHEDULERS)
    if not scheduler.get("by_epoch", True) or issubclass(kind, ReduceOnPlateauParamScheduler):
        return
    scheduler.pop("convert_to_iter_based", None)
    scheduler["by_epoch"] = False
    counted = [key for key in ("begin", "end", "milestones", "step_size", *_LENGTHS) if scheduler.get(key)]
    if counted or not issubclass(kind, (*_DECAYS, LinearParamScheduler)):
        raise ValueError(
            f"{name} counts epochs and train_cfg (by_epoch=False) iterations: set by_epoch=False in {name}"
            + (f", and its {' and '.join(counted)} in iterations" if counted else "")
        )


def _check_span(
    name: str,
    scheduler: Mapping[str, Any],
    everyone: Sequence[Mapping[str, Any]],
    limit: str,
    length: int,
    by_epoch: bool,
) -> None:
    """Raise `ValueError` if the schedule begins too late, ends elsewhere than the training or has steps after it."""
    own = scheduler.get("by_epoch", True)
    last = length if own == by_epoch else math.inf  # an epoch's iterations are not known before the data are
    begin, end = scheduler.get("begin", 0), scheduler.get("end", last)
    training = f"the training ({limit}={length})"
    if begin >= last:
        raise ValueError(f"{name}.begin={begin} is after the end of {training}")
    for key in ("milestones", "step_size"):
        steps = scheduler.get(key, ())
        late = [step for step in (steps if isinstance(steps, Sequence) else [steps]) if step >= last]
        if late:
            raise ValueError(f"{name}.{key}={steps}: nothing happens at {late[0]}, after the end of {training}")
    kind = type_of(scheduler, PARAM_SCHEDULERS)
    falls = scheduler.get("end_factor", 1.0) < scheduler.get("start_factor", 1 / 3)
    if not (issubclass(kind, _DECAYS) or (issubclass(kind, LinearParamScheduler) and falls)):
        return
    for key in _LENGTHS:
        if key in scheduler:
            span = sum(scheduler[key]) if key == "periods" else scheduler[key]
            if begin + span != end:
                where = f"{name}.end={end}" if "end" in scheduler else training
                raise ValueError(
                    f"{name}.{key}={scheduler[key]} from {begin} on does not end with {where}: leave it out"
                )
    if "end" in scheduler and _reach(end, scheduler, everyone, last) != last:
        raise ValueError(
            f"{name}.end={end} ({'epochs' if own else 'iterations'}) is not the end of {training}: leave out end, and "
            "the schedule is as long as the training"
        )


def _reach(end: float, scheduler: Mapping[str, Any], everyone: Sequence[Mapping[str, Any]], last: float) -> float:
    """Where the schedules that follow the one that stops at ``end`` without a gap stop, those of its parameter."""
    after = [
        (other.get("begin", 0), other.get("end", last))
        for other in everyone
        if other.get("by_epoch", True) == scheduler.get("by_epoch", True) and _varies(other) == _varies(scheduler)
    ]
    for begin, stop in sorted(after):
        if end <= stop and begin <= end and end < last:
            end = stop
    return end


def _varies(scheduler: Mapping[str, Any]) -> str | None:
    """The parameter that a scheduler changes."""
    kind = type_of(scheduler, PARAM_SCHEDULERS)
    if issubclass(kind, MomentumSchedulerMixin):
        return "momentum"
    return "lr" if issubclass(kind, LRSchedulerMixin) else scheduler.get("param_name")
