"""What files may say: every kind of file that a model or a training comes from, with its keys, types and bounds.

A file is data, whoever wrote it. What is read here is checked before anything is built of it; a `ValueError` says what
is wrong without the file's name, which the reader adds. Results have `mtl.evaluation.result_file`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from mmengine.registry import Registry
from torch import Tensor

from mtl.models.multitask import check_task_name
from mtl.registry import DECODERS, ENCODERS, METHODS, MODELS, TASKS, check_part, choices, known_types
from mtl.utils.plain import check_keys, check_plain, is_number, read_json
from mtl.utils.text import short

LARGEST_NUMBER = 1_000_000
"""Of an integer in a model's config."""

LARGEST_SIDE = 16_384
"""Pixels of an encoder's size."""

MOST_TASKS = 1000

MODEL = ("encoder", "method", "tasks")
"""The keys of a model's config; it may have a ``decoder``."""

ADAPTER = ("format", "base", "copies", "config", "stacked", "digest", "seal")
MERGED = ("format", "base", "config", "paths", "digest", "seal")
"""The metadata of an adapter file and of a merged model."""

CHECKPOINT = ("state_dict", "meta", "build", "digest")
TRAINING = ("optimizer", "param_schedulers", "settings", "identity", "best", "validated")
"""The keys of a checkpoint: those of every one, and those that a training goes on from. Hooks may add more."""

META = ("epoch", "iter")
META_OF_TRAINING = ("seed",)
"""The keys of a checkpoint's ``meta``. MMEngine runs a further one, ``config``, as a program."""

BEST = ("metric", "value", "epoch", "iter")
"""The keys of what a checkpoint says of the best validation."""

MANIFEST = ("tasks",)
MANIFEST_DONE = ("inputs", "problems")
"""The keys of ``predictions.json``: from the start on, and those that a finished prediction adds."""


def check_model_config(config: Any) -> None:
    """Raise `ValueError` unless ``config`` has the form of a model's: parts with types, names and bounded numbers."""
    check_keys(config, "the model's config", MODEL, ["decoder"])
    check_plain(config, "config", _check_number)
    tasks = config["tasks"]
    if not isinstance(tasks, Mapping) or not tasks:
        raise ValueError(f"config.tasks is a dict of tasks, not {short(repr(tasks))}")
    if len(tasks) > MOST_TASKS:
        raise ValueError(f"config.tasks has {len(tasks)} tasks; the limit is {MOST_TASKS}")
    for name in tasks:
        check_task_name(name)
    for where, _, part in _parts(config):
        if not isinstance(part, Mapping) or not isinstance(part.get("type"), str):
            raise ValueError(f"config.{where} is a dict with a type, not {short(repr(part))}")
    encoder = config["encoder"]
    if not isinstance(encoder.get("name"), str):
        raise ValueError(f"config.encoder.name is a string, not {short(repr(encoder.get('name')))}")
    size = encoder.get("size", ())
    if not isinstance(size, Sequence) or not all(isinstance(side, int) and side <= LARGEST_SIDE for side in size):
        raise ValueError(f"config.encoder.size is two integers of at most {LARGEST_SIDE:,}, not {short(repr(size))}")


def _check_number(where: str, value: Any) -> None:
    if isinstance(value, float) and not is_number(value):
        raise ValueError(f"{short(where)} is a finite number, not {value!r}")
    if isinstance(value, int) and abs(value) > LARGEST_NUMBER:
        raise ValueError(f"{short(where)} is {value}; the limit is {LARGEST_NUMBER:,}")


def _parts(config: Mapping[str, Any]) -> Iterator[tuple[str, Registry, Any]]:
    """Where each part of a model's config is, whose it is, and its config."""
    yield "encoder", ENCODERS, config["encoder"]
    yield "method", METHODS, config["method"]
    if config.get("decoder") is not None:
        yield "decoder", DECODERS, config["decoder"]
    for name, task in config["tasks"].items():
        own = {key: value for key, value in task.items() if key != "decoder"} if isinstance(task, Mapping) else task
        yield f"tasks.{name}", TASKS, own
        if isinstance(task, Mapping) and "decoder" in task:
            yield f"tasks.{name}.decoder", DECODERS, task["decoder"]


def check_parts(config: Mapping[str, Any]) -> None:
    """Raise `ValueError` unless the parts of a `check_model_config` config are registered and take their arguments.

    MMEngine would import and call any other name.
    """
    for _, registry, part in _parts(config):
        if not _known(part["type"], registry):
            raise ValueError(
                f"it needs the {registry.name} {part['type']!r}, which no package or custom import registers "
                f"(--custom-imports MODULE names a module of your own); {choices(registry.module_dict, part['type'])}"
            )
        for kind in _types(list(part.values())):
            if not any(_known(kind, other) for other in (ENCODERS, METHODS, DECODERS, TASKS, MODELS)):
                raise ValueError(f"it needs {kind!r}, which no package or custom import registers")
        given = ["in_channels", "out_channels", "input_norm"] if registry is DECODERS else []
        check_part(part, registry, given)


