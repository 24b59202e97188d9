"""What the labels of a data set hold: images and pixels of each class, counted before anything is trained on them."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from mtl.datasets.base import MultiTaskDataset
from mtl.tasks.base import Task

_SAMPLES_FOR_A_CLASS, _SAMPLES_FOR_A_TASK = 2, 10
"""The most even samples that are read to find a class that is missing, or anything to learn from."""


class LabelCounts:
    """The labels of one task in one data set, added up one by one.

    Args:
        task: the task.
        place: where a message says that the labels are.
        total: how many labels there are.

    Attributes:
        seen: how many of them were looked at.
        labelled: how many of these have a labelled pixel.
        images: how many of these have a pixel of each class.
        pixels: of each class, in these; the classes are those of `Task.label_counts`.
        only_first: names of the images that are labelled with the first class alone.
    """

    def __init__(self, task: Task, place: str, total: int) -> None:
        self.task = task
        self.place = place
        self.total = total
        self.seen = 0
        self.labelled = 0
        self.pixels = dict.fromkeys(task.label_counts(task.kind.void(1, 1)), 0)
        self.images = dict(self.pixels)
        self.only_first: list[str] = []

    def add(self, name: str, pixels: dict[str, int] | None) -> None:
        """Add the label of an image: what `Task.label_counts` gives of it, None if the image turns out to have none."""
        self.seen += 1
        found = {key: number for key, number in (pixels or {}).items() if number}
        self.labelled += bool(found)
        for key, number in found.items():
            self.images[key] += 1
            self.pixels[key] += number
        if len(self.images) > 1 and list(found) == list(self.images)[:1]:
            self.only_first.append(name)

    @property
    def absent(self) -> list[str]:
        """The classes that no label has of those looked at."""
        return [key for key, number in self.images.items() if not number]

    @property
    def share_seen(self) -> str:
        """``5`` where all labels were looked at, else ``1,999 of 20,210``."""
        return f"{self.seen:,}" + ("" if self.seen == self.total else f" of {self.total:,}")

    def fault(self) -> str:
        """Why nothing can be learnt from these labels, and the likely cause, in one line; empty if something can."""
        present = [key for key, number in self.images.items() if number]
        if len(present) > 1 or (present and len(self.images) == 1):
            return ""
        what = f"anything but {present[0]!r} or void" if present else "a labelled pixel"
        hint = self.task.label_hint()
        looked = f" (an even sample of {self.share_seen} was looked at)" if self.seen < self.total else ""
        return f"no label of {self.task.name!r} in {self.place} has {what}{looked}" + (f"; {hint}" if hint else "")


def count_labels(dataset: MultiTaskDataset, most: int, workers: int = 1) -> dict[str, LabelCounts]:
    """What the labels of each task hold.

    If a task has more than ``most`` labels, an even sample of at most ``most`` is read. If a class is not in it, one
    more sample follows; if nothing in it can be learnt from, up to ten in all.

    Args:
        dataset: the data set.
        most: labels of a task that are read at once.
        workers: threads that read them.

    Raises:
        ValueError: what is wrong with a label, with the image's name.
    """
    samples = {name: _even_samples(dataset.with_label(name), most) for name in dataset.tasks}
    counts = {
        name: LabelCounts(task, dataset.label_place(name), sum(map(len, samples[name])))
        for name, task in dataset.tasks.items()
    }

    def look(index: int, tasks: list[str]) -> dict[str, dict[str, int]]:
        with dataset.naming(index):
            targets = dataset.targets(index, tasks)
            return {name: dataset.tasks[name].label_counts(target) for name, target in targets.items()}

    for i in range(_SAMPLES_FOR_A_TASK):
        wanted: dict[int, list[str]] = {}
        for name, count in counts.items():
            if i == 0 or count.fault() or (count.absent and i < _SAMPLES_FOR_A_CLASS):
                for index in samples[name][i] if i < len(samples[name]) else ():
                    wanted.setdefault(index, []).append(name)
        with ThreadPoolExecutor(max(workers, 1)) as pool:
            for (index, tasks), found in zip(wanted.items(), pool.map(look, wanted, wanted.values()), strict=True):
                for name in tasks:
                    counts[name].add(dataset.describe(index), found.get(name))
    return counts


def _even_samples(items: Sequence[int], most: int) -> list[Sequence[int]]:
    """All of ``items`` in as few even samples as have at most ``most`` each."""
    number = -(-len(items) // most)
    return [items[i::number] for i in range(number)]
