"""MMEngine's runner with a readable console and a config dump that can be run again."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from pprint import pformat
from typing import Any

from mmengine.config import Config
from mmengine.dist import master_only
from mmengine.logging import MMLogger
from mmengine.runner import Runner

from mtl.engine.adapter_file import check_build, load_matching
from mtl.engine.checkpoints import model_of, read_checkpoint, seal_checkpoint
from mtl.engine.resuming import check_resumable
from mtl.engine.settings import first_difference

FILE_ONLY = (
    "System environment:",
    "Hooks will be executed",
    "Config:\n",
    "SyncBatchNorm",
    "will be deprecated",
    "is skipped since its",
    "paramwise_options",
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

    def call_hook(self, fn_name: str, **kwargs: Any) -> None:
        super().call_hook(fn_name, **kwargs)
        if fn_name == "after_val_epoch":
            self.last_metrics = kwargs.get("metrics")
        elif fn_name == "before_save_checkpoint":  # after the last hook; MMEngine adds nothing more
            seal_checkpoint(kwargs["checkpoint"])

    def load_checkpoint(self, filename: str, *args: Any, **kwargs: Any) -> dict:
        """MMEngine's, but strict, and without running code from the file."""
        checkpoint = read_checkpoint(Path(filename), resume=self._resume)
        check_build(checkpoint.get("build"), self.cfg.get("build"), filename)
        if self._resume:
            _check_settings(checkpoint.get("settings"), self.cfg["source"], Path(filename))
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
            path.write_text("".join(lines), "utf-8")


def _check_settings(saved: Mapping[str, Any] | None, own: Mapping[str, Any], path: Path) -> None:
    """Raise `ValueError` where a training would go on as another one.

    Schedulers go on as the checkpoint has them, the learning rate 0 at their end: neither more epochs nor another
    schedule would do what the config says.
    """
    if saved and (found := first_difference(saved, own)):
        key, before, now = found
        run = path.parent
        raise ValueError(
            f"{path} is of a run with {key} {before}, the config has {now}: train into another --work-dir, or resume "
            f"with the run's own config (tools/train.py {run / 'config.py'} --work-dir {run} --resume)"
        )


def _for_the_console(record: logging.LogRecord) -> bool:
    return not any(mark in record.getMessage() for mark in FILE_ONLY)
