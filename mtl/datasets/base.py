"""What every data set is: images with whichever targets they have, reproducible item by item."""

from __future__ import annotations

import operator
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, ClassVar

import numpy as np
import torch
from torch.utils.data import Dataset

from mtl.registry import TASKS, TRANSFORMS, choices
from mtl.structures import MultiTaskSample, TargetKind
from mtl.tasks.base import Task
from mtl.transforms.sample import Sample

Transform = Callable[[Sample, np.random.Generator], Sample]
Key = int | tuple[int, int]


class MultiTaskDataset(Dataset):
    """Base of the data sets: a subclass gives `__len__` and `load`, and `describe` where it has better words.

    An item depends on nothing but ``(seed, epoch, index)``: it is the same for any number of workers and processes,
    and after a resume. `EpochSampler` yields the pairs ``(epoch, index)``; a plain index is one of epoch 0.

    Args:
        tasks: task name to `Task` or to its config; the name becomes the config's ``name``.
        pipeline: transforms or their configs, called in turn with the sample and the item's random generator.
        seed: of the transforms' random numbers, at least 0.
    """

    rendered: ClassVar[bool] = False
    """Whether labels are made together with their picture: right by construction, and slow to look through."""

    def __init__(
        self,
        tasks: Mapping[str, Mapping[str, Any] | Task],
        pipeline: Sequence[Mapping[str, Any] | Transform] = (),
        seed: int = 0,
    ) -> None:
        if seed < 0:
            raise ValueError(f"a data set's seed is at least 0; got {seed}")
        self.tasks: dict[str, Task] = {
            name: TASKS.build(dict(task, name=name)) if isinstance(task, Mapping) else task
            for name, task in tasks.items()
        }
        self.pipeline: list[Transform] = [
            TRANSFORMS.build(dict(step)) if isinstance(step, Mapping) else step for step in pipeline
        ]
        self.seed = seed

    @property
    def metainfo(self) -> dict[str, Any]:
        """What MMEngine's evaluator and visualiser are told of the data set."""
        return {"dataset": type(self).__name__, "tasks": tuple(self.tasks)}

    @property
    def identity(self) -> str:
        """Equal for data sets of the same images and labels, by their names: a training is resumed with no others."""
        return f"{type(self).__name__} of {len(self)}"

    def __len__(self) -> int:
        raise NotImplementedError

    def load(self, index: int) -> Sample:
        """Image ``index`` with the targets that it has, before any transform; the same at every call."""
        raise NotImplementedError

    def targets(self, index: int, tasks: Collection[str]) -> dict[str, np.ndarray]:
        """The targets for ``tasks`` that image ``index`` has, as `load` gives them."""
        return {name: target for name, target in self.load(index).targets.items() if name in tasks}

    def with_label(self, task: str) -> Sequence[int]:
        """The items that may have a label for ``task``, as far as is known without reading it."""
        return range(len(self))

    def label_place(self, task: str) -> str:
        """Where a message says that the labels for ``task`` are."""
        return type(self).__name__

    def describe(self, index: int) -> str:
        """What an error message calls image ``index``: its name or path."""
        return f"{type(self).__name__} item {index}"

    def __getitem__(self, key: Key) -> dict[str, Any]:
        """The item ``index`` or ``(epoch, index)``.

        Returns:
            ``inputs``: ``(3, H, W)`` uint8 RGB, contiguous. ``data_samples``: a `MultiTaskSample` with the image's
            targets (uint8 class ids, float32 vectors and depth) and the meta ``name``, ``ori_shape``, ``img_shape``.

        Raises:
            ValueError: what `load` or a transform objects to, with the image's name.
            RuntimeError: any other failure in them, with the image's name.
        """
        epoch, index = (operator.index(k) for k in (key if isinstance(key, tuple) else (0, key)))
        if not 0 <= index < len(self):
            raise IndexError(f"{type(self).__name__} has items 0 to {len(self) - 1}; got {index}")
        with self.naming(index):
            sample = self.load(index)
            shape = sample.image.shape[:2]
            rng = np.random.default_rng((self.seed, epoch, index))
            for transform in self.pipeline:
                sample = transform(sample, rng)
        return pack(sample, shape)

    @contextmanager
    def naming(self, index: int) -> Iterator[None]:
        """Errors with the image's name: `ValueError` stays one, any other becomes a `RuntimeError`."""
        try:
            yield
        except Exception as error:
            kind = ValueError if isinstance(error, ValueError) else RuntimeError
            raise kind(f"{self.describe(index)}: {error or type(error).__name__}") from error


def check_tasks(
    owner: str, tasks: Mapping[str, Task], kinds: Mapping[str, TargetKind], classes: Mapping[str, int]
) -> None:
    """Raise `ValueError` where ``tasks`` cannot learn from a data set's labels: their kinds and numbers of classes."""
    for name, task in tasks.items():
        if name not in kinds:
            raise ValueError(f"{owner} has no labels for the task {name!r}; {choices(kinds, name)}")
        if task.kind is not kinds[name]:
            raise ValueError(f"{owner} labels {name!r} as {kinds[name].value}; the task takes {task.kind.value}")
        if name in classes and task.out_channels != classes[name]:
            raise ValueError(f"{owner} has {classes[name]} classes for {name!r}; the task has {task.out_channels}")


def pack(sample: Sample, ori_shape: tuple[int, ...]) -> dict[str, Any]:
    """The sample as tensors, as `MultiTaskDataset.__getitem__` returns it."""
    meta = {"name": sample.name, "ori_shape": tuple(ori_shape), "img_shape": sample.image.shape[:2]}
    packed = MultiTaskSample(metainfo=meta)
    for task, target in sample.targets.items():
        packed.set_target(task, torch.from_numpy(np.ascontiguousarray(target)))
    image = np.ascontiguousarray(sample.image.transpose(2, 0, 1))
    return {"inputs": torch.from_numpy(image), "data_samples": packed}
