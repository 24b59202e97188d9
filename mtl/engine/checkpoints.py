"""Checkpoints that survive a crash: the full state for resuming and the adapter file beside it."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from mmengine.dist import master_only
from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.runner import Runner

from mtl.encoders.weights import read_tensors
from mtl.engine.adapter_file import check_build, load_adapter, load_matching, save_adapter
from mtl.engine.files import replacing
from mtl.engine.schema import check_checkpoint
from mtl.models.multitask import MultiTaskModel
from mtl.registry import HOOKS, choices
from mtl.utils.plain import check_plain, content_digest


def model_of(runner: Runner) -> MultiTaskModel:
    """The runner's model, out of its distributed wrapper."""
    return runner.model.module if is_model_wrapper(runner.model) else runner.model


def load_trained(model: MultiTaskModel, path: Path, build: Mapping[str, Any] | None = None) -> None:
    """Load an adapter file (``.safetensors``) or a full checkpoint's weights into the model that it is of.

    Nothing but tensors and plain values is unpickled; `ValueError` where the file is of another model.

    Args:
        build: the configs that the model was built from, to compare with the file's.
    """
    if path.suffix == ".safetensors":
        load_adapter(model, path, build)
        return
    checkpoint = read_checkpoint(path)
    check_build(checkpoint["build"], build, str(path))
    load_matching(model, checkpoint["state_dict"], model.state_dict(), str(path))


def seal_checkpoint(checkpoint: dict[str, Any]) -> None:
    """Add the digest of all that a checkpoint holds, by which `read_checkpoint` finds out a damaged file.

    `ValueError` where a hook added what could not be read again.
    """
    checkpoint.pop("digest", None)
    check_plain(checkpoint, "the checkpoint")
    checkpoint["digest"] = content_digest(checkpoint)


def read_checkpoint(path: Path, resume: bool = False) -> dict[str, Any]:
    """A full checkpoint, read without running code from it; ``resume`` asks for what a training goes on from."""
    if path.suffix == ".safetensors":
        raise ValueError(
            f"{str(path)!r} is an adapter file, without the optimizer's state; resume from the .pth beside it"
        )
    checkpoint = read_tensors(path)
    try:
        check_checkpoint(checkpoint)
    except ValueError as error:
        raise ValueError(f"{str(path)!r} is not a checkpoint of this framework: {error}") from error
    content = {key: value for key, value in checkpoint.items() if key != "digest"}
    if checkpoint["digest"] != content_digest(content):
        raise ValueError(f"{str(path)!r} is damaged: its content is not what it was written with")
    if resume and not {"optimizer", "param_schedulers"} <= set(checkpoint):
        raise ValueError(f"{str(path)!r} has weights alone, no optimizer to resume from")
    return checkpoint


@HOOKS.register_module()
class AtomicCheckpoint(Hook):
    """Save ``epoch_N.pth`` (or ``iter_N.pth``) with ``epoch_N.safetensors`` beside it, and ``best.*``.

    A file appears under its name only when it is complete, and older ones are removed only after that: a kill, a
    crash or a full disk at any moment leaves the previous checkpoint and ``last_checkpoint``, which names it.

    Args:
        interval: epochs (or iterations) between checkpoints; the last one is always saved.
        by_epoch: whether the interval counts epochs.
        keep: how many checkpoints stay.
        best: the metric whose best value is kept; None for none.
        higher_is_better: its direction.
    """

    priority = "VERY_LOW"

    def __init__(
        self,
        interval: int = 1,
        by_epoch: bool = True,
        keep: int = 1,
        best: str | None = "delta_m",
        higher_is_better: bool = True,
    ) -> None:
        if interval < 1 or keep < 1:
            raise ValueError(f"interval and keep must be at least 1, not {interval} and {keep}")
        self.interval = interval
        self.by_epoch = by_epoch
        self.keep = keep
        self.best = best
        self.higher_is_better = higher_is_better

    def after_train_epoch(self, runner: Runner) -> None:
        if self.by_epoch and (self.every_n_epochs(runner, self.interval) or self.is_last_train_epoch(runner)):
            self._save_numbered(runner, "epoch", runner.epoch + 1)

    def after_train_iter(self, runner: Runner, batch_idx: int, data_batch=None, outputs=None) -> None:
        if not self.by_epoch and (self.every_n_train_iters(runner, self.interval) or self.is_last_train_iter(runner)):
            self._save_numbered(runner, "iter", runner.iter + 1)

    def after_val_epoch(self, runner: Runner, metrics: dict[str, float] | None = None) -> None:
        if self.best is None or not metrics:
            return
        value = metrics.get(self.best)
        if value is None:
            runner.logger.warning(f"no metric {self.best!r} to keep the best by; {choices(metrics, self.best)}")
            return
        known = runner.message_hub.runtime_info.get("best_score", -math.inf if self.higher_is_better else math.inf)
        better = value > known if self.higher_is_better else value < known
        if better:
            runner.message_hub.update_info("best_score", float(value))
            runner.logger.info(f"the best {self.best} so far: {value:.2f}")
            # validation comes after the epoch was counted
            self._save(runner, "best", epoch=runner.epoch, iteration=runner.iter)

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Leave out the log's smoothing buffers: without these objects the file holds tensors and plain values."""
        checkpoint.pop("message_hub")
        for name, key in (("build", "build"), ("settings", "source")):
            checkpoint[name] = json.loads(json.dumps(runner.cfg.get(key, {})))  # dicts, no classes
        checkpoint["best_score"] = runner.message_hub.runtime_info.get("best_score")

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Give MMEngine what `before_save_checkpoint` left out."""
        if checkpoint.get("best_score") is not None:
            runner.message_hub.update_info("best_score", checkpoint["best_score"])
        checkpoint.setdefault("message_hub", runner.message_hub.state_dict())

    @master_only
    def before_train(self, runner: Runner) -> None:
        for part in Path(runner.work_dir).glob(".*.part"):
            part.unlink()  # of a run that was killed

    @master_only
    def _save_numbered(self, runner: Runner, unit: str, number: int) -> None:
        epoch = number if unit == "epoch" else runner.epoch
        iteration = runner.iter if unit == "epoch" else number
        path = self._save(runner, f"{unit}_{number}", epoch, iteration)
        folder = Path(runner.work_dir)
        with replacing(folder / "last_checkpoint") as part:
            part.write_text(path.name)  # the folder may move
        numbered = sorted(folder.glob(f"{unit}_*.pth"), key=lambda p: int(p.stem.rpartition("_")[2]))
        for old in numbered[: -self.keep]:
            if int(old.stem.rpartition("_")[2]) < number:
                old.with_suffix(".safetensors").unlink(missing_ok=True)
                old.unlink()

    @master_only
    def _save(self, runner: Runner, stem: str, epoch: int, iteration: int) -> Path:
        model = model_of(runner)
        for name, tensor in model.state_dict().items():
            if tensor.is_floating_point() and not torch.isfinite(tensor).all():
                raise FloatingPointError(
                    f"{name} is not finite after epoch {epoch}: nothing is saved, {stem} is as it was"
                )
        path = Path(runner.work_dir) / f"{stem}.pth"
        with replacing(path) as part:
            meta = {"epoch": epoch, "iter": iteration}
            runner.save_checkpoint(str(part.parent), part.name, meta=meta, by_epoch=self.by_epoch)
        save_adapter(model, path.with_suffix(".safetensors"), runner.cfg.get("build", {}))
        return path
