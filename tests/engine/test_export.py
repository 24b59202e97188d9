"""Exported graphs compute what the model computes, for other batches and sizes; timm takes merged encoders."""

from __future__ import annotations

import json

import numpy as np
import onnx
import pytest
import timm
import torch
from conftest import PHOTOS, SIZES, SMALL_ENCODERS, needs_photos
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load_file
from tiny import run_tool
from trained import write_checkpoints

from mtl.engine import export
from mtl.engine.export import Graph, load_onnx, load_pt2, normalised, save_graph, trace
from mtl.engine.rebuild import rebuild

SHALLOW = {
    "swin": {"depths": (2, 1, 1, 1)},
    "pvt": {"depths": (1, 1, 1, 1)},
    "pvt_v2": {"depths": (1, 1, 1, 1)},
    "convnext": {"depths": (1, 1, 1, 1)},
}
"""Tracing takes seconds a block and path."""

PT2 = ("swin", "vit", "convnext", "pvt")
"""Of each way to go through an image one; the graph is the same for ONNX."""

FORMATS = {".onnx": load_onnx, ".pt2": load_pt2}


def checkpoint(folder, family, method, tasks=2):
    """A small model's adapter file."""
    small = SMALL_ENCODERS[family]
    options = {**small["options"], **SHALLOW.get(family, {})}
    size = SIZES.get(family, (64, 96))
    known = {"semseg": {"type": "SemanticSegmentation", "classes": 5}, "normals": {"type": "SurfaceNormals"}}
    write_checkpoints(
        folder,
        f"\nencoder = dict(type='TimmEncoder', name={small['name']!r}, size={size}, options={options})"
        f"\nmethod = {method!r}\n"
        f"\ntasks = {dict(list(known.items())[:tasks])}\n",
    )
    return folder / "model.safetensors"


def noise(size, batch):
    return torch.rand(batch, 3, *size, generator=torch.Generator().manual_seed(3)) * 255


def photos(size, batch):
    files = sorted((PHOTOS / "images").iterdir())[:batch]
    arrays = [np.array(Image.open(file).convert("RGB").resize(size[::-1])) for file in files]
    return torch.from_numpy(np.stack(arrays)).permute(0, 3, 1, 2).float().contiguous()


@torch.no_grad()
def assert_agrees(model, run, images, tolerance=1e-4):
    found = run(images)
    expected = model(normalised(model, images))
    assert list(found) == list(expected)
    for task, logits in expected.items():
        assert found[task].shape == logits.shape
        assert (found[task] - logits).abs().max() <= tolerance, task


@pytest.fixture(scope="module", params=sorted(SMALL_ENCODERS))
def exported(request, tmp_path_factory):
    """A model, and for each format how its export went and what runs it."""
    family, folder = request.param, tmp_path_factory.mktemp(request.param)
    # in a Swin inside the windows too, with their tables
    model, _ = rebuild(checkpoint(folder, family, {"type": "BitFit" if family == "swin" else "Adapter"}, tasks=1))
    traced, made = trace(model), []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(export, "trace", lambda _: traced)  # it takes as long as all the rest
        for suffix in FORMATS if family in PT2 else [".onnx"]:
            report = save_graph(model, folder / f"model{suffix}")
            made.append((report, FORMATS[suffix](folder / f"model{suffix}")))
    return model, made


def test_every_family_at_any_size(exported):
    model, made = exported
    d = model.encoder.divisor
    for report, run in made:
        assert report.fixed is None
        assert report.difference <= 1e-4
        assert len({shape[0] for shape in report.shapes}) == len({shape[1:] for shape in report.shapes}) == 2
        for size, batch in [(model.encoder.size, 3), ((3 * d, 4 * d), 1), ((11 * d, 8 * d), 2)]:
            assert_agrees(model, run, noise(size, batch))


@needs_photos
def test_photographs(exported):
    model, made = exported
    d = 32 // model.encoder.divisor * model.encoder.divisor
    for _, run in made:
        for size in [(4 * d, 6 * d), (8 * d, 5 * d)]:
            assert_agrees(model, run, photos(size, 2))


