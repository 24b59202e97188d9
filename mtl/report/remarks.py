"""What the page says of a table: notes on its numbers, and warnings where its rows are not alike."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from mtl.engine.results import mean_over
from mtl.engine.settings import differences, value_text
from mtl.report.runs import Run, delta, seed_of
from mtl.utils.text import some_of

MISSING = "–"


def relative_to(run: Run) -> str:
    """The single-task scores behind a run's Δm, as text; empty where it has none."""
    single = run.result.get("single_task")
    if delta(run) is None:
        return ""
    scores = (single or {}).get("scores")
    if not isinstance(scores, Mapping):
        return "scores that the result does not record"
    values = ", ".join(f"{task} {float(score):.2f}" for task, score in scores.items() if score is not None)
    source = (single or {}).get("source")
    return f"{source} ({values})" if source else values


def notes_on(runs: Sequence[Run], filled: Sequence[Run]) -> list[str]:
    """What a reader needs to know of a table's numbers; the Δm of the ``filled`` ones were worked out for it."""
    notes = [f"Δm is relative to {text}." for text in dict.fromkeys(map(relative_to, runs)) if text]
    if filled:
        names = ", ".join(dict.fromkeys(run.label for run in filled))
        notes.append(f"The Δm of {names} was not in the results; it is worked out here, relative to the same scores.")
    if any(delta(run) is None for run in runs):
        notes.append(
            f"Δm is {MISSING} where a run had no single-task scores: name them in the config (single_task = a mapping, "
            "a shipped reference, or the JSON of your own single-task run), run tools/test.py on the checkpoint and "
            "name the test.json that it writes."
        )
    if any(run.is_test for run in runs):
        notes.append(
            "A tested checkpoint is shown with the seed and the training settings that tools/test.py was given, which "
            "need not be those that it was trained with."
        )
    for task in runs[0].result["main"]:
        if any(run.result["main"][task] is None for run in runs):
            notes.append(f"The {task} {runs[0].metric(task)} is {MISSING} where nothing was labelled.")
        means = _means(runs, task)
        notes += [
            f"The {task} {runs[0].metric(task)}{f' of {names}' if len(means) > 1 else ''} is a mean {text}."
            for text, names in means.items()
            if text
        ]
    if any(not run.result.get("cost") for run in runs):
        notes.append(f"Time and memory are {MISSING} where the run did without the hook that measures them.")
    devices = {_device(run) for run in runs if run.result.get("cost")}
    notes += [f"Time and memory: {device}." for device in sorted(devices)]
    if devices:
        notes.append(
            "Training is the steps' time without validation, added up over resumes; step is a median; image is "
            "predicting and scoring one in a batch of the test."
        )
    return notes


def _means(runs: Sequence[Run], task: str) -> dict[str, str]:
    """What a task's main metric is a mean of, as `mean_over` says it, and the labels of the runs of which it is so."""
    found: dict[str, list[str]] = {}
    for run in runs:
        if run.result["main"][task] is None:
            continue
        found.setdefault(mean_over(run.result["metrics"][task]), []).append(run.label)
    return {text: ", ".join(dict.fromkeys(labels)) for text, labels in found.items()}


def _device(run: Run) -> str:
    cost = run.result["cost"]
    processes = cost.get("processes", 1)
    memory = f"{cost.get('memory', 'unknown')}{'' if processes == 1 else ' of the first'}"
    return f"{cost.get('device', 'unknown')}, {counted(processes, 'process', 'es')}, memory {memory}"


def warnings_on(rows: Sequence[tuple[str, Sequence[Run]]]) -> list[str]:
    """What keeps a table's rows, each a label and its runs, from being compared."""
    runs = [run for _, own in rows for run in own]
    found = []
    if len({text for run in runs if (text := relative_to(run))}) > 1:
        found.append("The rows' Δm are relative to different single-task scores and cannot be compared.")
    if len({_device(run) for run in runs if run.result.get("cost")}) > 1:
        found.append("The rows were measured on different devices or numbers of processes: compare no times.")
    for task in runs[0].result["main"]:
        if len(_means(runs, task)) > 1:
            found.append(
                f"The rows' {task} {runs[0].metric(task)} are means of different classes: compare the classes' own."
            )
    settings = [own[0].settings for _, own in rows]
    other = differences(settings, ("method", "single_task"))
    if other:
        shown = [f"{key} ({', '.join(dict.fromkeys(map(value_text, values)))})" for key, values in other.items()]
        found.append(f"The rows' configs differ in more than the method: {some_of(shown, 5, '; ')}.")
    for label, own in rows:
        seeds = [str(seed_of(run)) for run in own]
        if len(set(seeds)) < len(seeds):
            found.append(f"{label} has a seed more than once: {', '.join(seeds)}.")
    return found


def counted(number: Any, noun: str, plural: str = "s") -> str:
    """``1 result``, ``2 results``."""
    return f"{number} {noun}{'' if number == 1 else plural}"
