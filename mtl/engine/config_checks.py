"""What a config may hold: each value is what its key takes, and each name selects something.

Parts, MMEngine's, torch's and our own, are checked by their annotations; this file knows the keys that have none.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from multiprocessing import get_all_start_methods
from typing import Any

from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.registry import (
    FUNCTIONS,
    LOG_PROCESSORS,
    LOOPS,
    VISBACKENDS,
    VISUALIZERS,
)
from mmengine.runner import BaseLoop, EpochBasedTrainLoop, IterBasedTrainLoop, TestLoop, ValLoop, get_priority
from mmengine.utils.dl_utils import set_multi_processing
from torch.utils.data import DataLoader

from mtl.engine.optimizer_checks import PARAMWISE, check_optimizer, check_scheduler
from mtl.engine.schedule import named_schedulers
from mtl.evaluation.metric import MultiTaskMetric
from mtl.models.multitask import MultiTaskModel
from mtl.registry import (
    DATA_SAMPLERS,
    HOOKS,
    METRICS,
    MODELS,
    TASKS,
    check_arguments,
    check_part,
    check_types,
    check_value,
    choices,
)

_LOADER = {
    **dict.fromkeys(("batch_size", "num_workers", "num_batch_per_epoch"), int),
    **dict.fromkeys(("persistent_workers", "pin_memory", "drop_last"), bool),
    "prefetch_factor": int | None,
    "timeout": float,
}

_AT_LEAST = {
    **dict.fromkeys(("max_epochs", "max_iters", "val_interval", "interval", "batch_size", "accumulative_counts"), 1),
    **dict.fromkeys(("length", "keep", "base_batch_size", "num_batch_per_epoch", "window_size", "step_size"), 1),
    **dict.fromkeys(("T_max", "total_steps", "prefetch_factor", "end"), 1),
    **dict.fromkeys(("num_workers", "val_begin", "begin", "images", "max_norm", "clip_value", "timeout"), 0),
    **dict.fromkeys(("lr_mult", "decay_mult", "eta_min", "power", "norm_type", "opencv_num_threads"), 0),
    **dict.fromkeys((name for name, kind in PARAMWISE.items() if kind is float), 0),
}
"""Keys anywhere in a config that count something or are the size of something."""

_AT_MOST = {"num_workers": 1024, "length": 10_000_000}
"""Of these, what would make a start never end."""


def check_config(full: Config, hooks: Iterable[str], train: bool) -> None:
    """Raise `ValueError` for the first value that its key does not take.

    Args:
        hooks: the default hooks' names.
        train: whether what a training needs must be there.
    """
    for key in ("train_dataloader", "train_cfg", "optim_wrapper") if train else ():
        if not full.get(key):
            raise ValueError(f"{key} is a dict, without which nothing is trained, not {full.get(key)!r}")
    _check_numbers(full.to_dict())
    for part in ("train", "val", "test"):
        _check_loader(full.get(f"{part}_dataloader"), f"{part}_dataloader")
        _check_loop(full.get(f"{part}_cfg"), f"{part}_cfg")
        if part != "train" or (full.get("train_cfg") or {}).get("by_epoch", True):
            _check_ends(full.get(f"{part}_dataloader"), f"{part}_dataloader")
        if part != "train":
            _check_evaluator(full.get(f"{part}_evaluator"), f"{part}_evaluator")
    if full.get("optim_wrapper") is not None:
        check_optimizer(full.optim_wrapper)
        for name, scheduler in named_schedulers(full):
            check_scheduler(scheduler, name, full.optim_wrapper.optimizer)
    _check_hooks(full, list(hooks))
    _check_environment(full)
    scores = full.get("single_task")
    if isinstance(scores, Mapping):
        for task, score in scores.items():
            check_value(score, float, f"single_task[{task!r}]")
            if score <= 0:
                raise ValueError(f"single_task[{task!r}] is larger than 0, as Δm is relative to it, not {score!r}")
            if task not in full.tasks:
                raise ValueError(
                    f"single_task has a score of {task!r}, which is no task; {choices(full.tasks, str(task))}"
                )


def check_model(model: Mapping[str, Any]) -> None:
    """Raise `ValueError` unless ``model`` is a `MultiTaskModel`, which the hooks and the evaluation need."""
    kind = check_part(model, MODELS, key="model")
    if not (isinstance(kind, type) and issubclass(kind, MultiTaskModel)):
        raise ValueError(f"model.type is MultiTaskModel or a subclass of it, not {model['type']!r}")


def _check_numbers(value: Any, key: str = "") -> None:
    """Every number below a name of `_AT_LEAST` or `_AT_MOST` is that large at least, or at most."""
    items = (
        value.items() if isinstance(value, Mapping) else enumerate(value) if isinstance(value, (list, tuple)) else ()
    )
    for name, item in items:
        where = f"{key}[{name}]" if isinstance(name, int) else f"{key}.{name}" if key else str(name)
        least = _AT_LEAST.get(name) if isinstance(name, str) else None
        if least is not None and isinstance(item, (int, float)) and item < least:
            raise ValueError(f"{where} is at least {least}, not {item!r}")
        most = _AT_MOST.get(name, math.inf) if isinstance(name, str) else math.inf
        if isinstance(item, (int, float)) and item > most:
            raise ValueError(f"{where} is at most {most:,}, not {item!r}")
        _check_numbers(item, where)


def _check_loader(loader: Mapping[str, Any] | None, key: str) -> None:
    if loader is None:
        return
    if not isinstance(loader.get("dataset"), Mapping):
        raise ValueError(f"{key}.dataset is a data set's config, a dict with a type, not {loader.get('dataset')!r}")
    pipeline = loader["dataset"].get("pipeline", [])
    check_value(pipeline, list[dict], f"{key}.dataset.pipeline")
    if "shuffle" in loader:
        raise ValueError(f"{key}.shuffle is the sampler's: {key}.sampler = dict(type='EpochSampler', shuffle=...)")
    parts = {"sampler": DATA_SAMPLERS, "batch_sampler": DATA_SAMPLERS, "collate_fn": FUNCTIONS}
    for name, registry in parts.items():
        if name in loader:
            given = {"sampler": ["dataset"], "batch_sampler": ["sampler", "batch_size"], "collate_fn": ["data_batch"]}
            check_part(loader[name], registry, given[name], f"{key}.{name}")
    check_arguments(DataLoader, set(loader) - {"num_batch_per_epoch"}, key)
    for name, hint in _LOADER.items():
        if name == "batch_size" or name in loader:
            check_value(loader.get(name), hint, f"{key}.{name}")


def _check_ends(loader: Mapping[str, Any] | None, key: str) -> None:
    if ((loader or {}).get("sampler") or {}).get("type") == "InfiniteSampler":
        raise ValueError(
            f"{key}.sampler: an epoch of InfiniteSampler never ends; it is for "
            "train_cfg = dict(by_epoch=False, max_iters=...)"
        )


def _check_loop(loop: Mapping[str, Any] | None, key: str) -> None:
    """A loop of MMEngine's that `mtl.engine.build` chooses, or one of a type of its own."""
    if loop is None:
        return
    by_epoch = loop.get("by_epoch", True)
    check_value(by_epoch, bool, f"{key}.by_epoch")
    made = ["runner", "dataloader"] if key == "train_cfg" else ["runner", "dataloader", "evaluator"]
    if "type" not in loop:
        train = EpochBasedTrainLoop if by_epoch else IterBasedTrainLoop
        chosen = {"train_cfg": train, "val_cfg": ValLoop, "test_cfg": TestLoop}[key]
        _check_call(chosen, {name: value for name, value in loop.items() if name != "by_epoch"}, made, key)
        return
    kind = check_part(loop, LOOPS, made, key)
    if not (isinstance(kind, type) and issubclass(kind, BaseLoop)):
        raise ValueError(f"{key}.type is a loop, not {loop['type']!r}; {choices(LOOPS.module_dict)}")


