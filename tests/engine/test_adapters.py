"""Adapter files by task: taken apart and put together, every method predicts what it did before, to the last bit."""

from __future__ import annotations

import json

import pytest
import torch
from conftest import SMALL_ENCODERS, small_encoder
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from tiny import rewritten, run_tool

from mtl.engine.adapter_file import digest, read_meta, save_adapter
from mtl.engine.adapter_tasks import combine, read_adapters, select, write
from mtl.engine.plugins import register_all
from mtl.engine.rebuild import rebuild
from mtl.models.multitask import MultiTaskModel
from mtl.registry import METHODS

register_all()

OPTIONS = {
    "Composite": {"methods": [{"type": "LoRA"}, {"type": "Adapter"}]},
    "MTLoRA": {"rank": 8},
    "AdaptFormer": {"bottleneck": 8},
    "Compacter": {"reduction": 2},
    "PHMAdapter": {"reduction": 2},
}
"""What a method needs, or is better tested with, besides its type."""

TASKS = {
    "semseg": {"type": "SemanticSegmentation", "classes": 5},
    "normals": {"type": "SurfaceNormals", "decoder": {"type": "AllMLP", "channels": 12}},
    "saliency": {"type": "Saliency"},
}
SHARES_TRAINED = ("MultiTaskFull", "Hyperformer", "Polyhistor", "PolyhistorLite", "SharedAdapter", "MTLoRA")


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    path = tmp_path_factory.mktemp("base") / "base.safetensors"
    save_file(small_encoder("swin", size=(64, 64)).model.state_dict(), path)
    return path


def trained_file(base, path, method="LoRA", tasks=TASKS, seed=0, channels=16, **options):
    """An adapter file that looks trained."""
    torch.manual_seed(seed)
    config = {
        "encoder": {"type": "TimmEncoder", **SMALL_ENCODERS["swin"], "size": (64, 64), "weights": str(base)},
        "method": {"type": method, **OPTIONS.get(method, {}), **options},
        "decoder": {"type": "AllMLP", "channels": channels},
        "tasks": dict(tasks),
    }
    model = MultiTaskModel(**config)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter += 0.1 * torch.randn_like(parameter)
    save_adapter(model, path, config)
    return path


@torch.no_grad()
def predict(path, size=(64, 64)):
    model, _ = rebuild(path)
    images = torch.randn(2, 3, *size, generator=torch.Generator().manual_seed(1))
    return model(images)


def assert_equal(ours, theirs):
    """Bit for bit: the slices and copies are the same numbers and every path multiplies the same ones."""
    for task, logits in ours.items():
        torch.testing.assert_close(logits, theirs[task], rtol=0, atol=0, msg=task)


def assert_close(ours, theirs):
    """For hypernetworks: a matrix product of one task's row sums in another order than one of all tasks' rows."""
    for task, logits in ours.items():
        assert (logits - theirs[task]).abs().max() <= 1e-5 * theirs[task].abs().max(), task


@pytest.mark.parametrize("method", sorted(METHODS.module_dict))
def test_round_trip(method, base, tmp_path):
    whole = trained_file(base, tmp_path / "all.safetensors", method)
    expected = predict(whole)
    assert run_tool("adapters.py", "split", whole, "--out", tmp_path / "parts") == 0
    parts = {task: tmp_path / "parts" / f"{task}.safetensors" for task in TASKS}
    assert sorted((tmp_path / "parts").iterdir()) == sorted(parts.values())
    same = assert_close if method in ("Hyperformer", "Polyhistor", "PolyhistorLite") else assert_equal
    for task, part in parts.items():
        assert list(read_meta(part)["config"]["tasks"]) == [task]
        alone = predict(part)
        assert list(alone) == [task]
        same(alone, expected)

    # in another order
    order = ["saliency", "semseg", "normals"]
    out = tmp_path / "again.safetensors"
    assert run_tool("adapters.py", "combine", *(parts[task] for task in order), "--out", out) == 0
    again = predict(out)
    assert list(again) == order
    same(again, expected)
    back = select(read_adapters(out), list(TASKS))
    assert digest(back.state) == digest(load_file(whole))

    assert run_tool("adapters.py", "remove", whole, "normals", "--out", tmp_path / "two.safetensors") == 0
    two = predict(tmp_path / "two.safetensors")
    assert list(two) == ["semseg", "saliency"]
    same(two, expected)
    with_two = combine([read_adapters(tmp_path / "two.safetensors"), read_adapters(parts["normals"])])
    write(with_two, tmp_path / "three.safetensors")
    same(predict(tmp_path / "three.safetensors"), expected)


@pytest.mark.parametrize("method", sorted(METHODS.module_dict))
def test_of_two_trainings(method, base, tmp_path, capsys):
    """Tasks trained apart: one model where nothing that trains is shared, otherwise a refusal that names the method."""
    tasks = {"semseg": {"semseg": TASKS["semseg"]}, "saliency": {"saliency": TASKS["saliency"]}}
    one = trained_file(base, tmp_path / "one.safetensors", method, tasks["semseg"], 1)
    other = trained_file(base, tmp_path / "other.safetensors", method, tasks["saliency"], 2, channels=8)
    out = tmp_path / "both.safetensors"
    status = run_tool("adapters.py", "combine", one, other, "--out", out)
    shared = [name for name in read_adapters(one).state if read_adapters(one).part(name) == "shared"]
    assert bool(shared) == (method in (*SHARES_TRAINED, "Compacter", "PHMAdapter")), shared
    if shared:
        assert status == 2
        assert f"{method} trains weights that all tasks share" in one_line(capsys)
        assert not out.exists()
        return
    assert status == 0
    both = predict(out)
    assert_equal({"semseg": both["semseg"]}, predict(one))
    assert_equal({"saliency": both["saliency"]}, predict(other))


