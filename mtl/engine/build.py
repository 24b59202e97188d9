"""From a config to a runner: put its parts where they are used, check MMEngine's, build."""

from __future__ import annotations

import copy
import inspect
import itertools
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mmengine.config import Config, ConfigDict
from mmengine.runner import Runner

from mtl.engine.checkpoints import model_of
from mtl.engine.config import default_work_dir
from mtl.engine.config_checks import check_config, check_hook, check_model
from mtl.engine.distributed import launch
from mtl.engine.plugins import register_all
from mtl.engine.run_folder import latest_checkpoint
from mtl.engine.runner import MultiTaskRunner
from mtl.engine.schedule import fit_schedules
from mtl.engine.schema import check_model_config
from mtl.engine.settings import plain
from mtl.registry import DATASETS, TRANSFORMS, check_arguments, check_part, check_types, type_of
from mtl.utils.plain import check_plain

DEFAULT_HOOKS: dict[str, Any] = {
    "logger": {"type": "LoggerHook", "interval": 20},
    "checkpoint": {"type": "AtomicCheckpoint"},
    "parameters": {"type": "ParameterTable"},
    "labels": {"type": "LabelTable"},
    "iteration_seed": {"type": "IterationSeed"},
    "delta_m": {"type": "DeltaM"},
    "pictures": {"type": "PredictionPictures"},
    "progress": {"type": "ProgressBar"},
    "cost": {"type": "Cost"},
}

_MMENGINE_HOOKS = ("runtime_info", "timer", "sampler_seed", "logger", "param_scheduler", "checkpoint")
"""Hooks of MMEngine's own that a config may change or remove by these names."""


_RUNS = itertools.count(1)
"""Of this process."""


def build_runner(
    cfg: Config,
    work_dir: str | Path | None = None,
    resume: bool | str = False,
    launcher: str | None = None,
    train: bool = True,
) -> MultiTaskRunner:
    """MMEngine's runner for a config that `read_config` gave.

    Args:
        cfg: the config.
        work_dir: where logs and checkpoints go; the default is `default_work_dir`'s.
        resume: True for the latest checkpoint in ``work_dir``, or a checkpoint's path.
        launcher: None finds out (``torchrun``, Slurm or a single process).
        train: False builds nothing of the training.
    """
    register_all(cfg.get("custom_imports"))
    full = assemble(cfg, train)
    full.launcher = launch(launcher)
    full.work_dir = str(work_dir_of(cfg, work_dir))
    if resume is not False:
        full.resume = True
        full.load_from = _existing(resume) if isinstance(resume, str) else latest_checkpoint(Path(full.work_dir))
        if full.load_from is None:
            raise ValueError(
                f"{full.work_dir} has no run to resume (no checkpoint): leave out --resume, or name the run's folder "
                "by --work-dir"
            )
    elif train and latest_checkpoint(Path(full.work_dir)):
        raise ValueError(f"{full.work_dir} has a run already: --resume goes on with it, another --work-dir keeps it")
    # MMEngine keeps loggers and more by this name and the second, and a run would get those of another
    full.experiment_name = f"{full.get('experiment_name') or Path(full.work_dir).name}_{next(_RUNS)}"
    if full.launcher != "none":
        full.model_wrapper_cfg = {"type": "mtl.TaskwiseDistributed"}
    runner = MultiTaskRunner.from_cfg(full)
    check_model_config(full["build"])  # its checkpoints are read by the same rules
    if train:
        for hook in model_of(runner).method.hooks():
            runner.register_hook(hook)
    return runner


def work_dir_of(cfg: Config, work_dir: str | Path | None = None) -> Path:
    """Where a config's runs go: ``work_dir``, else the config's, else `default_work_dir`'s."""
    if work_dir == "":  # an unset variable in a script
        raise ValueError("--work-dir names a folder, not ''")
    return Path(work_dir or cfg.get("work_dir") or default_work_dir(Path(cfg.filename or "run")))


def assemble(cfg: Config, train: bool) -> Config:
    """The runner's config: parts put where they are used."""
    full = copy.deepcopy(cfg)
    check_config(full, [*DEFAULT_HOOKS, *_MMENGINE_HOOKS], train)
    full.default_scope = "mtl"
    full.randomness = _randomness(full.get("randomness") or {})
    own = {key: full.get(key) for key in ("encoder", "method", "decoder", "tasks") if full.get(key) is not None}
    full["build"], full["source"] = plain(own), plain(cfg.to_dict())
    check_plain(full["source"], "config")
    full.model = {"type": "MultiTaskModel", **own, **(full.get("model") or {})}
    check_model(full.model)
    _add_loaders(full)
    if train:
        fit_schedules(full)
    else:
        for key in ("train_dataloader", "train_cfg", "optim_wrapper", "param_scheduler"):
            full.pop(key, None)
        for key in ("val_dataloader", "val_evaluator", "val_cfg"):
            full.pop(key, None)
    full.default_hooks = _default_hooks(full, train)
    _choose_loop(full)
    return full