@pytest.mark.parametrize(
    "method",
    [
        {"type": "PolyhistorLite", "reduction": 4},
        {"type": "SingleTaskFull"},
        {"type": "MTLoRA", "rank": 4},
        {"type": "Composite", "methods": [{"type": "BitFit"}, {"type": "DoRA"}]},
    ],
    ids=lambda method: method["type"],
)
def test_methods(method, tmp_path):
    """A hypernetwork, whole encoders, branches, changes of biases and weights; LoRA is in `test_tool`."""
    model, _ = rebuild(checkpoint(tmp_path, "vit", method))
    report = save_graph(model, tmp_path / "model.onnx")
    assert report.fixed is None
    assert report.difference <= 1e-4
    # base weights are there once; a hypernetwork is not there at all, but what it generates is
    stored = onnx.load(tmp_path / "model.onnx").graph.initializer
    held = sum(value.numel() for value in Graph(model).state_dict().values())
    assert sum(int(np.prod(tensor.dims)) for tensor in stored) <= 1.02 * held
    assert not any("hypernetwork" in tensor.name for tensor in stored)


def test_an_encoder_for_one_size_only(tmp_path, monkeypatch):
    """What cannot be traced for all sizes is written for its own, and the report says why."""
    model, _ = rebuild(checkpoint(tmp_path, "vit", {"type": "DecodersOnly"}))
    forward = type(model.encoder).forward
    monkeypatch.setattr(type(model.encoder), "forward", lambda self, x: forward(self, x) if x.shape[2] == 64 else None)
    report = save_graph(model, tmp_path / "model.onnx")
    assert "cannot be traced for all sizes" in report.fixed
    assert_agrees(model, load_onnx(tmp_path / "model.onnx"), noise((64, 96), 3))


def test_a_graph_that_differs_is_not_written(tmp_path, monkeypatch, capsys):
    file = checkpoint(tmp_path, "vit", {"type": "DecodersOnly"})
    monkeypatch.setattr(export, "normalised", lambda model, images: images)
    assert run_tool("export.py", file, tmp_path / "model.pt2") == 2
    assert "differs by" in capsys.readouterr().err
    assert not (tmp_path / "model.pt2").exists()


@pytest.mark.parametrize(("family", "method"), [("vit", "LoRA"), ("convnext", "BitFit"), ("swin", "SingleTaskFull")])
def test_timm_takes_merged_encoders(family, method, tmp_path, capsys):
    """Swin's windows of 4 divide the maps of 64 x 96 but the last stage's, which one window covers."""
    file = checkpoint(tmp_path, family, {"type": method})
    assert run_tool("export.py", file, "--timm", tmp_path / "timm") == 0
    text = capsys.readouterr().out
    assert "timm.create_model(" in text
    model, _ = rebuild(file)
    images = noise(model.encoder.size, 2) / 128 - 1
    for task in model.task_names:
        path = tmp_path / "timm" / f"{task}.safetensors"
        with safe_open(path, "pt") as opened:
            meta = opened.metadata()
        plain = timm.create_model(meta["name"], **json.loads(meta["arguments"])).eval()
        report = plain.load_state_dict(load_file(path), strict=False)
        assert not report.unexpected_keys
        assert all(name.startswith(("norm.", "head.")) for name in report.missing_keys)
        with torch.no_grad():
            maps = plain.forward_intermediates(images, indices=model.encoder.taps, intermediates_only=True)
            if model.encoder.plain:
                maps = maps[-1:]
            ours = model.method.merge(model.encoder, model.task_names.index(task)).eval()
            expected = ours.forward_intermediates(images, indices=model.encoder.taps, intermediates_only=True)
        torch.testing.assert_close(maps[-1], expected[-1], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("suffix", FORMATS)
def test_tool(suffix, tmp_path, capsys):
    """LoRA, from a file to a file."""
    file, out = checkpoint(tmp_path, "vit", {"type": "LoRA"}), tmp_path / f"model{suffix}"
    assert run_tool("export.py", file, out) == 0
    text = capsys.readouterr().out
    assert "H and W multiples of 16" in text
    assert "2 encoder path(s)" in text
    assert float(text.split()[-1]) <= 1e-4


def test_refusals(tmp_path, capsys):
    file = checkpoint(tmp_path, "vit", {"type": "Adapter"})
    (tmp_path / "link.onnx").symlink_to(tmp_path / "nowhere")
    before = sorted(tmp_path.iterdir())
    for arguments, match in {
        ("--timm", tmp_path / "timm"): "cannot be merged into plain weights",
        (): "name one of OUT",
        (tmp_path / "a.onnx", "--timm", tmp_path / "timm"): "name one of OUT",
        (tmp_path / "a.torchscript",): "the format is the suffix",
        (tmp_path / "base.safetensors",): "nothing is written over it",
        (tmp_path / "link.onnx",): "nothing is written over it",
        ("--timm", tmp_path): "nothing is written over it",
    }.items():
        assert run_tool("export.py", file, *arguments) == 2
        error = capsys.readouterr().err
        assert match in error
        assert error.count("\n") == 1
        assert sorted(tmp_path.iterdir()) == before
