"""Every config that ships is read, checked and assembled; nothing is built or downloaded."""

from __future__ import annotations

from pathlib import Path

import pytest
from tiny import write_config

from mtl.engine.build import assemble
from mtl.engine.config import read_config
from mtl.engine.plugins import register_all
from mtl.registry import DECODERS, ENCODERS, METHODS, TASKS, check_part

ROOT = Path(__file__).resolve().parents[1] / "configs"
LEAVES = sorted(
    path
    for path in ROOT.rglob("*.py")
    # one that imports a plug-in is a user's, and the plug-in may not be here
    if "_base_" not in path.parts and "custom_imports" not in path.read_text("utf-8")
)


def test_another_method_starts_from_its_own_defaults(tmp_path):
    path = write_config(tmp_path)
    assert read_config(path, {"method.type": "DecodersOnly"}).method == {"type": "DecodersOnly"}
    assert read_config(path, {"method.type": "Polyhistor", "method.rank": 2}).method == {
        "type": "Polyhistor",
        "rank": 2,
    }
    assert read_config(path, {"method.type": "PolyhistorLite"}).method == {"type": "PolyhistorLite", "reduction": 4}
    assert read_config(path, {"method.reduction": 2}).method == {"type": "PolyhistorLite", "reduction": 2}


@pytest.mark.parametrize("path", LEAVES, ids=lambda path: str(path.relative_to(ROOT)))
def test_config(path):
    register_all()
    full = assemble(read_config(path, {"data_root": str(ROOT)}), train=True)
    check_part(full.encoder, ENCODERS)
    check_part(full.method, METHODS)
    check_part(full.get("decoder") or {"type": "AllMLP"}, DECODERS, ["in_channels", "out_channels"])
    for task in full.tasks.values():
        check_part(task, TASKS)
    assert full.train_dataloader.dataset.pipeline[0]["size"] == full.encoder["size"]
