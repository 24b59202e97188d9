"""What happens around training: parameters and the freeze check, seeds, Δm, pictures, progress."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from mmengine.dist import get_rank, get_world_size, is_main_process, master_only
from mmengine.hooks import Hook
from mmengine.logging import MMLogger
from mmengine.runner import EpochBasedTrainLoop, Runner
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from mtl.engine.checkpoints import model_of
from mtl.engine.files import replacing
from mtl.engine.parameters import attachment_table, check_formula
from mtl.engine.pictures import comparison
from mtl.engine.rates import check_rates
from mtl.evaluation.delta_m import delta_m, load_single_task, mean_gain
from mtl.registry import HOOKS
from mtl.structures import MultiTaskSample

H = TypeVar("H", bound=Hook)


def hook_of(runner: Runner, kind: type[H]) -> H | None:
    """The runner's hook of a class, or None."""
    return next((hook for hook in runner.hooks if isinstance(hook, kind)), None)


@HOOKS.register_module()
class ParameterTable(Hook):
    """Log what is attached where, and hold the training to it.

    Before training the trained parameters of encoder and method must equal the method's formula; after it the frozen
    weights must be bit for bit what they were.
    """

    def before_train(self, runner: Runner) -> None:
        model = model_of(runner)
        runner.logger.info("\n" + attachment_table(model))
        check_formula(model)
        check_rates(runner)
        self._frozen = self._hash(runner)

    def after_train(self, runner: Runner) -> None:
        if self._hash(runner) != self._frozen:
            raise RuntimeError("frozen weights changed during training")

    @staticmethod
    def _hash(runner: Runner) -> str:
        digest = hashlib.sha256()
        for name, parameter in model_of(runner).named_parameters():
            if not parameter.requires_grad:
                digest.update(name.encode())
                digest.update(parameter.detach().cpu().contiguous().view(torch.uint8).numpy().tobytes())
        return digest.hexdigest()


@HOOKS.register_module()
class IterationSeed(Hook):
    """Seed torch from the run's seed, the iteration and the rank: dropout is the same after a resume."""

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch=None) -> None:
        state = np.random.SeedSequence((runner.seed or 0, runner.iter * get_world_size() + get_rank()))
        torch.manual_seed(int(state.generate_state(1)[0]))


@HOOKS.register_module()
class DeltaM(Hook):
    """Add ``delta_m`` (%) to the metrics of every validation and test.

    Without single-task scores validations get ``gain`` (%) in its place, relative to the scores of the run's first
    one: a number to know the best by, of this run alone.

    Args:
        single_task: task to score, the name of a shipped reference, or a JSON that ``tools/test.py`` wrote; None
            leaves Δm out, and says so once.
    """

    # before the logger and the checkpoint hook read the metrics
    priority = "NORMAL"

    def __init__(self, single_task: Mapping[str, float] | str | None = None) -> None:
        self.single_task = None if single_task is None else load_single_task(single_task)
        self.first: dict[str, float] | None = None
        """Scores of the run's first validation."""

    def before_run(self, runner: Runner) -> None:
        if self.single_task is None:
            runner.logger.warning("no single-task scores (single_task = ... in the config): no Δm is computed")
            return
        # fails here and now, not after training
        tasks = model_of(runner).tasks
        known = dict.fromkeys(tasks, 1.0)
        delta_m(known, self.single_task, {name: task.higher_is_better for name, task in tasks.items()})

    def after_val_epoch(self, runner: Runner, metrics: dict[str, float] | None = None) -> None:
        if not metrics:
            return
        if self.single_task is not None:
            self.after_test_epoch(runner, metrics)
            return
        scores, directions = self._main(runner, metrics)
        self.first = self.first or scores
        metrics["gain"] = mean_gain(scores, self.first, directions)

    def after_test_epoch(self, runner: Runner, metrics: dict[str, float] | None = None) -> None:
        if self.single_task is None or not metrics:
            return
        scores, directions = self._main(runner, metrics)
        unlabelled = [name for name, value in scores.items() if np.isnan(value)]
        if unlabelled:
            runner.logger.warning(f"no Δm: nothing is labelled for {', '.join(unlabelled)}")
            return
        metrics["delta_m"] = delta_m(scores, self.single_task, directions)

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        checkpoint["first_scores"] = self.first

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        if runner._resume:
            self.first = checkpoint["first_scores"]

    @staticmethod
    def _main(runner: Runner, metrics: Mapping[str, float]) -> tuple[dict[str, float], dict[str, bool]]:
        """Each task's main score and its direction."""
        tasks = model_of(runner).tasks
        scores = {name: float(metrics[f"{name}/{task.metric}"]) for name, task in tasks.items()}
        return scores, {name: task.higher_is_better for name, task in tasks.items()}


