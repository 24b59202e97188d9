"""Δm, the mean relative gain over single-task models, and the single-task scores it is measured against."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

from mtl.evaluation.result_file import read_main
from mtl.registry import choices
from mtl.utils.plain import is_number

Source: TypeAlias = "Mapping[str, float] | str | Path | Sequence[Source]"

REFERENCE = Path(__file__).parent / "reference"
"""Papers' tables, one JSON a paper; its ``single_task`` scores are named ``<file>/<key>``."""


def delta_m(
    scores: Mapping[str, float], single_task: Mapping[str, float], higher_is_better: Mapping[str, bool]
) -> float:
    """Δm = 1/T Σ_t ±(M_t - S_t) / S_t in %, minus where lower is better (Maninis et al., 2019, arXiv 1904.08918).

    Args:
        scores: M, each task's main metric; NaN gives NaN.
        single_task: S, the same metric of a model trained for that task alone; further tasks are ignored.
        higher_is_better: the direction of each task's metric.
    """
    if not scores:
        raise ValueError("Δm needs the score of at least one task")
    missing = [task for task in scores if not _usable(single_task.get(task))]
    if missing:
        raise ValueError(
            f"Δm needs a single-task score (a number other than 0) of {', '.join(missing)}: give a mapping, the JSON "
            "that tools/test.py writes for your own single-task run, a shipped reference, or single_task=None for no "
            f"Δm; {choices(references())}"
        )
    gains = [(scores[task] - single_task[task]) / single_task[task] for task in scores]
    signs = [1 if higher_is_better[task] else -1 for task in scores]
    return 100 * sum(sign * gain for sign, gain in zip(signs, gains, strict=True)) / len(scores)


def mean_gain(scores: Mapping[str, float], first: Mapping[str, float], higher_is_better: Mapping[str, bool]) -> float:
    """The mean of ±(M_t - F_t) / |F_t| in % over the tasks with both scores, relative to earlier scores F of one run.

    A score that was 0 counts as 1. NaN where no task has both.
    """
    both = [task for task in scores if math.isfinite(scores[task]) and math.isfinite(first[task])]
    gains = [
        (scores[task] - first[task]) / (abs(first[task]) or 1.0) * (1 if higher_is_better[task] else -1)
        for task in both
    ]
    return 100 * sum(gains) / len(gains) if gains else math.nan


def load_single_task(source: Source) -> dict[str, float]:
    """The single-task score of each task's main metric.

    Args:
        source: a mapping; the name of a shipped reference (`references`); the path of a JSON written by
            tools/test.py, whose ``main`` is taken; or a list of these, such as one run per task, joined.
    """
    if isinstance(source, Mapping):
        return {task: _number(score, task) for task, score in source.items()}
    if not isinstance(source, str | Path):
        return _join([load_single_task(part) for part in source])
    shipped = references()
    if str(source) in shipped:
        return shipped[str(source)]
    if not Path(source).is_file():
        raise ValueError(
            f"single-task scores {str(source)!r} are neither a file nor a shipped reference; "
            f"{choices(shipped, str(source))}"
        )
    try:
        return load_single_task(read_main(Path(source)))
    except ValueError as error:
        raise ValueError(f"{source}: {error}") from error


def references() -> dict[str, dict[str, float]]:
    """The shipped single-task scores by name, such as ``polyhistor/swin_t``."""
    papers = {path.stem: json.loads(path.read_text("utf-8")) for path in sorted(REFERENCE.glob("*.json"))}
    return {f"{paper}/{key}": scores for paper, data in papers.items() for key, scores in data["single_task"].items()}


def _usable(score: float | None) -> bool:
    return score is not None and math.isfinite(score) and score != 0


def _number(score: Any, task: str) -> float:
    if not is_number(score):
        raise ValueError(f"the single-task score of {task} is {score!r}, not a number")
    return float(score)


def _join(parts: list[dict[str, float]]) -> dict[str, float]:
    tasks = [task for part in parts for task in part]
    repeated = sorted({task for task in tasks if tasks.count(task) > 1})
    if repeated:
        raise ValueError(f"single-task scores of {', '.join(repeated)} are given more than once")
    return {task: score for part in parts for task, score in part.items()}
