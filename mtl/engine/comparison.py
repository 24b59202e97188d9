"""Runs that are compared: each is trained once, in a process of its own, and kept as long as its config is the same."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mtl.engine.config import method_file, read_config
from mtl.engine.run_folder import RESULT, latest_checkpoint
from mtl.engine.settings import TRAINING, first_difference, plain
from mtl.evaluation.result_file import read_result

COMPARED = (*TRAINING, "method", "protocol", "val_dataloader", "val_evaluator", "custom_hooks", "load_from")
"""The keys of a config that a finished run is kept by."""


def check_kept(folder: Path, config: Path, options: Mapping[str, Any] | None, method: str | None = None) -> None:
    """Raise `ValueError` where a finished run is not of the config that would be trained now."""
    if not (folder / RESULT).is_file():
        return
    try:
        settings = read_result(folder / RESULT)["settings"]
    except ValueError as error:
        raise ValueError(f"{folder / RESULT}: {error}; delete its folder to train the run anew") from error
    file = None if method is None else method_file(config, method)
    wanted = plain(read_config(config, options, file).to_dict())
    if found := first_difference(settings, wanted, COMPARED):
        key, before, now = found
        raise ValueError(
            f"{folder} is a finished run with {key} {before}, this call's config has {now}: name another --work-dir, "
            f"or delete that folder (tools/report.py {folder.parent} compares the runs as they are)"
        )


def train_apart(
    tool: Path, config: Path, folder: Path, options: Mapping[str, Any], method: str | None = None, jobs: int = 1
) -> str | None:
    """Train into ``folder`` unless it holds a result; what was interrupted goes on. What went wrong, or None.

    Args:
        tool: ``tools/train.py``; what it prints goes to ``console.log`` in the folder.
        config: the config file.
        folder: of the run.
        options: merged into the config.
        method: as ``--method`` takes it.
        jobs: trainings that share the cores.
    """
    if (folder / RESULT).is_file():
        print(f"{folder.name}: done before", flush=True)
        return None
    folder.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, str(tool), str(config), "--work-dir", str(folder)]
    command += ["--method", method] if method else []
    command += ["--resume"] if latest_checkpoint(folder) else []
    command += ["--cfg-options", *(f"{key}={value}" for key, value in options.items())]
    threads = max(1, (os.cpu_count() or 1) // jobs)
    with (folder / "console.log").open("a") as log:
        environment = {"OMP_NUM_THREADS": str(threads), **os.environ}
        done = subprocess.run(command, stdout=log, stderr=subprocess.STDOUT, env=environment, check=False)
    if done.returncode:
        last = (folder / "console.log").read_text("utf-8", errors="replace").splitlines()[-1:]
        return f"{folder.name}: {' '.join(last) or 'failed'} (its console.log has more)"
    print(f"{folder.name}: done", flush=True)
    return None
