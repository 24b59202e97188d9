"""The plug points of `mtl`: one registry per kind of part, all in the scope ``mtl``.

``ENCODERS METHODS DECODERS TASKS`` are this framework's own; the others extend MMEngine's registries of the same
name, so that a config may name MMEngine's parts (``CheckpointHook``) and ours alike. Building is strict: an unknown
type or argument is a `ValueError` that lists the valid ones, and so is a value that is not of its annotation.
"""

from __future__ import annotations

import difflib
import inspect
import math
import types
import typing
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from mmengine import registry as mmengine_registry
from mmengine.registry import Registry, build_from_cfg


def choices(names: Iterable[str], wrong: str = "") -> str:
    """The valid names for an error message, with the nearest to ``wrong`` suggested first."""
    names = sorted(str(name) for name in names)
    lower = {name.lower(): name for name in names}
    near = difflib.get_close_matches(wrong.lower(), lower, n=1)
    hint = f"did you mean {lower[near[0]]!r}? " if near else ""
    return f"{hint}valid: {', '.join(names) or 'none'}"


def check_arguments(target: Any, arguments: Iterable[str], owner: str) -> None:
    """Raise `ValueError` where ``target`` does not accept one of ``arguments`` or misses a required one."""
    parameters = inspect.signature(target).parameters
    if any(p.kind is p.VAR_KEYWORD for p in parameters.values()):
        return
    arguments = set(arguments)
    unknown = sorted(arguments - set(parameters))
    if unknown:
        raise ValueError(f"{owner} has no argument {unknown[0]!r}; {choices(parameters, unknown[0])}")
    missing = [n for n, p in parameters.items() if p.default is p.empty and p.kind is not p.VAR_POSITIONAL]
    missing = [n for n in missing if n not in arguments]
    if missing:
        raise ValueError(f"{owner} needs the argument {missing[0]!r}")


def check_types(target: Any, arguments: Mapping[str, Any], owner: str) -> None:
    """Raise `ValueError` where an argument's value is not of its annotation, as far as `_fits` knows it."""
    try:
        parameters = inspect.signature(target, eval_str=True).parameters
    except NameError:  # a type that is imported for type checkers alone
        return
    for name, value in arguments.items():
        if name in parameters:
            check_value(value, parameters[name].annotation, f"{owner}: {name}")


def check_value(value: Any, hint: Any, name: str) -> None:
    """Raise `ValueError` where the value is not of the type ``hint``, as far as `_fits` knows it."""
    if not _fits(value, hint):
        raise ValueError(f"{name} is {_said(hint)}, not {value!r}")


_SAID = {
    bool: "True or False",
    int: "an integer",
    float: "a finite number",
    str: "a string",
    types.NoneType: "None",
    Mapping: "a dict",
    dict: "a dict",
    Sequence: "a list",
    list: "a list",
    tuple: "a list",
    Callable: "a class or function",
}
_LISTS = (Sequence, list, tuple)
_DICTS = (Mapping, dict)


def _said(hint: Any) -> str:
    """A hint that `_fits` knows, in words; without what only a program can hand over, if a config has a choice."""
    origin, parts = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        written = [part for part in parts if (typing.get_origin(part) or part) in (*_SAID, *_LISTS, *_DICTS)]
        return " or ".join(_said(part) for part in written or parts)
    if origin in _LISTS and parts:
        return f"a list (each {_said(parts[0])})"
    if origin is typing.Literal:
        return " or ".join(map(repr, parts))
    return _SAID.get(origin or hint, getattr(hint, "__name__", str(hint)))


def _fits(value: Any, hint: Any) -> bool:
    """Whether ``value`` is of a type, a list or dict, or a union of these; hints of other kinds fit anything."""
    origin, parts = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        return any(_fits(value, part) for part in parts)
    if origin is typing.Literal:
        return value in parts
    if (origin or hint) in _LISTS:  # a tuple's parts are of one type, as those of a config are
        return isinstance(value, (list, tuple)) and all(_fits(item, part) for part in parts[:1] for item in value)
    if (origin or hint) in _DICTS:
        return isinstance(value, Mapping)
    if (origin or hint) is Callable:
        return callable(value)
    if hint is float:
        return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
    if hint is int:
        return isinstance(value, int) and not isinstance(value, bool)
    if isinstance(hint, type) and hint is not inspect.Parameter.empty:
        return isinstance(value, hint)
    return True