def _check_evaluator(evaluator: Any, key: str) -> None:
    """An evaluator has the metrics of all tasks, which the results are taken from."""
    if evaluator is None:
        return
    metrics = evaluator["metrics"] if isinstance(evaluator, Mapping) and "metrics" in evaluator else evaluator
    metrics = metrics if isinstance(metrics, (list, tuple)) else [metrics]
    kinds = []
    for metric in metrics:
        kinds.append(check_part(metric, METRICS, key=key))
        for name, task in metric.get("tasks", {}).items():
            check_part(task, TASKS, ["name"], f"{key}.tasks[{name!r}]")
    if not any(isinstance(kind, type) and issubclass(kind, MultiTaskMetric) for kind in kinds):
        raise ValueError(f"{key} has no MultiTaskMetric, whose scores are the tasks' results; leave {key} out")


def _check_hooks(full: Config, names: list[str]) -> None:
    default = full.get("default_hooks") or {}
    for name, hook in default.items():
        if name not in names and not (isinstance(hook, Mapping) and "type" in hook):
            raise ValueError(f"default_hooks has no {name!r}; {choices(names, str(name))}, or a new one with a type")
        check_value(hook, dict | None, f"default_hooks.{name}")
    for i, hook in enumerate(full.get("custom_hooks") or ()):
        check_hook(hook, f"custom_hooks[{i}]")