def one_line(capsys):
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert error.count("\n") == 1
    return error


def test_files_that_do_not_fit(base, tmp_path, capsys):
    semseg, saliency = ({task: TASKS[task]} for task in ("semseg", "saliency"))
    one = trained_file(base, tmp_path / "one.safetensors", tasks=semseg)
    out = tmp_path / "out.safetensors"

    def refused(other, match):
        assert run_tool("adapters.py", "combine", one, other, "--out", out) == 2
        assert match in one_line(capsys)
        assert not out.exists()

    refused(trained_file(base, tmp_path / "method.safetensors", "DoRA", saliency), "type='LoRA' and 'DoRA'")
    refused(trained_file(base, tmp_path / "rank.safetensors", tasks=saliency, rank=2), "rank=4 and 2")
    refused(trained_file(base, tmp_path / "twice.safetensors", tasks=semseg, seed=3), "the task 'semseg' is in")
    tensors = load_file(base)
    save_file({name: value + 1 for name, value in tensors.items()}, tmp_path / "base2.safetensors")
    other = trained_file(tmp_path / "base2.safetensors", tmp_path / "other.safetensors", tasks=saliency)
    refused(other, "other base weights")
    refused(tmp_path / "nothing.safetensors", "no adapter file")
    # the same base elsewhere is the same base, and a default that is written out is the default
    save_file(tensors, tmp_path / "moved.safetensors")
    moved = trained_file(tmp_path / "moved.safetensors", tmp_path / "spelt.safetensors", tasks=saliency, rank=4)
    assert run_tool("adapters.py", "combine", one, moved, "--out", out) == 0
    before = out.read_bytes()
    assert run_tool("adapters.py", "combine", one, moved, "--out", out) == 2
    assert "nothing is written over it" in one_line(capsys)
    assert out.read_bytes() == before


def test_mistakes_are_one_line_and_leave_nothing(base, tmp_path, capsys):
    whole = trained_file(base, tmp_path / "all.safetensors")

    def refused(match, *arguments):
        before = sorted(tmp_path.rglob("*"))
        assert run_tool("adapters.py", *arguments) == 2
        assert match in one_line(capsys)
        assert sorted(tmp_path.rglob("*")) == before

    out = tmp_path / "out.safetensors"
    refused("has no task 'semsag'; did you mean 'semseg'?", "remove", whole, "semsag", "--out", out)
    refused("nothing is left", "remove", whole, *TASKS, "--out", out)
    refused("is a .safetensors file", "remove", whole, "semseg", "--out", tmp_path / "out.pt")
    refused("is no folder", "split", whole, "--out", whole)
    refused("is no folder", "remove", whole, "semseg", "--out", whole / "out.safetensors")
    (tmp_path / "half").mkdir()
    (tmp_path / "half" / "normals.safetensors").write_text("mine")
    refused("nothing is written over it", "split", whole, "--out", tmp_path / "half")
    (tmp_path / "link.safetensors").symlink_to(tmp_path / "nowhere")
    refused("nothing is written over it", "remove", whole, "semseg", "--out", tmp_path / "link.safetensors")

    data = whole.read_bytes()
    (tmp_path / "cut.safetensors").write_bytes(data[: len(data) // 2])
    (tmp_path / "flipped.safetensors").write_bytes(data[:-9] + bytes([data[-9] ^ 1]) + data[-8:])
    (tmp_path / "text.safetensors").write_text("no tensors")
    save_file(load_file(base), tmp_path / "weights.safetensors")
    for name, match in {
        "cut": "cannot read the adapter file",
        "flipped": "is damaged: its tensors are not those",
        "text": "cannot read the adapter file",
        "weights": "is not an adapter file",
    }.items():
        for command in (["show"], ["remove", "semseg"]):
            file = tmp_path / f"{name}.safetensors"
            extra = [*command[1:], "--out", out] if command[0] == "remove" else []
            refused(match, command[0], file, *extra)
    with pytest.raises(ValueError, match="damaged"):
        rebuild(tmp_path / "flipped.safetensors")


def test_tampered_metadata(base, tmp_path):
    whole = trained_file(base, tmp_path / "all.safetensors")
    config = read_meta(whole)["config"]
    fewer = {**config, "tasks": {"semseg": config["tasks"]["semseg"]}}
    for changes in (
        {"stacked": json.dumps(["method.nothing"])},
        {"stacked": "{"},
        {"stacked": None},
        {"config": json.dumps(fewer)},
        {"config": "[]"},
    ):
        with pytest.raises(ValueError, match="damaged"):
            read_adapters(rewritten(whole, tmp_path / "other.safetensors", **changes))
    # what fits the same tensors, and means something else
    with safe_open(whole, "pt") as file:
        known = file.metadata()["seal"]
    order = {**config, "tasks": dict(reversed(config["tasks"].items()))}
    scale = {**config, "method": {**config["method"], "scale": 1.0}}
    for other in (order, scale):
        path = rewritten(whole, tmp_path / "other.safetensors", config=json.dumps(other), seal=known)
        with pytest.raises(ValueError, match="not what the file was written with"):
            rebuild(path)


def test_show(base, tmp_path, capsys):
    whole = trained_file(base, tmp_path / "all.safetensors", "SharedAdapter")
    assert run_tool("adapters.py", "show", whole) == 0
    text = capsys.readouterr().out
    assert "SharedAdapter" in text
    for task in TASKS:
        assert f"{task} alone" in text
