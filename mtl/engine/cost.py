"""What a run costs: training time, peak memory, and the time that an image takes in a test."""

from __future__ import annotations

import resource
import sys
from statistics import median
from time import perf_counter
from typing import Any

import torch
from mmengine.dist import get_world_size
from mmengine.hooks import Hook
from mmengine.runner import Runner

from mtl.engine.checkpoints import model_of
from mtl.registry import HOOKS


@HOOKS.register_module()
class Cost(Hook):
    """Measure time and memory of this process; `summary` is the ``cost`` of a result.

    Training time is the steps' with loading, without validation and pictures. It adds up over resumes from the
    checkpoint on: a step that was lost with a killed process is not counted. On a GPU a step ends where its losses
    are read for the log.
    """

    def __init__(self) -> None:
        self._seconds = 0.0
        self._steps = 0
        self._starts = 0
        self._peak: int | None = None
        self._step_seconds: list[float] = []
        self._image_seconds: list[float] = []
        self._mark = 0.0

    def before_train(self, runner: Runner) -> None:
        self._starts += 1
        if torch.cuda.is_available():
            torch.cuda.reset_peak_memory_stats()

    def before_train_epoch(self, runner: Runner) -> None:
        self._mark = perf_counter()

    def after_train_iter(self, runner: Runner, batch_idx: int, data_batch=None, outputs=None) -> None:
        now = perf_counter()
        self._step_seconds.append(now - self._mark)
        self._seconds += now - self._mark
        self._steps += 1
        self._mark = now

    def after_train(self, runner: Runner) -> None:
        self._peak = max(self._peak or 0, peak_memory(model_of(runner)))

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        peak = max(self._peak or 0, peak_memory(model_of(runner)))
        checkpoint["cost"] = {"seconds": self._seconds, "steps": self._steps, "starts": self._starts, "peak": peak}

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        known = checkpoint.get("cost")
        if known and runner._resume:
            self._seconds, self._steps = float(known["seconds"]), int(known["steps"])
            self._starts, self._peak = int(known["starts"]), int(known["peak"])

    def before_val_epoch(self, runner: Runner) -> None:
        self._image_seconds = []

    def before_val_iter(self, runner: Runner, batch_idx: int, data_batch=None) -> None:
        self._batch_mark = perf_counter()

    def after_val_iter(self, runner: Runner, batch_idx: int, data_batch=None, outputs=None) -> None:
        images = len((data_batch or {}).get("data_samples", ()))
        if images:
            self._image_seconds.append((perf_counter() - self._batch_mark) / images)

    def after_val(self, runner: Runner) -> None:
        self._mark = perf_counter()  # an iteration-based training goes on in the same epoch

    before_test_epoch = before_val_epoch
    before_test_iter = before_val_iter
    after_test_iter = after_val_iter

    def summary(self, runner: Runner) -> dict[str, Any]:
        """Seconds, bytes and counts; ``train`` is None where nothing was trained.

        ``train.step_seconds`` is the median over this start's steps, ``test.image_seconds`` the median over the last
        validation's or test's batches of predicting and scoring, without loading.
        """
        model = model_of(runner)
        cuda = next(model.parameters()).is_cuda
        train = {
            "seconds": self._seconds,
            "steps": self._steps,
            "starts": self._starts,
            "step_seconds": median(self._step_seconds) if self._step_seconds else None,
            "peak_memory": self._peak,
        }
        return {
            "device": torch.cuda.get_device_name() if cuda else "cpu",
            "processes": get_world_size(),
            "memory": "allocated on the GPU" if cuda else "peak resident set",
            "train": train if self._steps else None,
            "test": {
                "image_seconds": median(self._image_seconds) if self._image_seconds else None,
                "peak_memory": None if self._steps else peak_memory(model),
            },
        }


def peak_memory(model: torch.nn.Module) -> int:
    """Bytes: of the GPU that ``model`` is on, the most that was allocated; on a CPU the process's peak resident set."""
    if next(model.parameters()).is_cuda:
        return torch.cuda.max_memory_allocated()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
