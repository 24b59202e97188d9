"""Finding results and reading them; what cannot be read is told, never left out in silence."""

from __future__ import annotations

import glob
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from mtl.evaluation.delta_m import delta_m
from mtl.evaluation.result_file import read_result
from mtl.utils.files import open_regular
from mtl.utils.text import some_of

NAMES = ("result.json", "test.json")
"""Of a run folder's result, the first that is there."""


@dataclass(frozen=True)
class Run:
    """One result, as its file has it.

    Attributes:
        path: the JSON file.
        result: its content, as `mtl.evaluation.result_file.read_result` gives it.
        config: the text of the run's config.
    """

    path: Path
    result: dict[str, Any]
    config: str

    @property
    def settings(self) -> dict[str, Any]:
        """The run's config as plain values."""
        return self.result["settings"]

    @property
    def is_test(self) -> bool:
        return "checkpoint" in self.result

    @property
    def label(self) -> str:
        """What tables and plots call it."""
        return self.result.get("label") or self.result["method"]

    def metric(self, task: str) -> str:
        """The name of a task's main metric."""
        return self.result["main_metric"][task]

    def unit(self, task: str) -> str:
        return self.result["unit"][task]


@dataclass
class Found:
    """What `gather` found: the runs, what is broken as ``(place, reason)``, and remarks on what was left out."""

    runs: list[Run] = field(default_factory=list)
    broken: list[tuple[str, str]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def gather(places: Sequence[str]) -> Found:
    """The results in files, run folders, folders of run folders, and globs of these.

    `ValueError` where there is none.
    """
    found = Found()
    seen: dict[str, Path] = {}
    contents: dict[str, Path] = {}
    for path in _files(places, found):
        first = seen.setdefault(os.path.realpath(path), path)
        if first is not path:
            found.notes.append(f"{path} is named twice and counted once")
            continue
        try:
            run = read_run(path)
        except ValueError as error:
            found.broken.append((str(path), str(error)))
            continue
        same = contents.setdefault(json.dumps(run.result, sort_keys=True), path)
        if same is not path:
            found.broken.append((str(path), f"a copy of {same}, counted once"))
            continue
        found.runs.append(run)
    if not found.runs:
        reasons = some_of((f"{place}: {why}" for place, why in found.broken), 3, "; ")
        raise ValueError(f"no result to report; {reasons}")
    return found


def _files(places: Sequence[str], found: Found) -> list[Path]:
    files: list[Path] = []
    for place in places:
        matched = [place] if os.path.lexists(place) else sorted(glob.glob(place, recursive=True))
        if not matched:
            found.broken.append((place, "no such file or folder, and nothing matches it as a glob"))
        for path in map(Path, matched):
            files += _in_folder(path, found) if path.is_dir() else [path]
    return files


def _in_folder(folder: Path, found: Found) -> list[Path]:
    # by a pattern, which finds links to nowhere too
    holders = {path.parent for path in folder.rglob("*.json") if path.name in NAMES}
    started = {path.parent for path in folder.rglob("last_checkpoint")}
    for run in sorted(started - holders):
        found.broken.append((str(run), "a run without a result: tools/train.py --resume finishes it"))
    if not holders and not started:
        found.broken.append((str(folder), f"no {' or '.join(NAMES)} in it or below"))
    results = []
    for run in sorted(holders):
        first, *others = [run / name for name in NAMES if os.path.lexists(run / name)]
        results.append(first)
        found.notes += [f"{other} is not shown beside {first.name}: name it to show it" for other in others]
    return results


def read_run(path: Path) -> Run:
    """A result file; `ValueError` says what is wrong with it, without its name."""
    result = read_result(path)
    try:
        with open_regular(path.with_name("config.py")) as file:
            text = file.read().decode("utf-8", errors="replace")
    except OSError:
        text = ""
    return Run(path, result, text or json.dumps(result["settings"], indent=1, ensure_ascii=False))


def delta(run: Run) -> float | None:
    """Δm in %, as the result has it."""
    return run.result.get("delta_m")


def with_delta(runs: Sequence[Run]) -> tuple[list[Run], list[Run]]:
    """The runs, and those of them whose Δm is worked out here.

    A run that was scored without single-task scores gets the Δm of those that all others of its table are relative to,
    the single-task run itself above all.
    """
    known = [run.result["single_task"] for run in runs if delta(run) is not None and run.result.get("single_task")]
    scores = known[0].get("scores") if known and all(other == known[0] for other in known) else None
    new = {run.path: relative(run, known[0]) for run in runs if delta(run) is None and scores}
    filled = [run for run in new.values() if delta(run) is not None]
    return [new.get(run.path, run) for run in runs], filled


def relative(run: Run, single_task: Mapping[str, Any]) -> Run:
    """The run with Δm relative to the "scores" of ``single_task``, by task; as it is where one is missing."""
    main, scores = run.result["main"], single_task["scores"]
    if not all(main[task] is not None and scores.get(task) for task in main):
        return run
    own = {"delta_m": delta_m(main, scores, run.result["higher_is_better"]), "single_task": dict(single_task)}
    return replace(run, result={**run.result, **own})


def seed_of(run: Run) -> Any:
    return run.result.get("seed")


def lookup(value: Any, *keys: str) -> Any:
    """``value[key][...]``; None where a level is missing."""
    for key in keys:
        value = value.get(key) if isinstance(value, Mapping) else None
    return value