def _choose_loop(full: Config) -> None:
    """Our loop for a training by epochs, and for one by iterations a log that counts them."""
    loop = full.get("train_cfg") or {}
    if loop.get("by_epoch"):
        full.train_cfg = {"type": "EpochLoop", **_without(loop, "by_epoch")}
    elif "by_epoch" in loop:
        full.log_processor = {"by_epoch": False, **(full.get("log_processor") or {})}


def _randomness(given: Mapping[str, Any]) -> dict[str, Any]:
    """MMEngine's ``randomness`` with the seed 0, where its default is another seed in every run."""
    full = {"seed": 0, **given}
    check_arguments(Runner.set_randomness, ["self", *full], "randomness")
    check_types(Runner.set_randomness, _without(full, "seed"), "randomness")
    seed = full["seed"]
    if not (seed is None or (isinstance(seed, int) and seed >= 0)):
        raise ValueError(
            f"randomness: seed is an integer of at least 0, or None for another in every run, not {seed!r}"
        )
    return full


def _add_loaders(full: Config) -> None:
    """Tasks, samplers and evaluators of the data loaders; the test's are the validation's unless there are others."""
    tasks = {name: {k: v for k, v in task.items() if k != "decoder"} for name, task in full.tasks.items()}
    if full.get("test_dataloader") is None and full.get("val_dataloader") is not None:
        full.test_dataloader = copy.deepcopy(full.val_dataloader)
    for part in ("train", "val", "test"):
        loader = full.get(f"{part}_dataloader")
        if loader is None:
            continue
        loader.dataset["tasks"] = tasks
        _fill_dataset(loader.dataset, full, part)
        loader.setdefault("sampler", {"type": "EpochSampler", "shuffle": part == "train"})
        loader.setdefault("persistent_workers", bool(loader.get("num_workers")))
        if part != "train":
            full.setdefault(f"{part}_evaluator", {"type": "MultiTaskMetric", "tasks": tasks})
            full.setdefault(f"{part}_cfg", {})


def _default_hooks(full: Config, train: bool) -> dict[str, Any]:
    """`DEFAULT_HOOKS` with the config's changes; None removes a hook, MMEngine's own too."""
    hooks = copy.deepcopy(DEFAULT_HOOKS)
    hooks["delta_m"]["single_task"] = full.get("single_task")
    if not train:
        hooks = {name: hook for name, hook in hooks.items() if name in ("delta_m", "pictures", "logger", "cost")}
    for name, hook in (full.get("default_hooks") or {}).items():
        if train or name in hooks:
            hooks[name] = hook if hook is None or "type" in hook else {**hooks.get(name, {}), **hook}
    for name, hook in hooks.items():
        if hook is not None:
            check_hook(hook, f"default_hooks.{name}")
    hooks.setdefault("checkpoint", None)
    return {name: hook for name, hook in hooks.items() if hook is not None or name in _MMENGINE_HOOKS}


def _fill_dataset(dataset: ConfigDict, full: Config, part: str) -> None:
    """What a data set and its transforms share with the rest, by the names of their arguments.

    ``size`` is the encoder's, ``root`` the config's ``data_root``, ``seed`` the run's; ``targets`` of `Resize` follows
    from the protocol.
    """
    resized = part == "train" or full.get("protocol", "original") == "resized"
    shared = {
        "size": full.encoder.get("size"),
        "root": full.get("data_root"),
        "seed": full.randomness.seed,
        "targets": resized,
    }
    for registry, cfg in [(DATASETS, dataset), *((TRANSFORMS, step) for step in dataset.get("pipeline", ()))]:
        kind = cfg.get("type")
        target = type_of(cfg, registry) if kind else None
        accepted = inspect.signature(target).parameters if callable(target) else {}
        for name, value in shared.items():
            if name in accepted and value is not None:
                cfg.setdefault(name, value)
        if "root" in accepted and "root" not in cfg and accepted["root"].default is accepted["root"].empty:
            raise ValueError(f"{kind} needs to know where the data are: set data_root=FOLDER")
        check_part(cfg, registry, key=f"{part}_dataloader.dataset" + ("" if registry is DATASETS else ".pipeline"))
        if registry is DATASETS and isinstance(cfg.get("root"), str) and not Path(cfg.root).expanduser().is_dir():
            # before the encoder asks a hub for its weights
            raise ValueError(f"there is no data set at {cfg.root}: no such folder (working directory {Path.cwd()})")
        if part != "train" and cfg.get("targets", resized) != resized:
            raise ValueError(
                f"{part}_dataloader: {kind} has targets={cfg.targets}, the protocol is "
                f"{full.get('protocol', 'original')!r}; set protocol='{'original' if resized else 'resized'}' instead"
            )


def _without(cfg: Mapping[str, Any], key: str) -> dict[str, Any]:
    return {name: value for name, value in cfg.items() if name != key}


def _existing(path: str) -> str:
    if not os.path.isfile(path):
        raise ValueError(f"no checkpoint {path!r} to resume from")
    return path