@HOOKS.register_module()
class PredictionPictures(Hook):
    """Write image, truth and prediction of every task for a few validation images, with a legend.

    Args:
        images: how many, spread evenly over the set.
        interval: validations between pictures; the last validation always has them.
    """

    def __init__(self, images: int = 4, interval: int = 1) -> None:
        self.images = images
        self.interval = interval

    def after_val_epoch(self, runner: Runner, metrics: dict[str, float] | None = None) -> None:
        loop = runner.train_loop
        by_epoch = isinstance(loop, EpochBasedTrainLoop)
        done, last = (loop.epoch, loop.max_epochs) if by_epoch else (loop.iter, loop.max_iters)
        if done >= last or done // loop.val_interval % self.interval == 0:
            self._write(runner, runner.val_dataloader.dataset, f"{'epoch' if by_epoch else 'iter'}_{done}")

    def after_test_epoch(self, runner: Runner, metrics: dict[str, float] | None = None) -> None:
        self._write(runner, runner.test_dataloader.dataset, "test")

    @master_only
    def _write(self, runner: Runner, dataset: torch.utils.data.Dataset, name: str) -> None:
        model = model_of(runner)
        folder = Path(runner.work_dir) / "pictures" / name
        size = len(dataset)  # type: ignore[arg-type]
        indices = sorted({round(i) for i in np.linspace(0, size - 1, min(self.images, size))})
        training = model.training
        model.eval()
        for index in indices:
            item = dataset[index]
            sample: MultiTaskSample = item["data_samples"]
            # without targets every task is predicted, labelled or not
            bare = MultiTaskSample(metainfo=sample.metainfo)
            (predicted,) = model.test_step({"inputs": [item["inputs"]], "data_samples": [bare]})
            picture = comparison(model.tasks, item["inputs"], sample, predicted)
            path = folder / f"{index:05d}_{Path(str(sample.name)).name}.png"
            with replacing(path) as part:
                picture.save(part, "PNG")
        model.train(training)
        runner.logger.info(f"{len(indices)} pictures in {folder}")


@HOOKS.register_module()
class ProgressBar(Hook):
    """A bar with ETA and loss on a terminal, where the log's lines then go to the file alone."""

    priority = "LOWEST"

    def before_train(self, runner: Runner) -> None:
        self._bar: Progress | None = None
        if not (is_main_process() and sys.stderr.isatty()):
            return
        from rich.console import Console

        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("ETA"),
            TimeRemainingColumn(),
            console=Console(stderr=True),
        )
        self._task = self._bar.add_task("training", total=runner.max_iters, completed=runner.iter)
        self._bar.start()
        self._quiet(runner.logger, True)

    def after_train_iter(self, runner: Runner, batch_idx: int, data_batch=None, outputs=None) -> None:
        if self._bar is not None:
            text = f"epoch {runner.epoch + 1}/{runner.max_epochs}"
            if outputs and "loss" in outputs:
                text += f"  loss {float(outputs['loss']):.3f}"
            self._bar.update(self._task, completed=runner.iter + 1, description=text)

    def after_train(self, runner: Runner) -> None:
        if self._bar is not None:
            self._bar.stop()
            self._bar = None
            self._quiet(runner.logger, False)

    @staticmethod
    def _quiet(logger: MMLogger, quiet: bool) -> None:
        import logging

        for handler in logger.handlers:
            if type(handler) is logging.StreamHandler:
                handler.setLevel(logging.WARNING if quiet else logging.INFO)
