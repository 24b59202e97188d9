"""Reading a config file: every key is known, or an error says which there are.

A config names ``encoder``, ``method``, ``decoder`` and ``tasks`` once; the model, the data sets and the evaluator get
them from there (`mtl.engine.build`). Everything else is MMEngine's.
"""

from __future__ import annotations

import ast
import inspect
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mmengine.config import Config
from mmengine.runner import Runner

from mtl.models.multitask import check_task_name
from mtl.registry import check_value, choices

_OWN_TYPES = {
    **dict.fromkeys(("encoder", "method", "tasks"), dict),
    **dict.fromkeys(("decoder", "model", "custom_imports"), dict | None),
    **dict.fromkeys(("data_root", "stored_results"), str | None),
    **dict.fromkeys(("label", "protocol", "work_dir"), str),
    "single_task": dict | str | None,
}

OWN_KEYS = {
    "encoder": "config of the encoder",
    "method": "config of the method",
    "label": "what tables and plots call the run; by default the method's type",
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


def read_config(path: str | Path, options: Mapping[str, Any] | None = None, method: str | Path | None = None) -> Config:
    """The config file with ``options`` (dotted keys) merged in; `ValueError` names what is wrong.

    Another ``method.type`` than the file's starts from that method's defaults.

    Args:
        path: the config file.
        options: merged into it at last.
        method: a file whose keys replace the config's, or the name of one in a ``_base_/methods`` beside or above it.
    """
    path = Path(path)
    # MMEngine formats its text three times a run, and yapf takes 0.4 s for each, 4 s with long paths in it
    cfg = Config(_read_keys(path), filename=str(path), format_python_code=False)
    if method is not None:
        file = method_file(path, method)
        keys = _read_keys(file)
        if not isinstance(keys.get("method"), Mapping):
            raise ValueError(f"{file} holds no method: method = dict(type=NAME, ...)")
        for key, value in {"label": file.stem, **keys}.items():
            cfg[key] = value
        cfg.setdefault("work_dir", str(default_work_dir(path)) + f"_{file.stem}")
    if options:
        _check_keys({key.partition(".")[0]: None for key in options}, "--cfg-options")
        own = cfg.method.get("type") if isinstance(cfg.get("method"), Mapping) else None
        if options.get("method.type", own) != own:
            cfg.method = {}  # its arguments are those of the config's method
        try:
            cfg.merge_from_dict(dict(options))
        except (AttributeError, IndexError, KeyError, TypeError) as error:
            raise ValueError(
                f"--cfg-options {', '.join(options)}: below a value that is no dict are no keys"
            ) from error
    for key in ("encoder", "method", "tasks"):
        if not cfg.get(key):
            raise ValueError(f"config {path.name} lacks {key!r}: {OWN_KEYS[key]}")
    _check_values(cfg)
    for name, task in cfg.tasks.items():
        check_task_name(name)
        if not isinstance(task, Mapping):
            raise ValueError(f"tasks[{name!r}] is a task's config, a dict with a type, not {task!r}")
    if cfg.get("protocol", "original") not in PROTOCOLS:
        raise ValueError(f"unknown protocol {cfg.protocol!r}; {choices(PROTOCOLS, str(cfg.protocol))}")
    return cfg


def method_file(config: Path, name: str | Path) -> Path:
    """The file of a method for ``config``: ``name`` itself, or ``_base_/methods/<name>.py`` beside or above it."""
    if Path(name).suffix == ".py":
        return Path(name)
    files = method_files(config)
    if str(name) not in files:
        raise ValueError(f"no method {str(name)!r} for {config}; {choices(files, str(name))}, or a .py file")
    return files[str(name)]


def method_files(config: Path) -> dict[str, Path]:
    """The methods' files for ``config`` by their names."""
    folders = [parent / "_base_" / "methods" for parent in config.resolve().parents]
    return {file.stem: file for folder in reversed(folders) if folder.is_dir() for file in folder.glob("*.py")}


def default_work_dir(config: Path) -> Path:
    """``work_dirs/<the config's path below configs, or its name>``."""
    parts = config.with_suffix("").parts
    below = parts[len(parts) - parts[::-1].index("configs") :] if "configs" in parts[:-1] else parts[-1:]
    return Path("work_dirs", *below)


def _read_keys(path: Path) -> dict[str, Any]:
    """The keys of a config file as plain values; `ValueError` names what is wrong with it."""
    if not path.is_file():
        near = sorted(str(p) for p in path.parent.glob("*.py")) if path.parent.is_dir() else []
        raise ValueError(f"no config {str(path)!r}" + (f"; in its folder: {', '.join(near)}" if near else ""))
    try:
        cfg = Config.fromfile(str(path), import_custom_modules=False)
    except SyntaxError as error:
        where = error.filename if error.filename and Path(error.filename).is_file() else path
        raise ValueError(_no_config(path) or f"{where}, line {error.lineno}: {error.msg}") from error
    except (Exception, SystemExit) as error:  # a config is a program
        why = f"{type(error).__name__}: {error}"
        if isinstance(error, RuntimeError) and not str(error):  # MMEngine's, which imports a config's names later
            why = "it calls what it imports, which a config cannot: name it as type=..."
        raise ValueError(_no_config(path) or f"config {path} fails: {why}") from error
    # classes as their import paths, without what the file imported and its variables (_name)
    keys = {key: value for key, value in cfg.to_dict().items() if not key.startswith("_")}
    try:
        _check_keys(keys, f"config {path.name}")
    except ValueError as error:
        raise ValueError(_no_config(path) or str(error)) from error
    return keys


def _no_config(path: Path) -> str:
    """Why a file that cannot be read as a config is none: it is a module of parts; empty where it looks like one."""
    try:
        body = ast.parse(path.read_bytes()).body
    except (SyntaxError, ValueError):
        return ""
    if any(isinstance(node, ast.ClassDef) and not node.name.startswith("_") for node in body):
        module = f"custom_imports = dict(imports=[{path.stem!r}])"
        return f"{path} defines classes and is no config: name it in one as a module, {module}"
    if any(isinstance(node, ast.ImportFrom) and node.module == "__future__" for node in body):
        return f"{path}: a config cannot import from __future__"
    return ""


def _check_keys(keys: Mapping[str, Any], where: str) -> None:
    known = {*OWN_KEYS, *_runner_keys(), "work_dir"}
    for key in keys:
        if key not in known:
            raise ValueError(f"{where}: unknown key {key!r}; {choices(known, key)}")


def _runner_keys() -> Mapping[str, inspect.Parameter]:
    """The arguments of MMEngine's runner that a config may set; `mtl.engine.build` sets the others."""
    own = {"self", "cfg", "data_preprocessor", "launcher", "default_scope", "resume"}
    return {key: value for key, value in inspect.signature(Runner.__init__).parameters.items() if key not in own}


def _check_values(cfg: Config) -> None:
    """Raise `ValueError` where a top-level key has a value of another type than it takes."""
    hints = {key: parameter.annotation for key, parameter in _runner_keys().items()}
    for key, value in cfg.items():
        check_value(value, {**hints, "log_level": int | str, **_OWN_TYPES}[key], key)
    imports = cfg.get("custom_imports") or {}
    check_value(imports.get("imports", []), str | Sequence[str], "custom_imports.imports")
    check_value(imports.get("allow_failed_imports", False), bool, "custom_imports.allow_failed_imports")
