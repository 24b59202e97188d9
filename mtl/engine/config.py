"""Reading a config file: every key is known, or an error says which there are.

A config names ``encoder``, ``method``, ``decoder`` and ``tasks`` once; the model, the data sets and the evaluator get
them from there (`mtl.engine.build`). Everything else is MMEngine's.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mmengine.config import Config
from mmengine.runner import Runner

from mtl.models.multitask import check_task_name
from mtl.registry import choices

OWN_KEYS = {
    "encoder": "config of the encoder",
    "method": "config of the method",
    "decoder": "config of every task's decoder",
    "tasks": "task name to its config",
    "model": "further arguments of MultiTaskModel",
    "data_root": "folder of the data set, for data sets whose config names none",
    "protocol": "'original' or 'resized': the resolution that metrics are computed at",
    "single_task": "single-task scores that Δm is relative to",
    "custom_imports": "modules that register further parts",
    "stored_results": "results to print beside this run's",
}

PROTOCOLS = ("original", "resized")


def read_config(path: str | Path, options: Mapping[str, Any] | None = None) -> Config:
    """The config file with ``options`` (dotted keys) merged in; `ValueError` names what is wrong.

    Another ``method.type`` than the file's starts from that method's defaults.
    """
    path = Path(path)
    if not path.is_file():
        near = sorted(str(p) for p in path.parent.glob("*.py")) if path.parent.is_dir() else []
        raise ValueError(f"no config {str(path)!r}" + (f"; in its folder: {', '.join(near)}" if near else ""))
    try:
        cfg = Config.fromfile(str(path), import_custom_modules=False)
    except SyntaxError as error:
        where = error.filename if error.filename and Path(error.filename).is_file() else path
        raise ValueError(f"{where}, line {error.lineno}: {error.msg}") from error
    except (Exception, SystemExit) as error:  # a config is a program
        raise ValueError(f"config {path} fails: {type(error).__name__}: {error}") from error
    # plain values, classes as their import paths, without what the file imported and its variables (_name)
    keys = {key: value for key, value in cfg.to_dict().items() if not key.startswith("_")}
    cfg = Config(keys, filename=str(path))
    _check_keys(cfg, f"config {path.name}")
    if options:
        _check_keys({key.partition(".")[0]: None for key in options}, "--cfg-options")
        if options.get("method.type", cfg.get("method", {}).get("type")) != cfg.get("method", {}).get("type"):
            cfg.method = {}  # its arguments are those of the config's method
        cfg.merge_from_dict(dict(options))
    for key in ("encoder", "method", "tasks"):
        if not cfg.get(key):
            raise ValueError(f"config {path.name} lacks {key!r}: {OWN_KEYS[key]}")
        if not isinstance(cfg[key], Mapping):
            raise ValueError(f"{key} is a dict ({OWN_KEYS[key]}), not {cfg[key]!r}")
    for name, task in cfg.tasks.items():
        check_task_name(name)
        if not isinstance(task, Mapping):
            raise ValueError(f"tasks[{name!r}] is a task's config, a dict with a type, not {task!r}")
    if cfg.get("protocol", "original") not in PROTOCOLS:
        raise ValueError(f"unknown protocol {cfg.protocol!r}; {choices(PROTOCOLS, str(cfg.protocol))}")
    return cfg


def _check_keys(keys: Mapping[str, Any], where: str) -> None:
    known = {*OWN_KEYS, *inspect.signature(Runner.__init__).parameters, "work_dir"} - {
        "self",
        "cfg",
        "data_preprocessor",
    }
    for key in keys:
        if key not in known:
            raise ValueError(f"{where}: unknown key {key!r}; {choices(known, key)}")
