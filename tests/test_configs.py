"""Every config that ships is read, checked and assembled; nothing is built or downloaded."""

from __future__ import annotations

from pathlib import Path

import pytest

from mtl.engine.config import _assemble, read_config
from mtl.engine.plugins import register_all
from mtl.registry import DECODERS, ENCODERS, METHODS, TASKS, check_part

ROOT = Path(__file__).resolve().parents[1] / "configs"
LEAVES = sorted(path for path in ROOT.rglob("*.py") if "_base_" not in path.parts)


@pytest.mark.parametrize("path", LEAVES, ids=lambda path: str(path.relative_to(ROOT)))
def test_config(path):
    register_all()
    full = _assemble(read_config(path, {"data_root": "DATA"}), train=True)
    check_part(full.encoder, ENCODERS)
    check_part(full.method, METHODS)
    check_part(full.get("decoder") or {"type": "AllMLP"}, DECODERS, ["in_channels", "out_channels"])
    for task in full.tasks.values():
        check_part(task, TASKS)
    assert full.train_dataloader.dataset.pipeline[0]["size"] == full.encoder["size"]
