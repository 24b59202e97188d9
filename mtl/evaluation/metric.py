"""Every task's metrics over a data set, in any number of processes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from mmengine.evaluator import BaseMetric

from mtl.registry import METRICS, TASKS
from mtl.structures import MultiTaskSample
from mtl.tasks import Task

Statistics = dict[str, Mapping[str, np.ndarray]]
"""One image's statistics by task, without the tasks that it does not count for."""


@METRICS.register_module()
class MultiTaskMetric(BaseMetric):
    """The metrics ``<task>/<metric>`` of all tasks, NaN where a task has no labelled image.

    It keeps one result per image, so that MMEngine's collection over processes drops exactly the samples that a
    sampler repeats to fill the last batch.

    Args:
        tasks: each task's config (or a `Task`) by name; the name is the task's key in the samples.
        collect_device: where MMEngine gathers the results, ``cpu`` or ``gpu``.
        prefix: put before every metric's name.
    """

    default_prefix = ""

    def __init__(
        self,
        tasks: Mapping[str, Any],
        collect_device: str = "cpu",
        prefix: str | None = None,
    ) -> None:
        super().__init__(collect_device, prefix)
        self.tasks: dict[str, Task] = {
            name: task if isinstance(task, Task) else TASKS.build(dict(task, name=name)) for name, task in tasks.items()
        }

    def process(self, data_batch: Any, data_samples: Sequence[MultiTaskSample | dict]) -> None:
        """Measure a batch of samples, or of their dicts as MMEngine's evaluator passes them, with predictions."""
        self.results.extend(self._measure(sample) for sample in data_samples)

    def compute_metrics(self, results: list[Statistics]) -> dict[str, float]:
        """The metrics of the set from the statistics of all its images."""
        return {
            f"{name}/{metric}": value
            for name, task in self.tasks.items()
            for metric, value in task.summarise([result[name] for result in results if name in result]).items()
        }

    def _measure(self, sample: MultiTaskSample | dict) -> Statistics:
        result: Statistics = {}
        for name, task in self.tasks.items():
            target, prediction = sample.get(f"gt_{name}"), sample.get(f"pred_{name}")
            if target is None:
                continue
            if prediction is None:
                raise ValueError(f"a sample has a target of {name} but no prediction")
            if prediction.shape[:2] != target.shape[:2]:
                raise ValueError(
                    f"{name}: the prediction is {tuple(prediction.shape[:2])}, its target {tuple(target.shape[:2])}; "
                    "predict at the target's size"
                )
            statistics = task.measure(prediction, target.to(prediction.device))
            if statistics is not None:
                result[name] = statistics
        return result