def type_of(cfg: Mapping[str, Any], registry: Registry) -> Any:
    """The class or function that is the type of a part's config; None if none is registered by that name."""
    kind = cfg["type"]
    return (registry.get(kind) if kind else None) if isinstance(kind, str) else kind


def check_part(cfg: Any, registry: Registry, given: Iterable[str] = (), key: str = "") -> Any:
    """The `type_of` a part's config; `ValueError` unless it is known and takes the arguments.

    Args:
        given: names of the arguments that the builder adds.
        key: where in the config the part is.
    """
    where = f"{key}: " if key else ""
    if not isinstance(cfg, Mapping) or "type" not in cfg:
        name = key or f"a {registry.name}"
        raise ValueError(f"{name} is a dict with a type, not {cfg!r}; {choices(known_types(registry))}")
    kind, target = cfg["type"], type_of(cfg, registry)
    if not callable(target):
        raise ValueError(f"{where}unknown {registry.name} {kind!r}; {choices(known_types(registry), str(kind))}")
    args = {name: value for name, value in cfg.items() if name not in ("type", "_scope_")}
    owner = f"{where}{registry.name} {kind if isinstance(kind, str) else target.__name__}"
    check_arguments(target, [*args, *given], owner)
    check_types(target, args, owner)
    return target


def known_types(registry: Registry) -> dict[str, Any]:
    """The types that a config may name: the registry's own, and MMEngine's that it extends."""
    parent = registry.parent.module_dict if registry.parent is not None else {}
    return {**parent, **registry.module_dict}


def _build(cfg: dict, registry: Registry, default_args: dict | None = None) -> Any:
    """`build_from_cfg` with the type and the arguments checked first."""
    check_part({**(default_args or {}), **cfg} if isinstance(cfg, Mapping) else cfg, registry)
    try:
        return build_from_cfg(cfg, registry, default_args)
    except (TypeError, AttributeError, AssertionError, KeyError, IndexError, ZeroDivisionError) as error:
        # an argument of the wrong type fails wherever it is first used
        raise ValueError(f"{registry.name} {cfg.get('type')}: {error or type(error).__name__}") from error


def _child(name: str, parent: Registry | None = None) -> Registry:
    return Registry(name, parent=parent, scope="mtl", build_func=_build)


ENCODERS = _child("encoder")
METHODS = _child("method")
DECODERS = _child("decoder")
TASKS = _child("task")

MODELS = _child("model", mmengine_registry.MODELS)
DATASETS = _child("dataset", mmengine_registry.DATASETS)
DATA_SAMPLERS = _child("data sampler", mmengine_registry.DATA_SAMPLERS)
TRANSFORMS = _child("transform", mmengine_registry.TRANSFORMS)
METRICS = _child("metric", mmengine_registry.METRICS)
HOOKS = _child("hook", mmengine_registry.HOOKS)
LOOPS = _child("loop", mmengine_registry.LOOPS)
OPTIM_WRAPPERS = _child("optim wrapper", mmengine_registry.OPTIM_WRAPPERS)
MODEL_WRAPPERS = _child("model wrapper", mmengine_registry.MODEL_WRAPPERS)

for _parent in (
    mmengine_registry.OPTIMIZERS,
    mmengine_registry.OPTIM_WRAPPER_CONSTRUCTORS,
    mmengine_registry.PARAM_SCHEDULERS,
    mmengine_registry.RUNNERS,
    mmengine_registry.EVALUATOR,
    mmengine_registry.VISUALIZERS,
    mmengine_registry.VISBACKENDS,
    mmengine_registry.LOG_PROCESSORS,
    mmengine_registry.FUNCTIONS,
    mmengine_registry.WEIGHT_INITIALIZERS,
):
    # nothing of ours: the scope must exist in each, or MMEngine warns at every look-up
    Registry(_parent.name, parent=_parent, scope="mtl")
