"""What makes a training the same training: recorded in every full checkpoint, compared at every resume.

A resumed run goes on as if it had never stopped, bit for bit. What would go on as something else is refused by name.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mmengine.dist import get_world_size
from mmengine.hooks import EarlyStoppingHook
from mmengine.runner import EpochBasedTrainLoop, Runner
from torch.utils.data import Dataset

from mtl.engine.checkpoints import model_of
from mtl.engine.hooks import DeltaM, hook_of
from mtl.engine.settings import first_difference

KEEP = "resume with the run's own config and number of processes, or train into another --work-dir"


def identity(runner: Runner) -> dict[str, Any]:
    """What decides the steps, the data and the weights of a run besides its settings."""
    dataset: Dataset = runner.train_dataloader.dataset
    return {
        "processes": get_world_size(),
        "steps per epoch": len(runner.train_dataloader),
        "training images": len(dataset),  # type: ignore[arg-type]
        "names of the training images and their labels": getattr(dataset, "identity", None),
        "seed": runner.seed,
        "base weights": model_of(runner).encoder.fingerprint,
        "single-task scores": _single_task(runner),
    }


def _single_task(runner: Runner) -> dict[str, float] | None:
    """What Δm, and with it the best checkpoint, is relative to."""
    relative = hook_of(runner, DeltaM)
    if relative is None or relative.single_task is None:
        return None
    return {task: relative.single_task[task] for task in model_of(runner).tasks}


def check_same_training(checkpoint: Mapping[str, Any], runner: Runner, path: Path) -> None:
    """Raise `ValueError` where a training would not go on as the one that ``checkpoint`` is of."""
    if found := first_difference(checkpoint["settings"], runner.cfg["source"]):
        key, before, now = found
        run = path.parent
        raise ValueError(
            f"{path} is of a run with {key} {before}, the config has {now}: train into another --work-dir, or resume "
            f"with the run's own config (tools/train.py {run / 'config.py'} --work-dir {run} --resume)"
        )
    saved, own = checkpoint["identity"], identity(runner)
    for key, value in own.items():
        if saved.get(key) != value:
            raise ValueError(f"{path} is of a run with other {key} ({saved.get(key)}, now {value}): {KEEP}")
    if any(isinstance(hook, EarlyStoppingHook) for hook in runner.hooks):
        raise ValueError("a run with EarlyStoppingHook cannot be resumed: its count of validations is in no checkpoint")
    _check_position(checkpoint["meta"], runner, path)


def _check_position(meta: Mapping[str, int], runner: Runner, path: Path) -> None:
    """In a training by epochs a checkpoint lies within its epoch, or at its end before the epoch was counted."""
    steps = len(runner.train_dataloader)
    if isinstance(runner.train_loop, EpochBasedTrainLoop) and not 0 <= meta["iter"] - meta["epoch"] * steps <= steps:
        raise ValueError(
            f"{path} is damaged: iteration {meta['iter']} is not in epoch {meta['epoch']} of {steps} steps"
        )


def is_due(runner: Runner) -> bool:
    """Whether the validation of the loaded checkpoint may be missing: a checkpoint is written before its validation."""
    loop = runner.train_loop
    if runner.val_loop is None or not loop.iter:
        return False
    steps = len(runner.train_dataloader)
    if not isinstance(loop, EpochBasedTrainLoop):
        done, last = loop.iter, loop.max_iters
    elif loop.iter == loop.epoch * steps:
        done, last = loop.epoch, loop.max_epochs
    else:
        return False  # within an epoch, or before it was counted
    loop._decide_current_val_interval()
    return done >= loop.val_begin and (done % loop.val_interval == 0 or done == last)
