"""MMEngine's runner with a readable console and a config dump that can be run again."""

from __future__ import annotations

import logging
from pathlib import Path
from pprint import pformat
from typing import Any

from mmengine.config import Config
from mmengine.dist import master_only
from mmengine.logging import MMLogger
from mmengine.runner import Runner

from mtl.engine.adapter_file import check_build, load_matching
from mtl.engine.checkpoints import model_of, read_checkpoint
from mtl.engine.files import replacing
from mtl.engine.resuming import check_same_training
from mtl.engine.training_state import check_resumable

FILE_ONLY = (
    "System environment:",
    "Hooks will be executed",
    "Config:\n",
    "SyncBatchNorm",
    "will be deprecated",
    "is skipped since its",
    "paramwise_options",
    "The dataset metainfo from the resumed checkpoint",  # it is in none: the identity has the data
    "Reach the end of the dataloader",  # it advises a sampler that does not tell the data set the epoch
    "Resumed iteration number is not divisible",  # the gradients that it misses are in the checkpoint
)
"""Marks of records that belong in the log file and drown the rest on a console."""


class MultiTaskRunner(Runner):
    """The runner of `mtl.engine.build.build_runner`; its config's ``source`` is the config as the user wrote it."""

    def build_logger(self, *args: Any, **kwargs: Any) -> MMLogger:
        logger = super().build_logger(*args, **kwargs)
        for handler in logger.handlers:
            if type(handler) is logging.StreamHandler:
                handler.addFilter(_for_the_console)
        return logger

    last_metrics: dict[str, float] | None = None
    """Of the latest validation, with what hooks added."""

    has_stepped: bool = False
    """Whether this start has trained an iteration."""

    def call_hook(self, fn_name: str, **kwargs: Any) -> None:
        super().call_hook(fn_name, **kwargs)
        if fn_name == "after_train_iter":
            self.has_stepped = True
        if fn_name == "after_val_epoch":
            self.last_metrics = kwargs.get("metrics")

    def load_checkpoint(self, filename: str, *args: Any, **kwargs: Any) -> dict:
        """MMEngine's, but strict, and without running code from the file."""
        checkpoint = read_checkpoint(Path(filename), resume=self._resume)
        check_build(checkpoint["build"], self.cfg["build"], filename)
        if self._resume:
            check_same_training(checkpoint, self, Path(filename))
            check_resumable(checkpoint, self, filename)
        self.call_hook("after_load_checkpoint", checkpoint=checkpoint)
        model = model_of(self)
        load_matching(model, checkpoint["state_dict"], model.state_dict(), filename)
        self._has_loaded = True
        self.logger.info(f"loaded {filename}")
        return checkpoint

    @master_only
    def dump_config(self) -> None:
        """Write ``config.py`` to the work dir, never over another file's text: it may be the config itself."""
        path = Path(self.work_dir) / "config.py"
        if not path.exists():
            # MMEngine's own dump sorts the keys, and the order of tasks is part of a model
            plain = Config(self.cfg["source"]).to_dict()
            lines = [f"{key} = {pformat(value, width=110, sort_dicts=False)}\n" for key, value in plain.items()]
            with replacing(path) as part:
                part.write_text("".join(lines), "utf-8")


def _for_the_console(record: logging.LogRecord) -> bool:
    return not any(mark in record.getMessage() for mark in FILE_ONLY)