def check_hook(hook: Any, key: str) -> None:
    """Raise `ValueError` unless ``hook`` is a hook's config, with or without a ``priority``."""
    kind = check_part({n: value for n, value in hook.items() if n != "priority"}, HOOKS, key=key)
    if isinstance(kind, type) and not issubclass(kind, Hook):
        raise ValueError(f"{key}.type is a hook, not {hook['type']!r}")
    try:
        get_priority(hook.get("priority", "NORMAL"))
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{key}.priority is a name such as 'NORMAL' or 0 to 100, not {hook['priority']!r}") from error


_LEVELS = ("CRITICAL", "ERROR", "WARNING", "INFO", "DEBUG")


def _check_environment(full: Config) -> None:
    """The runner's surroundings: processes, logger, visualizer."""
    known: dict[str, Any] = {"cudnn_benchmark": bool, "mp_cfg": dict, "dist_cfg": dict, "resource_limit": int}
    environment = full.get("env_cfg") or {}
    for name, value in environment.items():
        if name not in known:
            raise ValueError(f"env_cfg has no {name!r}; {choices(known, str(name))}")
        check_value(value, known[name], f"env_cfg.{name}")
    processes = environment.get("mp_cfg", {})
    _check_call(set_multi_processing, processes, ["distributed"], "env_cfg.mp_cfg")
    if processes.get("mp_start_method", "fork") not in (methods := get_all_start_methods()):
        raise ValueError(f"unknown env_cfg.mp_cfg.mp_start_method {processes['mp_start_method']!r}; {choices(methods)}")
    check_value(environment.get("dist_cfg", {}).get("backend", ""), str, "env_cfg.dist_cfg.backend")
    level = full.get("log_level", "INFO")
    if not isinstance(level, int) and level not in _LEVELS:
        raise ValueError(f"unknown log_level {level!r}; {choices(_LEVELS, level)}")
    if (scaling := full.get("auto_scale_lr")) is not None:
        _check_call(_auto_scale_lr, scaling, [], "auto_scale_lr")
    if full.get("log_processor") is not None:
        check_part({"type": "LogProcessor", **full.log_processor}, LOG_PROCESSORS, key="log_processor")
        check_value(full.log_processor.get("window_size", 10), int, "log_processor.window_size")
        check_value(full.log_processor.get("by_epoch", True), bool, "log_processor.by_epoch")
    if full.get("visualizer") is not None:
        drawn = {"type": "Visualizer", **full.visualizer}
        backends = drawn.pop("vis_backends", None)  # MMEngine's annotation is of lists of lists
        check_part(drawn, VISUALIZERS, key="visualizer")
        check_value(backends, list | dict | None, "visualizer.vis_backends")
        for i, backend in enumerate(backends if isinstance(backends, (list, tuple)) else ()):
            check_part(backend, VISBACKENDS, ["save_dir"], f"visualizer.vis_backends[{i}]")


def _auto_scale_lr(base_batch_size: int, enable: bool = False) -> None:
    """What `Runner.scale_lr` reads."""


def _check_call(function: Callable, arguments: Mapping[str, Any], given: list[str], key: str) -> None:
    check_arguments(function, [*arguments, *given], key)
    check_types(function, arguments, key)
