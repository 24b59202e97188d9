"""A kill before any file-system operation of a training: the resumed run ends as the one that was never stopped.

A kill leaves the run's folder as it is at that moment, so that a copy of it, made before the operation, is what a run
that was killed there is resumed from. Every operation that Python audits makes one: opening for writing, renaming,
removing, making folders; and every file that is renamed into its place is cut in half too, as a kill in the middle of
writing leaves it. Copies that are the same but for logs, which no run reads, are resumed once.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from tiny import forget_runs, run_tool, write_config

from mtl.engine.files import PART

EXTRA = """
train_cfg.update(max_epochs={epochs}, val_interval=1)
train_dataloader['dataset'].update(length=4)
val_dataloader['dataset'].update(length=2)
default_hooks.update(checkpoint=dict(keep=1), logger=dict(interval=100), pictures={pictures})
optim_wrapper['optimizer'] = dict(type='Adam', lr={lr})
method = {method}
"""

METHODS = {
    "decoders_only": (dict(type="DecodersOnly"), 0.1, 3, 2),
    "lora": (dict(type="LoRA", rank=2), 0.1, 2, 1),
    "full": (dict(type="MultiTaskFull"), 0.02, 2, 1),
}
"""Method, rate, epochs, and the best of them: the last validation is worse, one of three replaces the best."""

WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND


class Snapshots:
    """Copies of a folder, one before each operation in it."""

    def __init__(self, run: Path, copies: Path) -> None:
        self.run, self.copies = run, copies
        self.names: list[str] = []
        self.active = False
        sys.addaudithook(self._hear)

    def _hear(self, event: str, arguments: tuple) -> None:
        if not self.active or not self._changes(event, arguments):
            return
        path = Path(os.fsdecode(arguments[0]))
        if not path.is_absolute() or not path.is_relative_to(self.run):
            return
        self._copy(f"{event} {path.name}")
        if event == "os.rename" and path.name.endswith(PART):
            name = str(path.relative_to(self.run)).replace(f".{os.getpid()}.", ".1.")
            half = self._copy(f"half {path.name}") / name
            half.write_bytes(half.read_bytes()[: half.stat().st_size // 2])

    @staticmethod
    def _changes(event: str, arguments: tuple) -> bool:
        if event == "open":
            path, mode, flags = arguments
            writes = bool(flags & WRITES) if isinstance(flags, int) else False
            return isinstance(path, (str, bytes)) and (writes or bool(mode and set(mode) & set("wax+")))
        return event in ("os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.chmod", "os.truncate", "os.link")

    def _copy(self, name: str) -> Path:
        self.active = False  # its own operations are none of the run's
        folder = self.copies / f"{len(self.names):03d}"
        if self.run.exists():
            shutil.copytree(self.run, folder, ignore=shutil.ignore_patterns(".lock"))
        else:
            folder.mkdir(parents=True)
        for part in folder.rglob(f".*{PART}"):
            part.rename(str(part).replace(f".{os.getpid()}.", ".1."))  # of a process that is gone
        self.names.append(name)
        self.active = True
        return folder

    def distinct(self) -> dict[str, Path]:
        """The copies that differ in more than logs, by their operation."""
        found: dict[str, tuple[str, Path]] = {}
        for number, name in enumerate(self.names):
            folder = self.copies / f"{number:03d}"
            files = [p for p in sorted(folder.rglob("*")) if p.is_file() and p.relative_to(folder).parts[0][0] != "2"]
            content = hashlib.sha256()
            for path in files:
                content.update(str(path.relative_to(folder)).encode() + path.read_bytes())
            found.setdefault(content.hexdigest(), (f"{number} {name}", folder))
        return dict(found.values())


def end_of(run: Path) -> dict[str, object]:
    """Everything that a finished run leaves, in a form that compares: no times, no logs."""
    result = json.loads((run / "result.json").read_text())
    result.pop("cost")
    files = sorted(p.name for p in run.iterdir() if p.is_file())
    pictures = {str(p.relative_to(run)): p.read_bytes() for p in run.glob("pictures/*/*")}
    adapters = {p.name: {k: v.tolist() for k, v in load_file(p).items()} for p in run.glob("*.safetensors")}
    states = {}
    for path in run.glob("*.pth"):
        checkpoint = torch.load(path, weights_only=True)
        state = {key: value.tolist() for key, value in checkpoint["state_dict"].items()}
        states[path.name] = (state, checkpoint["best"], checkpoint["first_scores"], checkpoint["meta"]["iter"])
    last = (run / "last_checkpoint").read_text()
    return {
        "files": files,
        "result": result,
        "pictures": pictures,
        "adapters": adapters,
        "states": states,
        "last": last,
    }


@pytest.mark.parametrize("name", METHODS)
def test_every_crash_point_ends_as_the_whole_run(name, tmp_path):
    method, lr, epochs, best = METHODS[name]
    pictures = {"images": 1} if name == "decoders_only" else None  # they are the same for all
    config = write_config(tmp_path, EXTRA.format(method=method, lr=lr, epochs=epochs, pictures=pictures))
    run = tmp_path / "run"
    snapshots = Snapshots(run, tmp_path / "copies")
    snapshots.active = True
    try:
        assert run_tool("train.py", config, "--work-dir", run) == 0
    finally:
        snapshots.active = False
    expected = end_of(run)
    assert expected["states"]["best.pth"][3] == best  # of one step an epoch
    run.rename(tmp_path / "whole")
    points = snapshots.distinct()
    assert len(points) > 10 * epochs
    for operation, copy in points.items():
        shutil.copytree(copy, run)
        options = ["--resume"] if list(run.glob("epoch_*.pth")) else []
        forget_runs()
        assert run_tool("train.py", config, "--work-dir", run, *options) == 0, operation
        found = end_of(run)
        for key, value in expected.items():
            assert found[key] == value, (operation, key)
        shutil.rmtree(run)
