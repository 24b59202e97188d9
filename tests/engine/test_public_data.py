"""Training and testing on replicas of the public data sets, all of their tasks, at both protocols."""

from __future__ import annotations

import json

import numpy as np
import pytest
from replicas import nyud, pascal
from tiny import run_tool, write_config

EXTRA = """
encoder.update(size=(64, 64))
tasks = dict(
    semseg=dict(type="SemanticSegmentation", classes={classes}),
    normals=dict(type="SurfaceNormals"),
    edge=dict(type="Edge", thresholds=5),
    **{more},
)
train_dataloader.update(
    batch_size=2, dataset=dict(type="{kind}", split="train", pipeline=[dict(type="RandomAugment")])
)
val_dataloader.update(dataset=dict(type="{kind}", split="val", pipeline=[dict(type="Resize")]))
single_task = None
"""
SETS = {
    "PascalContext": (lambda root: pascal(root / "PASCAL_MT"), 21, 'dict(human_parts=dict(type="HumanParts"))'),
    "NYUD": (lambda root: nyud(root / "NYUD_MT", "C"), 40, 'dict(depth=dict(type="Depth"))'),
}


@pytest.mark.parametrize("kind", SETS)
def test_train_and_test(kind, tmp_path, capsys):
    write, classes, more = SETS[kind]
    root = write(tmp_path)
    config = write_config(tmp_path, EXTRA.format(kind=kind, classes=classes, more=more))
    data = f"data_root={root}"
    before = sorted(root.rglob("*"))
    assert run_tool("train.py", config, "--work-dir", tmp_path / "run", "--cfg-options", data) == 0
    result = json.loads((tmp_path / "run" / "result.json").read_text())
    assert result["protocol"] == "original"
    assert "metrics at original resolution" in capsys.readouterr().out
    assert all(np.isfinite(value) for value in result["main"].values())
    weights = tmp_path / "run" / "epoch_2.safetensors"
    arguments = ("test.py", config, weights, "--work-dir", tmp_path / "test", "--cfg-options", data)
    assert run_tool(*arguments) == 0
    again = json.loads((tmp_path / "test" / "test.json").read_text())
    for task, score in result["main"].items():
        assert again["main"][task] == pytest.approx(score, rel=1e-5)
    assert run_tool(*arguments, "protocol=resized") == 0
    resized = json.loads((tmp_path / "test" / "test.json").read_text())
    assert resized["protocol"] == "resized"
    assert resized["main"] != again["main"]
    assert sorted(root.rglob("*")) == before  # nothing is written beside the data
