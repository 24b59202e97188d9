"""What a config may hold of the optimizer and of its schedules: their own annotations, and what only building tells."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from mmengine.registry import OPTIM_WRAPPER_CONSTRUCTORS, OPTIMIZERS, PARAM_SCHEDULERS
from torch.nn.utils import clip_grad_norm_, clip_grad_value_

from mtl.registry import OPTIM_WRAPPERS, check_arguments, check_part, check_types, check_value, choices, type_of

PARAMWISE = {
    **dict.fromkeys(
        ("bias_lr_mult", "bias_decay_mult", "norm_decay_mult", "flat_decay_mult", "dwconv_decay_mult"), float
    ),
    "bypass_duplicate": bool,
    "custom_keys": dict,
}
"""What is set parameter by parameter; the constructor's options for deformable convolutions have none to reach."""


def check_optimizer(wrapper: Mapping[str, Any]) -> None:
    """Raise `ValueError` for a part of an optimizer wrapper: the optimizer, what is set by parameter, the clipping."""
    optimizer: Any = wrapper.get("optimizer")
    check_part(optimizer, OPTIMIZERS, ["params"], "optim_wrapper.optimizer")
    _try_optimizer(optimizer)
    own = {key: value for key, value in wrapper.items() if key not in ("optimizer", "paramwise_cfg", "constructor")}
    if not hasattr(check_part(own, OPTIM_WRAPPERS, ["optimizer"], "optim_wrapper"), "finish"):
        raise ValueError(
            f"optim_wrapper.type={own['type']!r} makes one backward pass a step, and this model one per task: take "
            "TaskwiseOptimWrapper, or a class with its finish(); its amp is mixed precision"
        )
    if "constructor" in wrapper:
        check_part({"type": wrapper["constructor"]}, OPTIM_WRAPPER_CONSTRUCTORS, ["optim_wrapper_cfg"], "optim_wrapper")
    elif wrapper.get("paramwise_cfg") is not None:
        _check_paramwise(wrapper["paramwise_cfg"], optimizer)
    if (clip := wrapper.get("clip_grad")) is not None:
        key, clips = "optim_wrapper.clip_grad", {"norm": clip_grad_norm_, "value": clip_grad_value_}
        check_value(clip, dict, key)
        if clip.get("type", "norm") not in clips:
            raise ValueError(f"{key}.type is 'norm' or 'value', not {clip['type']!r}")
        limits = {name: value for name, value in clip.items() if name != "type"}
        check_arguments(clips[clip.get("type", "norm")], ["parameters", *limits], key)
        for name in limits.keys() & {"max_norm", "norm_type", "clip_value"}:
            if isinstance(limits[name], bool) or not isinstance(limits[name], (int, float)):
                raise ValueError(f"{key}.{name} is a number, not {limits[name]!r}")  # it may be infinite


def _try_optimizer(cfg: Mapping[str, Any]) -> torch.optim.Optimizer:
    """The optimizer of one parameter: only building it tells which values it takes."""
    with _named(f"optim_wrapper.optimizer {dict(cfg)}"):
        return OPTIMIZERS.build({**cfg, "params": [torch.nn.Parameter(torch.zeros(1))]})


@contextmanager
def _named(key: str) -> Iterator[None]:
    """What a part raises while it is built, as a `ValueError` that begins with its key."""
    try:
        yield
    except (ValueError, TypeError, AssertionError, LookupError, ArithmeticError) as error:
        raise ValueError(f"{key}: {error or type(error).__name__}") from error


def _check_paramwise(cfg: Any, optimizer: Mapping[str, Any]) -> None:
    key = "optim_wrapper.paramwise_cfg"
    check_value(cfg, dict, key)
    for name, value in cfg.items():
        if name not in PARAMWISE:
            raise ValueError(f"{key} has no option {name!r}; {choices(PARAMWISE, str(name))}")
        check_value(value, PARAMWISE[name], f"{key}.{name}")
    known = {"lr_mult", "decay_mult", *inspect.signature(type_of(optimizer, OPTIMIZERS)).parameters} - {"params"}
    multiplied = {name for name in cfg if name.endswith("_mult")}
    for part, settings in cfg.get("custom_keys", {}).items():
        where = f"{key}.custom_keys[{part!r}]"
        check_value(settings, dict, where)
        if not settings:
            raise ValueError(f"{where} sets nothing, such as dict(lr_mult=0.1)")
        for name in settings:
            if name not in known:
                raise ValueError(f"{where} has no setting {name!r}; {choices(known, str(name))}")
            if name in ("lr_mult", "decay_mult"):
                check_value(settings[name], float, f"{where}.{name}")
        multiplied |= settings.keys()
    for suffix, name in (("lr_mult", "lr"), ("decay_mult", "weight_decay")):
        if any(one.endswith(suffix) for one in multiplied) and optimizer.get(name) is None:
            raise ValueError(f"{key} multiplies {name}: set optim_wrapper.optimizer.{name}")


def check_scheduler(scheduler: Any, key: str, optimizer: Mapping[str, Any]) -> None:
    """Raise `ValueError` for a scheduler that cannot be built for the config of an optimizer."""
    kind = check_part(scheduler, PARAM_SCHEDULERS, key=key)
    # a scheduler for the rate is a mixin that hands its arguments on: the class behind it says which there are
    behind = next(c for c in kind.__mro__ if "__init__" in vars(c) and not c.__name__.endswith("Mixin"))
    own = {name: value for name, value in scheduler.items() if name not in ("type", "convert_to_iter_based")}
    check_arguments(behind, {*own, "optimizer", "param_name"}, f"{key}: {scheduler['type']}")
    check_value(scheduler.get("convert_to_iter_based", False), bool, f"{key}.convert_to_iter_based")
    for name in own.keys() & {"begin", "end"}:  # parts of an epoch too
        check_value(own[name], float | None, f"{key}.{name}")
    # None leaves a length to the training's
    rest = {n: value for n, value in own.items() if n not in ("begin", "end") and value is not None}
    check_types(behind, rest, f"{key}: {scheduler['type']}")
    built = {name: value for name, value in scheduler.items() if value is not None}
    with _named(f"{key} {built}"):
        PARAM_SCHEDULERS.build(built, default_args={"optimizer": _try_optimizer(optimizer), "epoch_length": 1000})
