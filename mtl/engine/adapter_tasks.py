"""Adapter files of some of the tasks: one model taken apart by task, and files of one base put together.

A file of fewer tasks holds those tasks' slices of what is stacked by task, their decoders, and everything that the
tasks share. Putting files together needs the shared part to be the same in all of them: a method that trains one (a
hypernetwork) can only be put together from files of one training.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mtl.engine.adapter_file import read_meta, read_state, with_defaults, write_adapter
from mtl.registry import ENCODERS, METHODS, choices
from mtl.utils.text import some_of


@dataclass(frozen=True)
class Adapters:
    """An adapter file's content.

    Attributes:
        where: the file, for messages.
        meta: base, config, stacked, copies, as `mtl.engine.adapter_file` says.
        state: the tensors.
    """

    where: str
    meta: dict[str, Any]
    state: dict[str, Tensor]

    @property
    def tasks(self) -> list[str]:
        return list(self.meta["config"]["tasks"])

    @property
    def method(self) -> str:
        return str(self.meta["config"]["method"]["type"]).rpartition(".")[2]

    def part(self, name: str) -> str:
        """What a tensor belongs to: "stacked", "shared", or the task that has it to itself."""
        if name in self.meta["stacked"]:
            return "stacked"
        for prefix, names in (("decoders.", self.tasks), (self.meta["copies"], [*map(str, range(len(self.tasks)))])):
            if prefix and name.startswith(prefix):
                own = name[len(prefix) :].partition(".")[0]
                if own not in names:
                    raise ValueError(f"{self.where} is damaged: {name!r} belongs to none of its tasks")
                return self.tasks[names.index(own)]
        return "shared"


def read_adapters(path: Path) -> Adapters:
    """An adapter file; `ValueError` where it is none or damaged. Nothing in it is run."""
    if not path.is_file():
        raise ValueError(f"no adapter file {str(path)!r}")
    meta, state = read_meta(path), read_state(path)
    adapters = Adapters(str(path), {key: meta[key] for key in ("base", "config", "stacked", "copies")}, state)
    wrong = [name for name in meta["stacked"] if name not in state or state[name].shape[:1] != (len(adapters.tasks),)]
    if wrong:
        raise ValueError(f"{path} is damaged: {wrong[0]!r} is not there for each of {', '.join(adapters.tasks)}")
    for name in state:
        adapters.part(name)
    return adapters


def select(adapters: Adapters, tasks: Sequence[str]) -> Adapters:
    """The adapters of some of the tasks, in this order."""
    _check_known(adapters, tasks)
    if len(set(tasks)) < len(tasks) or not tasks:
        raise ValueError(f"tasks are named once each and at least one, not {list(tasks)}")
    rows = [adapters.tasks.index(task) for task in tasks]
    state = {}
    for name, value in adapters.state.items():
        part = adapters.part(name)
        if part == "stacked":
            state[name] = value[rows].contiguous()
        elif part == "shared":
            state[name] = value
        elif part in tasks:
            state[_renumbered(name, adapters.meta["copies"], tasks.index(part))] = value
    config = adapters.meta["config"]
    own = {task: config["tasks"][task] for task in tasks}
    return Adapters(adapters.where, {**adapters.meta, "config": {**config, "tasks": own}}, state)


def remove(adapters: Adapters, tasks: Sequence[str]) -> Adapters:
    """The adapters of the other tasks."""
    _check_known(adapters, tasks)
    rest = [task for task in adapters.tasks if task not in tasks]
    if not rest:
        raise ValueError(f"nothing is left of {adapters.where} without {', '.join(tasks)}")
    return select(adapters, rest)


def combine(files: Sequence[Adapters]) -> Adapters:
    """One model's adapters of those of several, tasks in the files' order; `ValueError` where they do not fit."""
    first, *others = files
    for other in others:
        _check_same(first, other)
    tasks = [task for file in files for task in file.tasks]
    twice = [task for task in tasks if tasks.count(task) > 1]
    if twice:
        both = [file.where for file in files if twice[0] in file.tasks]
        raise ValueError(f"the task {twice[0]!r} is in {' and in '.join(both)}; remove it from one of them")
    state = {name: value for name, value in first.state.items() if first.part(name) == "shared"}
    for name in first.meta["stacked"]:
        state[name] = torch.cat([file.state[name] for file in files])
    for file in files:
        for name, value in file.state.items():
            part = file.part(name)
            if part not in ("stacked", "shared"):
                state[_renumbered(name, file.meta["copies"], tasks.index(part))] = value
    config = {**first.meta["config"], "tasks": _task_configs(files)}
    return Adapters(", ".join(file.where for file in files), {**first.meta, "config": config}, state)


def write(adapters: Adapters, path: Path) -> None:
    """Write an adapter file; nothing is written over."""
    check_new(path)
    write_adapter(path, adapters.state, adapters.meta)


def check_new(path: Path) -> None:
    """Raise `ValueError` unless an adapter file of this name can be written without replacing anything."""
    if path.suffix != ".safetensors":
        raise ValueError(f"an adapter file is a .safetensors file, not {str(path)!r}")
    if os.path.lexists(path):  # a link to nowhere is replaced like any file
        raise ValueError(f"{path} exists; nothing is written over it: name another or delete it")
    for folder in path.parents:
        if folder.exists() and not folder.is_dir():
            raise ValueError(f"{folder} is no folder")


def describe(adapters: Adapters) -> str:
    """What is in the file, in a few lines."""
    sizes: dict[str, int] = {"stacked": 0, "shared": 0, **dict.fromkeys(adapters.tasks, 0)}
    for name, value in adapters.state.items():
        sizes[adapters.part(name)] += value.numel()
    encoder, method = adapters.meta["config"]["encoder"], adapters.meta["config"]["method"]
    options = ", ".join(f"{key}={value!r}" for key, value in method.items() if key != "type")
    rows = [("for each task", sizes["stacked"] // len(adapters.tasks)), ("shared by the tasks", sizes["shared"])]
    rows += [(f"{task} alone", sizes[task]) for task in adapters.tasks]
    lines = [
        adapters.where,
        f"  encoder  {encoder['name']}, weights {encoder.get('weights')!r}, fingerprint {adapters.meta['base']}",
        f"  method   {adapters.method}" + (f" ({options})" if options else ""),
        f"  tasks    {', '.join(adapters.tasks)}",
        *(f"  {what:<24}{count:>12,} values" for what, count in rows),
    ]
    return "\n".join(lines)


def _check_known(adapters: Adapters, tasks: Sequence[str]) -> None:
    unknown = [task for task in tasks if task not in adapters.tasks]
    if unknown:
        raise ValueError(f"{adapters.where} has no task {unknown[0]!r}; {choices(adapters.tasks, unknown[0])}")


def _check_same(one: Adapters, other: Adapters) -> None:
    """Raise `ValueError` unless two files are of the same base, method and options, and share the same weights."""
    where = f"{one.where} and {other.where} cannot be put together"
    configs = one.meta["config"], other.meta["config"]
    if one.meta["base"] != other.meta["base"]:
        names = [f"{c['encoder']['name']} {file.meta['base']}" for c, file in zip(configs, (one, other), strict=True)]
        raise ValueError(f"{where}: they were trained on other base weights ({' and '.join(names)})")
    for key, registry in (("method", METHODS), ("encoder", ENCODERS)):
        ours, theirs = (with_defaults(config[key], registry) for config in configs)
        for option in ["type", *ours, *theirs]:
            # the same base weights may lie elsewhere
            if ours.get(option) != theirs.get(option) and (key, option) != ("encoder", "weights"):
                raise ValueError(f"{where}: {key} {option}={ours.get(option)!r} and {theirs.get(option)!r}")
    if set(one.meta["stacked"]) != set(other.meta["stacked"]) or one.meta["copies"] != other.meta["copies"]:
        raise ValueError(f"{where}: other parameters of theirs are stacked by task")
    for name in one.meta["stacked"]:
        shapes = [tuple(file.state[name].shape[1:]) for file in (one, other)]
        if shapes[0] != shapes[1]:
            raise ValueError(f"{where}: {name!r} is {shapes[0]} and {shapes[1]} for each task")
    ours, theirs = ({n: v for n, v in file.state.items() if file.part(n) == "shared"} for file in (one, other))
    differ = [n for n in {**ours, **theirs} if n not in ours or n not in theirs or not torch.equal(ours[n], theirs[n])]
    if differ:
        raise ValueError(
            f"{where}: {one.method} trains weights that all tasks share, and theirs differ "
            f"({some_of(map(repr, differ), 1)}); "
            "only files of one training fit, or train the tasks together"
        )


def _task_configs(files: Sequence[Adapters]) -> dict[str, Any]:
    """The tasks' configs; each names its decoder where the files' decoders are not the same."""
    decoders = [file.meta["config"].get("decoder") for file in files]
    tasks: dict[str, Any] = {}
    for file, decoder in zip(files, decoders, strict=True):
        for name, task in file.meta["config"]["tasks"].items():
            same = "decoder" in task or decoder == decoders[0]
            tasks[name] = task if same else {**task, "decoder": decoder or {"type": "AllMLP"}}
    return tasks


def _renumbered(name: str, copies: str, number: int) -> str:
    """A tensor's name in a file where its task has this number; decoders go by the task's name."""
    if not copies or not name.startswith(copies):
        return name
    return f"{copies}{number}.{name[len(copies) :].partition('.')[2]}"
