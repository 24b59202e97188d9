"""The labels before the training: a table of what there is of each class, and an error if nothing can be learnt."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mmengine.dist import broadcast_object_list, is_main_process
from mmengine.hooks import Hook
from mmengine.runner import Runner

from mtl.datasets.base import MultiTaskDataset
from mtl.datasets.files import FileDataset, all_leftovers
from mtl.datasets.label_counts import LabelCounts, count_labels
from mtl.registry import HOOKS
from mtl.utils.text import some_of

Parts = Mapping[str, Mapping[str, LabelCounts]]
"""What the labels of each task hold, in train and in val."""


@HOOKS.register_module()
class LabelTable(Hook):
    """Log images and pixels of each task's classes in train and val; warn of classes without a label and of leftovers.

    It is an error if a task has no labelled pixel in train or in val, or if train has one class alone. Labels are read
    as they are stored, without their images, in as many threads as the loader has workers; of several processes the
    first reads them, and all end at an error. Nothing random is drawn.

    Args:
        images: how many labels of a task are looked at; of more, an even sample (see `count_labels`).
        rendered: the same of a data set that is rendered, whose labels are right by construction and slow to look at.
    """

    def __init__(self, images: int = 2000, rendered: int = 64) -> None:
        for name, value in {"images": images, "rendered": rendered}.items():
            if value < 1:
                raise ValueError(f"LabelTable: {name} is at least 1, not {value}")
        self.images = images
        self.rendered = rendered

    def before_train(self, runner: Runner) -> None:
        failure: list[Exception | None] = [None]
        if is_main_process():
            try:
                self._look(runner)
            except Exception as error:  # the other processes wait for the outcome
                failure = [error]
        broadcast_object_list(failure)
        if failure[0] is not None:
            raise failure[0]

    def _look(self, runner: Runner) -> None:
        loaders = {"train": runner.train_dataloader}
        if runner.val_loop is not None:
            loaders["val"] = runner.val_dataloader
        datasets: dict[str, Any] = {part: loader.dataset for part, loader in loaders.items()}
        files = {part: dataset for part, dataset in datasets.items() if isinstance(dataset, FileDataset)}
        for leftover, names in all_leftovers(files).items():
            runner.logger.warning(f"not used in {names}: {leftover}")
        parts: dict[str, dict[str, LabelCounts]] = {}
        for part, dataset in datasets.items():
            if isinstance(dataset, MultiTaskDataset):
                most = self.rendered if dataset.rendered else self.images
                parts[part] = count_labels(dataset, most, loaders[part].num_workers)
            else:
                runner.logger.warning(
                    f"the labels of {part} are not counted: a {type(dataset).__name__} names no tasks"
                )
        if not parts:
            return
        runner.logger.info("\n" + label_table(parts))
        for line in absent_classes(parts):
            runner.logger.warning(line)
        errors = []
        for part, count in [(part, count) for part, counts in parts.items() for count in counts.values()]:
            if fault := count.fault():
                if part == "train" or not count.labelled:
                    errors.append(f"{part}: {fault}")
                else:  # with one class alone there are scores, of little worth
                    runner.logger.warning(f"{part}: {fault}")
        if errors:
            raise ValueError("; ".join(errors))


def absent_classes(parts: Parts) -> list[str]:
    """The classes without a label, a line for each task that has some."""
    lines = []
    for task in _tasks(parts):
        absent = [
            f"{some_of(count.absent)} in {part}"
            + (f" (of {count.share_seen} labels)" if count.seen < count.total else "")
            for part, counts in parts.items()
            if (count := counts[task]).absent and count.labelled
        ]
        if absent:
            lines.append(f"classes of {task!r} without a label: {'; '.join(absent)}")
    return lines


def label_table(parts: Parts) -> str:
    """Images with a labelled pixel and these pixels, of each task and of each of its classes."""
    rows = [row for task in _tasks(parts) for row in _rows(task, [counts[task] for counts in parts.values()])]
    width = max(len(row[0]) for row in rows)
    lines = [
        f"{'labels':<{width}}" + "".join(f"{part:>11}{'':18}" for part in parts),
        " " * width + "".join(f"{'images':>11}{'pixels':>9}{'share':>9}" for _ in parts),
    ]
    for name, *cells in rows:
        lines.append(f"{name:<{width}}" + "".join(f"{i:>11}{p:>9}{s:>9}" for i, p, s in cells))
    lines += [f"  {note}" for part, counts in parts.items() for note in _notes(part, counts)]
    return "\n".join(line.rstrip() for line in lines)


def _tasks(parts: Parts) -> list[str]:
    return list(next(iter(parts.values())))


def _rows(task: str, counts: list[LabelCounts]) -> list[tuple[Any, ...]]:
    """The task's own row and, if it has classes, one for each: a name and the cells of each part."""
    totals = [sum(count.pixels.values()) for count in counts]
    rows: list[tuple[Any, ...]] = [
        (task, *((f"{c.labelled:,}", _rounded(n), "") for c, n in zip(counts, totals, strict=True)))
    ]
    classes = list(counts[0].images)
    for name in classes if len(classes) > 1 else ():
        cells = [
            (f"{c.images[name]:,}", _rounded(c.pixels[name]), f"{100 * c.pixels[name] / n:.2f} %")
            if c.images[name]
            else ("none", "", "")
            for c, n in zip(counts, totals, strict=True)
        ]
        rows.append((f"  {name}", *cells))
    return rows


def _notes(part: str, counts: Mapping[str, LabelCounts]) -> list[str]:
    """What the numbers of a part are not over."""
    sampled: dict[str, list[str]] = {}
    notes = []
    for task, count in counts.items():
        if count.seen < count.total:
            sampled.setdefault(count.share_seen, []).append(task)
        if 0 < count.labelled < count.seen:
            notes.append(
                f"{part}: {count.seen - count.labelled:,} of the {count.seen:,} labels of {task} have no labelled pixel"
            )
    return [
        f"{part}: an even sample was looked at, {share} labels of {', '.join(tasks)}"
        for share, tasks in sampled.items()
    ] + notes


def _rounded(number: int) -> str:
    """``12``, ``12.3 k``, ``12.3 M``, ``12.3 G``."""
    for size, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if number >= size:
            return f"{number / size:.1f} {unit}"
    return str(number)
