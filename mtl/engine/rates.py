"""The rates of a built optimizer: each key of a config selects parameters, and no rate is below its floor."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from mmengine.runner import Runner
from torch import nn

from mtl.engine.checkpoints import model_of
from mtl.methods.base import ROLES


def check_rates(runner: Runner) -> None:
    """Raise `ValueError` for a key of ``custom_keys`` that selects nothing or a rate that would rise to its floor.

    The optimizer and the schedulers are built; no step has been made.
    """
    model, cfg = model_of(runner), runner.cfg["optim_wrapper"]
    keys = {} if "constructor" in cfg else (cfg.get("paramwise_cfg") or {}).get("custom_keys") or {}
    check_custom_keys(model, keys)
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    for scheduler in runner.param_schedulers or ():
        floor, value = getattr(scheduler, "eta_min", None), f"initial_{scheduler.param_name}"
        for group in runner.optim_wrapper.optimizer.param_groups if floor else ():
            if group[value] < floor:
                name = next(names[id(p)] for p in group["params"] if p.requires_grad)
                key = selecting(name, keys)
                of = f"those of custom_keys[{key!r}]" if key else "of the optimizer"
                raise ValueError(
                    f"param_scheduler: {type(scheduler).__name__} with eta_min={floor:g} would raise "
                    f"{scheduler.param_name} {group[value]:g} of {name} ({of}) to it: set eta_min below that"
                )
        end = scheduler.end * (len(runner.train_dataloader) if scheduler.by_epoch else 1)
        if runner.max_iters < end < 1e9:
            runner.logger.warning(
                f"{type(scheduler).__name__} goes on to iteration {end}, the training ends at {runner.max_iters}"
            )


def check_custom_keys(model: nn.Module, keys: Mapping[str, Any]) -> None:
    """Raise `ValueError` for a key that is in no trained parameter's name, or only where a longer one is too.

    The roles that some method has (`mtl.methods.base.ROLES`) may be missing: a config may serve several methods.
    """
    names = {name: parameter.requires_grad for name, parameter in model.named_parameters()}
    used = {selecting(name, keys) for name, trained in names.items() if trained}
    for key in keys:
        if key in used or key in ROLES:
            continue
        where = f"optim_wrapper.paramwise_cfg.custom_keys: {key!r}"
        holding = [name for name in names if key in name]
        trained = [name for name in holding if names[name]]
        if trained:
            longer = selecting(trained[0], keys)
            raise ValueError(f"{where} selects nothing, as in {trained[0]} and wherever it is {longer!r} is longer")
        if holding:
            raise ValueError(f"{where} selects nothing that is trained: {holding[0]} is frozen, as are the others")
        parts = dict.fromkeys(".".join(name.split(".")[:2]) for name, trained in names.items() if trained)
        raise ValueError(
            f"{where} is in no parameter's name; those of trained parameters begin with {', '.join(parts)}"
        )


def selecting(name: str, keys: Iterable[str]) -> str | None:
    """The key whose settings MMEngine gives to a parameter: the longest in its name, of equals the alphabet's first."""
    return min((key for key in keys if key in name), key=lambda key: (-len(key), key), default=None)
