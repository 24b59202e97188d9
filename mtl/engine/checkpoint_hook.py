"""Checkpoints that survive a crash: the full state for resuming and the adapter file beside it."""

from __future__ import annotations

import io
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from mmengine.dist import get_world_size, is_main_process, master_only
from mmengine.hooks import Hook
from mmengine.runner import EpochBasedTrainLoop, Runner
from mmengine.runner.checkpoint import weights_to_cpu
from mmengine.utils import apply_to
from torch import Tensor

from mtl.engine.adapter_file import digest, read_state, save_adapter, trained_state
from mtl.engine.checkpoints import check_finite, model_of, read_checkpoint, seal_checkpoint
from mtl.engine.files import replacing
from mtl.engine.resuming import identity, is_due
from mtl.engine.run_folder import BEST, LAST, RESULT, checkpoint_number, numbered, remove_parts
from mtl.engine.settings import plain
from mtl.engine.training_state import scheduler_states
from mtl.registry import HOOKS, choices

GAIN = "gain"
"""The metric that `mtl.engine.hooks.DeltaM` adds where there are no single-task scores."""


@HOOKS.register_module()
class AtomicCheckpoint(Hook):
    """Save ``epoch_N.pth`` (or ``iter_N.pth``) with ``epoch_N.safetensors`` beside it, and ``best.*``.

    A file appears under its name only when it is complete, and older ones are removed only after that: a kill, a
    crash or a full disk at any moment leaves the previous checkpoint and ``last_checkpoint``, which names it. A
    checkpoint is written before the validation of its epoch, which a resumed run makes again: so it knows the best
    validation of all, whatever had been written of it.

    Both files hold the weights that are scored, a hook's averages of them (EMA) included.

    Args:
        interval: epochs (or iterations) between checkpoints; the last one is always saved. None for one epoch, in a
            training by iterations for as many iterations as an epoch has.
        by_epoch: whether the interval counts epochs; None for what the training counts.
        keep: how many checkpoints stay.
        best: the metric whose best value is kept, such as "semseg/mIoU"; "auto" for Δm, or without single-task scores
            the mean relative gain over the first validation ("gain"); None for none.
    """

    priority = "VERY_LOW"

    def __init__(
        self, interval: int | None = None, by_epoch: bool | None = None, keep: int = 1, best: str | None = "auto"
    ) -> None:
        if keep < 1 or not (interval is None or interval >= 1):
            raise ValueError(f"checkpoint: interval and keep must be at least 1, not {interval} and {keep}")
        self.interval = interval
        self.by_epoch = by_epoch
        self.keep = keep
        self.best = best
        self.found: dict[str, Any] | None = None
        """Of the best validation: metric, value, epoch and iter."""
        self._resumed: dict[str, Any] | None = None
        self._saved = (-1, "")
        self._scored = ""

    # -- when --------------------------------------------------------------------------------------------------
    def before_run(self, runner: Runner) -> None:
        epochs = isinstance(runner.train_loop, EpochBasedTrainLoop)
        if self.by_epoch is None:
            self.by_epoch = epochs
        if self.by_epoch and not epochs:
            raise ValueError(
                "default_hooks.checkpoint.by_epoch=True, but train_cfg counts iterations: leave it out, and interval "
                "counts them too"
            )
        if self.interval is None:
            self.interval = 1 if self.by_epoch else min(len(runner.train_dataloader), runner.max_iters)
        self._name_best(runner)
        self._check_accumulation(runner)

    def before_train(self, runner: Runner) -> None:
        folder = Path(runner.work_dir)
        if is_main_process():
            remove_parts(folder)
        if self._resumed is None:
            return
        if is_main_process():
            self.found = self._best_of(folder) or self.found
            unit = "epoch" if self.by_epoch else "iter"
            self._remove_old(folder, unit, self._resumed[unit])
        finished = runner.iter == runner.max_iters and (folder / RESULT).is_file()
        if not self._resumed["validated"] and is_due(runner) and not finished:
            runner.val_loop.run()

    def after_train_epoch(self, runner: Runner) -> None:
        if self.by_epoch and (self.every_n_epochs(runner, self.interval) or self.is_last_train_epoch(runner)):
            self._save_numbered(runner, "epoch", runner.epoch + 1)

    def after_train_iter(self, runner: Runner, batch_idx: int, data_batch=None, outputs=None) -> None:
        if not self.by_epoch and (self.every_n_train_iters(runner, self.interval) or self.is_last_train_iter(runner)):
            self._save_numbered(runner, "iter", runner.iter + 1)

    def before_val_iter(self, runner: Runner, batch_idx: int, data_batch=None) -> None:
        if batch_idx == 0 and is_main_process():
            self._scored = digest(trained_state(model_of(runner)))
            if self._saved[0] == runner.iter and self._saved[1] != self._scored:
                raise RuntimeError("a hook scores other weights than the checkpoint of this iteration holds")

    def after_val_epoch(self, runner: Runner, metrics: dict[str, float] | None = None) -> None:
        if self.best is None or not metrics:
            return
        value = metrics.get(self.best, math.nan)
        if not math.isfinite(value):
            runner.logger.warning(f"{self.best} is {value}: this validation is not compared with the best one")
        elif self._is_better(value, self.found):
            self.found = {"metric": self.best, "value": float(value), "epoch": runner.epoch, "iter": runner.iter}
            runner.logger.info(f"the best {self.best} so far: {value:.2f}")
            # validation comes after the epoch was counted
            self._save(runner, BEST, runner.epoch, runner.iter, validated=True)

    def after_train(self, runner: Runner) -> None:
        """Without any validation the last weights are the best known."""
        if self.best is not None and self.found is None:
            self._save(runner, BEST, runner.epoch, runner.iter)

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        if not runner._resume:
            return
        checkpoint["message_hub"] = runner.message_hub.state_dict()  # MMEngine restores it; it is no part of the file
        self._resumed = {"validated": checkpoint["validated"], **checkpoint["meta"]}
        self.found = checkpoint["best"]
        if self.found and self.best and self.found["metric"] != self.best:
            raise ValueError(
                f"the run's best checkpoint is by {self.found['metric']}, default_hooks.checkpoint.best says "
                f"{self.best!r}: leave it, or train into another --work-dir"
            )

    # -- which is the best -------------------------------------------------------------------------------------
    def _name_best(self, runner: Runner) -> None:
        """Put the metric's name in place of "auto", and look up its direction; `ValueError` where there is none."""
        overall = GAIN if runner.cfg.get("single_task") is None else "delta_m"
        if self.best == "auto":
            self.best = overall
        tasks = model_of(runner).tasks
        higher = {f"{t}/{m}": m not in task.lower_is_better for t, task in tasks.items() for m in task.summarise([])}
        higher[overall] = True
        if self.best is not None and self.best not in higher:
            raise ValueError(f"default_hooks.checkpoint.best: no metric {self.best!r}; {choices(higher, self.best)}")
        self._higher = higher.get(self.best or "", True)

    def _is_better(self, value: float, than: Mapping[str, Any] | None) -> bool:
        return than is None or (value > than["value"] if self._higher else value < than["value"])

    def _best_of(self, folder: Path) -> dict[str, Any] | None:
        """What ``best.pth`` says of itself, if that is better than the best that the loaded checkpoint knows.

        It is after a kill between a validation and the next checkpoint. A kill between the two files of the best
        leaves two that differ: neither is taken.
        """
        full, adapter = folder / f"{BEST}.pth", folder / f"{BEST}.safetensors"
        try:
            checkpoint = read_checkpoint(full)
            state = read_state(adapter)
        except ValueError:
            return None
        own = checkpoint.get("best")
        if not own or own["metric"] != self.best or not self._is_better(own["value"], self.found):
            return None
        same = all(torch.equal(value, checkpoint["state_dict"][name]) for name, value in state.items())
        return own if same else None

    def _check_accumulation(self, runner: Runner) -> None:
        """Gradients that wait for their step are in a checkpoint of one process; of several they would be lost."""
        assert self.interval is not None
        counts = runner.optim_wrapper._accumulative_counts
        steps = self.interval * (len(runner.train_dataloader) if self.by_epoch else 1)
        if get_world_size() > 1 and steps % counts:
            raise ValueError(
                f"checkpoints come every {steps} iterations, and {counts} iterations make a step "
                "(optim_wrapper.accumulative_counts): with several processes they must come after whole steps; set "
                "default_hooks.checkpoint.by_epoch=False and interval to a multiple"
            )

    # -- writing -----------------------------------------------------------------------------------------------
    @master_only
    def _save_numbered(self, runner: Runner, unit: str, number: int) -> None:
        epoch = number if unit == "epoch" else runner.epoch
        iteration = runner.iter if unit == "epoch" else number
        path = self._save(runner, f"{unit}_{number}", epoch, iteration)
        folder = Path(runner.work_dir)
        with replacing(folder / LAST) as part:
            part.write_text(path.name)  # the folder may move
        self._remove_old(folder, unit, number)

    def _remove_old(self, folder: Path, unit: str, number: int) -> None:
        for old in numbered(folder, unit)[: -self.keep]:
            if (checkpoint_number(old) or 0) < number:
                old.with_suffix(".safetensors").unlink(missing_ok=True)
                old.unlink()

    @master_only
    def _save(self, runner: Runner, stem: str, epoch: int, iteration: int, validated: bool = False) -> Path:
        model = model_of(runner)
        checkpoint = full_state(runner, epoch, iteration)
        checkpoint.update(best=self.found, validated=validated)
        runner.call_hook("before_save_checkpoint", checkpoint=checkpoint)
        check_finite(checkpoint["state_dict"], epoch)
        seal_checkpoint(checkpoint)  # nothing is changed after that
        # with what hooks put there (averages), and so is the adapter file
        state = trained_state(model, checkpoint["state_dict"])
        self._saved = (iteration, digest(state))
        if validated and self._saved[1] != self._scored:
            raise RuntimeError("a hook changed the weights between their score and their checkpoint")
        path = Path(runner.work_dir) / f"{stem}.pth"
        content = io.BytesIO()  # torch's own writer hides what the system says of a full disk
        torch.save(checkpoint, content)
        with replacing(path) as part:
            part.write_bytes(content.getbuffer())
        save_adapter(model, path.with_suffix(".safetensors"), runner.cfg["build"], state)
        return path


def full_state(runner: Runner, epoch: int, iteration: int) -> dict[str, Any]:
    """Everything that a training goes on from, as tensors and plain values."""
    return {
        "meta": {"epoch": epoch, "iter": iteration, "seed": runner.seed},
        "state_dict": weights_to_cpu(model_of(runner).state_dict()),
        "optimizer": _to_cpu(runner.optim_wrapper.state_dict()),
        "param_schedulers": scheduler_states(runner),
        "build": plain(runner.cfg["build"]),
        "settings": plain(runner.cfg["source"]),
        "identity": identity(runner),
    }


def _to_cpu(value: Any) -> Any:
    return apply_to(value, lambda x: isinstance(x, Tensor), lambda x: x.cpu())
