"""The numbers of `tools/count.py`: parameters to the integer, bytes of a really written file, FLOPs by hand."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from conftest import SMALL_ENCODERS
from tiny import run_tool, write_config
from torch.utils.flop_counter import FlopCounterMode

from mtl.engine.adapter_file import save_adapter
from mtl.engine.count import adapter_size, count, inference_flops, training_flops
from mtl.models.multitask import MultiTaskModel

SWIN_T = """
encoder = dict(type="TimmEncoder", name="swin_tiny_patch4_window7_224", size=(224, 224), weights=True)
method = {method!r}
tasks = dict(
    semseg=dict(type="SemanticSegmentation", classes=21),
    human_parts=dict(type="HumanParts"),
    saliency=dict(type="Saliency"),
    normals=dict(type="SurfaceNormals"),
)
"""
DECODERS = 2549024
"""Swin-T's four, as in the tests of the methods' counts."""
BASE = 27517818


@pytest.mark.parametrize(
    ("method", "expected"),
    [
        ({"type": "DecodersOnly"}, 0),
        ({"type": "MultiTaskFull"}, BASE),
        ({"type": "PolyhistorLite"}, 414516),
    ],
    ids=lambda value: value["type"] if isinstance(value, dict) else "",
)
def test_swin_t(method, expected, tmp_path):
    """The integers of the paper's tables; ``weights=True`` downloads nothing."""
    (tmp_path / "config.py").write_text(SWIN_T.format(method=method))
    found = count(tmp_path / "config.py")
    assert (found.trained_encoder, found.trained_decoders) == (expected, DECODERS)
    assert found.total_encoder == BASE + (0 if method["type"] == "MultiTaskFull" else expected)
    assert found.total_decoders == DECODERS
    stored = 4 * (expected + DECODERS)
    assert stored < found.adapter_bytes < 1.02 * stored + 50_000
    # forward, and gradients with respect to weights, inputs or both: between two and three times the forward pass
    assert 1 < found.training / found.inference <= 3
    shared = method["type"] in ("DecodersOnly", "MultiTaskFull")
    assert (sum(found.inference_by_task.values()) == found.inference) != shared


def model_of(family, method, weights=False):
    config = {
        "encoder": {"type": "TimmEncoder", **SMALL_ENCODERS[family], "size": (64, 96), "weights": weights},
        "method": {"type": method},
        "decoder": {"type": "AllMLP", "channels": 16},
        "tasks": {"edge": {"type": "Edge"}, "normals": {"type": "SurfaceNormals"}},
    }
    return MultiTaskModel(**config), config


@pytest.mark.parametrize("method", ["DecodersOnly", "SharedAdapter", "SingleTaskFull"])
@pytest.mark.parametrize("family", ["swin", "convnext"])
def test_adapter_size_is_the_files(family, method, tmp_path):
    model, config = model_of(family, method)
    save_adapter(model, tmp_path / "a.safetensors", config)
    assert adapter_size(model, config) == (tmp_path / "a.safetensors").stat().st_size


@pytest.mark.parametrize("family", ["swin", "vit", "pvt", "convnext"])
def test_operations_without_values_are_those_with_values(family):
    """Whatever attention kernels the two devices have."""
    model, _ = model_of(family, "Adapter")
    tasks, found = ["edge", "normals"], []
    for device in ("cpu", "meta"):
        model.to(device)
        found.append((inference_flops(model, tasks), training_flops(model, tasks)))
    assert found[0] == found[1]


def test_operations_of_a_decoder_by_hand():
    """Four linear maps, their fused weights and biases, a classifier; one task of one channel."""
    model, _ = model_of("convnext", "DecodersOnly")
    model.to("meta")
    maps = [
        torch.zeros(1, c, 64 // s, 96 // s, device="meta")
        for c, s in zip((24, 48, 72, 96), (4, 8, 16, 32), strict=True)
    ]
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model.eval().decoders["edge"](maps)
    places = [(64 // s) * (96 // s) for s in (4, 8, 16, 32)]
    expected = sum(2 * n * c * 16 for n, c in zip(places, (24, 48, 72, 96), strict=True))  # linear maps
    expected += sum(2 * 16 * 16 * (c + 1) for c in (24, 48, 72, 96))  # the weights and biases fused
    expected += 2 * places[0] * 16  # the classifier
    # fusing a bias is a matrix by a vector, which the counter may leave out
    assert counter.get_total_flops() in (expected, expected - 4 * 2 * 16 * 16)
    before = inference_flops(model, ["edge"])
    assert inference_flops(model, ["edge", "normals"]) - before == pytest.approx(counter.get_total_flops(), rel=0.05)


TWO_TASKS = """
tasks = dict(semseg=dict(type="SemanticSegmentation", classes=9), normals=dict(type="SurfaceNormals"))
single_task = None
"""


def test_tool(tmp_path, capsys):
    config = write_config(tmp_path, TWO_TASKS)
    assert run_tool("count.py", config, config, "--format", "markdown", "--cfg-options", "method.type=LoRA") == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[2] == lines[3]
    assert "| tiny | LoRA |" in lines[2]
    assert all(one.count("|") == other.count("|") for one, other in pairwise(lines[:4]))
    assert run_tool("count.py", config, "--format", "json") == 0
    (row,) = json.loads(capsys.readouterr().out)["configs"]
    assert row["method"] == "PolyhistorLite"
    assert set(row["training_by_task"]) == {"semseg", "normals"}
    (tmp_path / "lora_8.py").write_text("method = dict(type='LoRA', rank=8)")
    assert run_tool("count.py", config, "--method", tmp_path / "lora_8.py") == 0
    text = capsys.readouterr().out
    assert text.splitlines()[1].split()[:2] == ["tiny", "lora_8"]
    assert "a multiply-add is two" in text


def test_mistakes(tmp_path, capsys):
    config = write_config(tmp_path)
    for arguments in ([Path("none.py")], [config, "--cfg-options", "method.type=Lora"]):
        assert run_tool("count.py", *arguments) == 2
        error = capsys.readouterr().err
        assert error.startswith("error: ")
        assert error.count("\n") == 1