def _known(kind: Any, registry: Registry) -> bool:
    """Whether ``kind`` names a registered class, or is its import path."""
    known = known_types(registry)
    return isinstance(kind, str) and (
        kind in known or kind in {f"{c.__module__}.{c.__qualname__}" for c in known.values()}
    )


def _types(value: Any) -> Iterator[Any]:
    """Every "type" inside ``value``."""
    if isinstance(value, Mapping):
        if "type" in value:
            yield value["type"]
        value = list(value.values())
    if isinstance(value, list):
        for item in value:
            yield from _types(item)


def check_metadata(meta: Any, keys: Sequence[str]) -> None:
    """Raise `ValueError` unless the decoded metadata of an adapter file or merged model have these ``keys``."""
    check_keys(meta, "its metadata", keys)
    check_model_config(meta["config"])
    if not re.fullmatch(r"[\w.:-]{1,80}", meta["base"]):
        raise ValueError(f"base is a fingerprint, not {short(repr(meta['base']))}")
    tasks = list(meta["config"]["tasks"])
    if "copies" in keys and not re.fullmatch(r"([A-Za-z_]\w*\.)*", meta["copies"]):
        raise ValueError(f"copies is a prefix of names, not {short(repr(meta['copies']))}")
    if "stacked" in keys:
        names = meta["stacked"]
        if not isinstance(names, list) or not all(isinstance(n, str) for n in names) or len(set(names)) < len(names):
            raise ValueError(f"stacked is a list of names, not {short(repr(names))}")
    if "paths" in keys:
        paths = meta["paths"]
        if not isinstance(paths, list) or not all(isinstance(path, list) and path for path in paths):
            raise ValueError(f"paths is a list of lists of tasks, not {short(repr(paths))}")
        if sorted((task for path in paths for task in path), key=repr) != sorted(tasks):
            raise ValueError("its paths are not of its tasks")


def check_checkpoint(checkpoint: Mapping[str, Any]) -> None:
    """Raise `ValueError` unless this is what a full checkpoint holds; whether it is undamaged its digest says."""
    if "message_hub" in checkpoint:
        raise ValueError("it has a message_hub, which is no part of a checkpoint")
    state = checkpoint.get("state_dict")
    if not isinstance(state, Mapping) or not all(isinstance(value, Tensor) for value in state.values()):
        raise ValueError("it has no state_dict of tensors")
    if missing := [key for key in CHECKPOINT if key not in checkpoint]:
        raise ValueError(f"it has no {missing[0]!r}")
    check_plain(checkpoint)
    meta = checkpoint["meta"]
    check_keys(meta, "meta", META, META_OF_TRAINING)
    for key in META:
        if not _is_count(meta[key]):
            raise ValueError(f"meta.{key} is an integer of at least 0, not {short(repr(meta[key]))}")
    seed = meta.get("seed")
    if seed is not None and not (_is_count(seed) and seed < 2**32):
        raise ValueError(f"meta.seed is an integer from 0 to {2**32 - 1}, not {short(repr(seed))}")
    check_model_config(checkpoint["build"])
    kinds: dict[str, Any] = {
        **dict.fromkeys(("optimizer", "settings", "identity", "cost"), dict),
        **{"param_schedulers": list, "validated": bool},
    }
    for key, kind in kinds.items():
        if not isinstance(checkpoint.get(key, kind()), kind):
            raise ValueError(f"{key} is a {kind.__name__}, not {short(repr(checkpoint[key]))}")
    cost = checkpoint.get("cost", {})
    if cost:
        check_keys(cost, "cost", ["seconds", "steps", "starts", "peak"])
        if wrong := [key for key, value in cost.items() if not (is_number(value) and value >= 0)]:
            raise ValueError(f"cost.{wrong[0]} is a number of at least 0, not {short(repr(cost[wrong[0]]))}")
    if (best := checkpoint.get("best")) is not None:
        check_keys(best, "best", BEST)
        named = isinstance(best["metric"], str) and is_number(best["value"])
        if not (named and _is_count(best["epoch"]) and _is_count(best["iter"])):
            raise ValueError(f"best is a metric, its value, epoch and iter, not {short(repr(best))}")
    first = checkpoint.get("first_scores")
    if first is not None and not (isinstance(first, Mapping) and all(isinstance(v, float) for v in first.values())):
        raise ValueError(f"first_scores is a number for each task or None, not {short(repr(first))}")


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def read_manifest(path: Path) -> dict[str, Any]:
    """A ``predictions.json``."""
    manifest = read_json(path)
    check_keys(manifest, "it", MANIFEST, MANIFEST_DONE)
    if not isinstance(manifest["tasks"], list):
        raise ValueError(f"its tasks are a list of names, not {short(repr(manifest['tasks']))}")
    for name in manifest["tasks"]:
        check_task_name(name)
    return manifest
