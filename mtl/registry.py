"""The plug points of `mtl`: one registry per kind of part, all in the scope ``mtl``.

``ENCODERS METHODS DECODERS TASKS`` are this framework's own; the others extend MMEngine's registries of the same
name, so that a config may name MMEngine's parts (``CheckpointHook``) and ours alike. Building is strict: an unknown
type or argument is a `ValueError` that lists the valid ones. Arguments of encoders, methods, decoders and tasks are
checked by their annotations too.
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
        hint = parameters[name].annotation if name in parameters else Any
        if not _fits(value, hint):
            raise ValueError(f"{owner}: {name} is {_said(hint)}, not {value!r}")


_SAID = {
    bool: "True or False",
    int: "an integer",
    float: "a finite number",
    str: "a string",
    types.NoneType: "None",
    Mapping: "a dict",
    Callable: "a class or function",
}


def _said(hint: Any) -> str:
    """A hint that `_fits` knows, in words."""
    origin, parts = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        return " or ".join(_said(part) for part in parts)
    if origin in (Sequence, tuple):
        return f"a list (each {_said(parts[0])})"
    return _SAID.get(origin or hint, str(hint))


def _fits(value: Any, hint: Any) -> bool:
    """Whether ``value`` is of a scalar type, a sequence or mapping, or a union of these; other hints fit anything."""
    origin = typing.get_origin(hint)
    if origin in (typing.Union, types.UnionType):
        return any(_fits(value, part) for part in typing.get_args(hint))
    if origin in (Sequence, tuple):  # a tuple's parts are of one type, as those of a config are
        return isinstance(value, (list, tuple)) and all(_fits(item, typing.get_args(hint)[0]) for item in value)
    if origin is Callable:
        return callable(value)
    if origin is Mapping:
        return isinstance(value, Mapping)
    if hint is float:
        return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
    if hint is int:
        return isinstance(value, int) and not isinstance(value, bool)
    if hint in (bool, str, types.NoneType):
        return isinstance(value, hint)
    return True


def check_part(cfg: Mapping[str, Any], registry: Registry, given: Iterable[str] = ()) -> None:
    """Raise `ValueError` unless ``cfg`` names a known type of ``registry`` with arguments that it takes.

    ``given`` names the arguments that the builder adds.
    """
    args = {key: value for key, value in cfg.items() if key != "_scope_"}
    if "type" not in args:
        raise ValueError(f"a {registry.name} config needs a 'type'; {choices(_names(registry))}")
    kind = args.pop("type")
    target = registry.get(kind) if isinstance(kind, str) else kind
    if target is None or not (callable(target)):
        raise ValueError(f"unknown {registry.name} {kind!r}; {choices(_names(registry), kind)}")
    owner = f"{registry.name} {kind if isinstance(kind, str) else target.__name__}"
    check_arguments(target, [*args, *given], owner)
    if registry in (ENCODERS, METHODS, DECODERS, TASKS):
        check_types(target, args, owner)


def _names(registry: Registry) -> set[str]:
    """The types that a config may name: the registry's own, and MMEngine's that it extends."""
    parent = registry.parent.module_dict if registry.parent is not None else {}
    return {*registry.module_dict, *parent}


def _build(cfg: dict, registry: Registry, default_args: dict | None = None) -> Any:
    """`build_from_cfg` with the type and the arguments checked first."""
    if not isinstance(cfg, Mapping):
        raise ValueError(f"a {registry.name} config is a dict with a 'type', not {cfg!r}")
    check_part({**(default_args or {}), **cfg}, registry)
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
OPTIM_WRAPPERS = _child("optim wrapper", mmengine_registry.OPTIM_WRAPPERS)
MODEL_WRAPPERS = _child("model wrapper", mmengine_registry.MODEL_WRAPPERS)

for _parent in (
    mmengine_registry.OPTIMIZERS,
    mmengine_registry.OPTIM_WRAPPER_CONSTRUCTORS,
    mmengine_registry.PARAM_SCHEDULERS,
    mmengine_registry.LOOPS,
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
