"""Whether a training can go on from a checkpoint: MMEngine loads what it finds and leaves the rest as it is."""

from __future__ import annotations

import copy
from collections import defaultdict
from collections.abc import Mapping
from typing import Any

import torch
from mmengine.runner import Runner
from torch import Tensor, nn

from mtl.utils.plain import is_number
from mtl.utils.text import named, short


def check_resumable(checkpoint: Mapping[str, Any], runner: Runner, where: str) -> None:
    """Raise `ValueError` unless the optimizer's and the schedulers' states are of those that the runner has.

    Args:
        checkpoint: as `mtl.engine.checkpoints.read_checkpoint` gives it.
        where: the file, for the message.
    """
    wrapper = runner.optim_wrapper
    wrong = _optimizer(
        checkpoint["optimizer"], wrapper, stepped=checkpoint["meta"]["iter"] >= wrapper._accumulative_counts
    )
    wrong = wrong or _unlike(checkpoint["param_schedulers"], scheduler_states(runner), "param_schedulers")
    if wrong:
        raise ValueError(f"{where} cannot be resumed from: {wrong}")


def scheduler_states(runner: Runner) -> list[dict[str, Any]]:
    """The states of the runner's schedulers, without the functions that MMEngine's one-cycle schedule keeps there."""
    return [
        {key: value for key, value in scheduler.state_dict().items() if not callable(value)}
        for scheduler in runner.param_schedulers or []
    ]


def _optimizer(saved: Mapping[str, Any], wrapper: Any, stepped: bool) -> str | None:
    """What is wrong with an optimizer's state, or None."""
    own = wrapper.state_dict()
    for key in ("state", *own):
        if not isinstance(saved.get(key), type(own[key])):
            return f"optimizer has no {key!r}"
    for key in own:
        if key not in ("state", "gradients") and (wrong := _unlike(saved[key], own[key], f"optimizer.{key}")):
            return wrong
    numbers = [number for group in own["param_groups"] for number in group["params"]]
    if [number for group in saved["param_groups"] for number in group["params"]] != numbers:
        return "optimizer.param_groups are of other parameters"
    groups = wrapper.optimizer.param_groups
    parameters = dict(zip(numbers, [(p, group) for group in groups for p in group["params"]], strict=True))
    for number, entry in saved["state"].items():
        if number not in parameters:
            return f"{named('optimizer.state', number)} is of no parameter"
        fresh = _after_a_step(wrapper.optimizer, *parameters[number])
        if fresh is not None and (wrong := _unlike(entry, fresh, f"optimizer.state[{number}]")):
            return wrong
    waiting = saved["gradients"]  # for their step; None of a parameter that no label reached
    if waiting and len(waiting) != len(parameters):
        return "optimizer.gradients are of other parameters"
    like = [None if gradient is None else p for gradient, (p, _) in zip(waiting, parameters.values(), strict=False)]
    if wrong := _unlike(waiting, like, "optimizer.gradients"):
        return wrong
    if stepped and not saved["state"] and _after_a_step(wrapper.optimizer, *parameters[numbers[0]]):
        return "optimizer.state is empty"
    return None


def _after_a_step(optimizer: torch.optim.Optimizer, parameter: Tensor, group: Mapping[str, Any]) -> Any:
    """What the optimizer keeps of a parameter like this one; None if that cannot be tried."""
    trial = nn.Parameter(torch.zeros_like(parameter))
    trial.grad = torch.zeros_like(parameter)
    tried = copy.copy(optimizer)
    tried.state, tried.param_groups = defaultdict(dict), [{**group, "params": [trial]}]
    try:
        tried.step()
    except Exception:  # one that wants more than gradients
        return None
    return dict(tried.state[trial])


def _unlike(saved: Any, own: Any, where: str) -> str | None:
    """How ``saved`` differs from ``own`` in keys, lengths, shapes or types, or None; None in ``own`` fits anything."""
    if isinstance(own, Mapping):
        if not isinstance(saved, Mapping):
            return f"{where} is a dict, not {short(repr(saved))}"
        if set(saved) != set(own):
            return (
                f"{where} has the keys {short(str(sorted(saved, key=repr)))}, not {short(str(sorted(own, key=repr)))}"
            )
        pairs = [(named(where, key), saved[key], own[key]) for key in own]
    elif isinstance(own, list | tuple):
        if not isinstance(saved, list | tuple) or len(saved) != len(own):
            count = len(saved) if isinstance(saved, list | tuple) else short(repr(saved))
            return f"{where} is a list of {len(own)}, not {count}"
        pairs = [(f"{where}[{i}]", one, other) for i, (one, other) in enumerate(zip(saved, own, strict=True))]
    elif isinstance(own, Tensor):
        if not isinstance(saved, Tensor) or saved.shape != own.shape:
            shape = tuple(saved.shape) if isinstance(saved, Tensor) else short(repr(saved))
            return f"{where} is a tensor of {tuple(own.shape)}, not {shape}"
        return None if torch.isfinite(saved).all() else f"{where} is not finite"
    elif is_number(own):
        return None if is_number(saved) else f"{where} is a finite number, not {short(repr(saved))}"
    elif isinstance(own, bool | str):
        return None if type(saved) is type(own) else f"{where} is {own!r}, not {short(repr(saved))}"
    else:
        return None
    return next(filter(None, (_unlike(*pair[1:], pair[0]) for pair in pairs)), None)
