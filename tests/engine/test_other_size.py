"""A checkpoint under another size: of its encoder, which is refused, and of the images, which is not."""

from __future__ import annotations

import json

import pytest
from tiny import run_tool, write_config
from trained import write_checkpoints

SQUARE = "\nencoder['size'] = (32, 32)\n"  # tables of windows that are no squares cannot be resampled


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("trained")
    write_checkpoints(folder, SQUARE)
    return folder


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("model.safetensors", ["of size [32, 32]", "of size [64, 64]", "set encoder.size=[32, 32]"]),
        ("model.pth", ["another encoder.size", "relative_position_bias_table"]),
    ],
)
def test_another_encoder_size_is_named(folder, tmp_path, capsys, name, said):
    config = write_config(tmp_path, SQUARE, weights=str(folder / "base.safetensors"))
    options = ["--work-dir", tmp_path / "test", "--cfg-options"]
    assert run_tool("test.py", config, folder / name, *options, "encoder.size=[64,64]") == 2
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1
    assert all(part in lines[0] for part in [name, *said])
    assert "other base weights" not in lines[0]


def test_images_of_another_size(folder, tmp_path):
    """As the message advises; and it changes the scores."""
    config = write_config(tmp_path, SQUARE, weights=str(folder / "base.safetensors"))
    scores = []
    for size in ("[32,32]", "[64,64]"):
        out = tmp_path / f"{size}.json"
        options = [
            "--work-dir",
            tmp_path / "test",
            "--out",
            out,
            "--cfg-options",
            f"val_dataloader.dataset.size={size}",
        ]
        assert run_tool("test.py", config, folder / "model.safetensors", *options) == 0
        scores.append(json.loads(out.read_text())["main"])
    assert scores[0] != scores[1]
