"""A predictor needs nothing but a checkpoint and computes what a test computes; a merged model the same again."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from tiny import rewritten, run_tool
from trained import write_checkpoints

from mtl import Predictor
from mtl.datasets.base import pack
from mtl.datasets.files import read_image
from mtl.engine.merged import merge, save_merged
from mtl.engine.rebuild import rebuild
from mtl.registry import TASKS
from mtl.transforms import Resize
from mtl.transforms.sample import Sample

BASELINES = ["SingleTaskFull", "MultiTaskFull", "DecodersOnly"]


def picture(size, seed=0):
    """Smooth colours, (H, W, 3) uint8."""
    small = np.random.default_rng(seed).integers(0, 256, (5, 6, 3), np.uint8)
    return np.array(Image.fromarray(small).resize(size[::-1], Image.Resampling.BICUBIC))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("trained")
    write_checkpoints(folder)
    for name, size in {"wide": (40, 90), "tall": (77, 31)}.items():
        Image.fromarray(picture(size)).save(folder / f"{name}.png")
    return folder


@pytest.fixture(scope="module")
def predictor(folder):
    return Predictor(folder / "model.safetensors", device="cpu")


def assert_same(one, other, tolerance=1e-5):
    assert list(one) == list(other)
    for task, value in one.items():
        assert value.shape == other[task].shape
        if value.dtype == np.uint8:  # an id turns where two logits are all but equal
            assert (value != other[task]).mean() < 1e-3
        else:
            np.testing.assert_allclose(value, other[task], atol=tolerance)


@pytest.mark.parametrize("name", ["model.safetensors", "model.pth"])
def test_predictions_are_those_of_a_test(name, folder):
    predictor = Predictor(str(folder / name), device="cpu")
    model, _ = rebuild(folder / name)
    for file in ("wide.png", "tall.png"):
        image = read_image(folder / file)
        item = pack(Resize((32, 64))(Sample("x", image, {}, {}), np.random.default_rng(0)), image.shape[:2])
        (sample,) = model.test_step({key: [value] for key, value in item.items()})
        result = predictor(folder / file)
        assert list(result) == ["semseg", "human_parts", "saliency", "normals"]
        assert result["normals"].shape == image.shape
        for task, value in result.items():
            np.testing.assert_array_equal(value, sample.prediction(task).numpy())


def test_a_batch_gives_what_single_images_give(predictor, folder):
    images = [folder / "wide.png", Image.open(folder / "tall.png"), picture((1, 1)), picture((50, 50), 3)]
    alone = [predictor(image) for image in images]
    for results in (predictor(images), list(predictor.predict(iter(images), batch_size=3))):
        assert len(results) == 4
        for one, other in zip(alone, results, strict=True):
            assert_same(one, other)
    assert predictor([]) == []


def test_images_are_read_as_the_generator_goes(predictor, folder):
    def images():
        yield folder / "wide.png"
        raise AssertionError("read ahead")

    assert next(predictor.predict(images(), batch_size=1))["saliency"].shape == (40, 90)
    with pytest.raises(ValueError, match="batch_size"):
        next(predictor.predict([], batch_size=0))


def test_only_the_tasks_asked_for_are_run(predictor, folder, monkeypatch):
    some = Predictor(folder / "model.safetensors", tasks=["saliency"], device="cpu")
    run = []
    logits = type(some.model).logits
    monkeypatch.setattr(type(some.model), "logits", lambda self, x, tasks: run.append(tasks) or logits(self, x, tasks))
    np.testing.assert_array_equal(some(folder / "wide.png")["saliency"], predictor(folder / "wide.png")["saliency"])
    assert run[0] == ["saliency"]
    assert list(some.tasks) == ["saliency"]


def test_an_image_turns_as_its_exif_tag_says(predictor, folder):
    pixels = picture((40, 90))
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned right by 90 degrees
    Image.fromarray(pixels).save(folder / "turned.png", exif=exif)
    turned = predictor(folder / "turned.png")
    assert turned["semseg"].shape == (90, 40)
    for same in (predictor(np.rot90(pixels, -1).copy()), predictor(Image.open(folder / "turned.png"))):
        assert_same(turned, same, 0)


@pytest.mark.parametrize("mode", ["L", "P", "RGBA", "LA", "1", "CMYK"])
def test_other_colours_are_converted(mode, predictor, folder):
    path = folder / ("other.jpg" if mode == "CMYK" else "other.png")
    Image.fromarray(picture((40, 90))).convert(mode).save(path)
    with Image.open(path) as image:
        assert image.mode == mode
        assert_same(predictor(path), predictor(np.array(image.convert("RGB"))), 0)


def test_another_input_size(folder):
    bigger = Predictor(folder / "model.safetensors", size=(64, 96), device="cpu")
    assert bigger(folder / "wide.png")["normals"].shape == (40, 90, 3)
    with pytest.raises(ValueError, match="multiples of 32"):
        Predictor(folder / "model.safetensors", size=(60, 96))


def test_base_weights_elsewhere(folder, tmp_path):
    """The file moved; another one is refused by the fingerprint."""
    config = json.loads(metadata(folder / "model.safetensors")["config"])
    config["encoder"]["weights"] = "gone.safetensors"
    rewritten(folder / "model.safetensors", tmp_path / "moved.safetensors", config=json.dumps(config))
    with pytest.raises(ValueError, match=r"'gone.safetensors', which are not here.*--weights"):
        Predictor(tmp_path / "moved.safetensors")
    found = Predictor(tmp_path / "moved.safetensors", weights=folder / "base.safetensors", device="cpu")
    assert found(folder / "wide.png")["semseg"].shape == (40, 90)
    base = load_file(folder / "base.safetensors")
    save_file({name: value + 1 for name, value in base.items()}, tmp_path / "other.safetensors")
    with pytest.raises(ValueError, match="other base weights"):
        Predictor(tmp_path / "moved.safetensors", weights=tmp_path / "other.safetensors")
    with pytest.raises(ValueError, match="holds its base weights"):
        Predictor(folder / "model.pth", weights=folder / "base.safetensors")
    config["encoder"]["weights"] = None
    rewritten(folder / "model.safetensors", tmp_path / "random.safetensors", config=json.dumps(config))
    with pytest.raises(ValueError, match="random base weights"):
        Predictor(tmp_path / "random.safetensors")


def metadata(path):
    with safe_open(path, "pt") as file:
        return file.metadata()


@pytest.mark.parametrize("part", ["decoder", "nested", "scope"])
def test_no_code_is_run_for_a_checkpoint(part, folder, tmp_path):
    """MMEngine calls whatever import path a type is."""
    evil = {"type": "pathlib.Path.touch", "self": str(tmp_path / "ran")}
    config = json.loads(metadata(folder / "model.safetensors")["config"])
    if part == "decoder":
        config["decoder"] = evil
    elif part == "nested":
        config["tasks"]["semseg"]["decoder"] = {"type": "AllMLP", "channels": [evil]}
    else:
        config["model"] = evil
    file = rewritten(folder / "model.safetensors", tmp_path / "evil.safetensors", config=json.dumps(config))
    with pytest.raises(ValueError, match=r"evil.safetensors'( is damaged)?: (it needs|.* unknown key 'model')"):
        Predictor(file)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("name", ["model.safetensors", "model.pth"])
def test_truncated_checkpoints_are_named(name, folder, tmp_path):
    data = (folder / name).read_bytes()
    (tmp_path / name).write_bytes(data[: len(data) // 2])
    with pytest.raises(ValueError, match=name):
        Predictor(tmp_path / name)


def test_what_is_no_image_is_named(predictor):
    for wrong in (np.zeros((4, 4)), np.zeros((4, 4, 4), np.uint8), np.zeros((0, 4, 3), np.uint8)):
        with pytest.raises(ValueError, match=r"\(H, W, 3\) uint8 RGB"):
            predictor(wrong)
    with pytest.raises(ValueError, match="not int"):
        predictor([3])
    with pytest.raises(ValueError, match=r"nothing\.jpg"):
        predictor("nothing.jpg")
    with pytest.raises(ValueError, match="8 bits"):
        predictor(Image.fromarray(np.zeros((4, 4), np.uint16)))


def test_the_package_is_light_to_import():
    code = "import sys, mtl; assert 'torch' not in sys.modules; mtl.Predictor; assert 'torch' in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_custom_imports_register_parts(folder, tmp_path, monkeypatch):
    config = json.loads(metadata(folder / "model.safetensors")["config"])
    config["tasks"]["saliency"]["type"] = "OwnSaliency"
    rewritten(folder / "model.safetensors", tmp_path / "own.safetensors", config=json.dumps(config))
    with pytest.raises(ValueError, match=r"'OwnSaliency', which no package.*did you mean 'Saliency'"):
        Predictor(tmp_path / "own.safetensors")
    (tmp_path / "own_saliency_task.py").write_text(
        "from mtl.registry import TASKS\nfrom mtl.tasks import Saliency\n\n"
        "class OwnSaliency(Saliency):\n    pass\n\nTASKS.register_module()(OwnSaliency)\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    try:
        own = Predictor(tmp_path / "own.safetensors", custom_imports={"imports": ["own_saliency_task"]}, device="cpu")
        assert type(own.tasks["saliency"]).__name__ == "OwnSaliency"
    finally:
        TASKS.module_dict.pop("OwnSaliency", None)


@pytest.mark.parametrize("method", BASELINES)
def test_merged_equals_unmerged(method, tmp_path, capsys):
    write_checkpoints(tmp_path, f"\nmethod = dict(type={method!r})\n")
    out = tmp_path / "merged.safetensors"
    assert run_tool("export.py", tmp_path / "model.safetensors", out) == 0
    assert float(capsys.readouterr().out.split()[-1]) < 1e-5
    unmerged = Predictor(tmp_path / "model.pth", device="cpu")
    (tmp_path / "base.safetensors").unlink()
    merged = Predictor(out, device="cpu")
    images = [picture((40, 90)), picture((33, 20), 1)]
    for one, other in zip(unmerged(images), merged(images), strict=True):
        assert_same(one, other)
    assert_same(Predictor(out, tasks=["normals"], device="cpu")(images[0]), {"normals": merged(images[0])["normals"]})
    encoders = merged.model.encoder.model.models
    assert len(encoders) == (4 if method == "SingleTaskFull" else 1)
    assert metadata(out)["format"] == "mtl-merged-1"
    assert run_tool("export.py", out, tmp_path / "again.safetensors") == 2
    assert "merged already" in capsys.readouterr().err


@pytest.mark.parametrize("method", ["LoRA", "SSF"])
def test_biases_that_merging_makes(method, tmp_path, capsys):
    """The merged model takes them; timm's own has no place for them."""
    write_checkpoints(tmp_path, f"\nmethod = dict(type={method!r})\nencoder['options']['qkv_bias'] = False\n")
    assert not any("qkv.bias" in name for name in load_file(tmp_path / "base.safetensors"))
    assert run_tool("export.py", tmp_path / "model.safetensors", tmp_path / "merged.safetensors") == 0
    assert float(capsys.readouterr().out.split()[-1]) < 1e-4
    assert any("qkv.bias" in name for name in load_file(tmp_path / "merged.safetensors"))
    assert run_tool("export.py", tmp_path / "model.safetensors", "--timm", tmp_path / "timm") == 2
    error = capsys.readouterr().err
    assert "has no place for 'layers.0.blocks.0.attn.qkv.bias' of semseg; export a merged model instead" in error
    assert error.count("\n") == 1
    assert not (tmp_path / "timm").exists()


def test_methods_that_cannot_be_merged_say_why(folder, tmp_path, capsys):
    assert run_tool("export.py", folder / "model.safetensors", tmp_path / "merged.safetensors") == 2
    assert "PolyhistorLite cannot be merged into plain weights: " in capsys.readouterr().err
    assert run_tool("export.py", folder / "model.safetensors", tmp_path / "merged.onnxx") == 2
    assert run_tool("export.py", folder / "model.safetensors", folder / "base.safetensors") == 2
    assert "nothing is written over it" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_merging_leaves_the_model_as_it_was(tmp_path):
    model = write_checkpoints(tmp_path, "\nmethod = dict(type='MultiTaskFull')\n")
    _, config = rebuild(tmp_path / "model.pth")
    before = {name: value.clone() for name, value in model.state_dict().items()}
    merged = merge(model, config)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    with torch.no_grad():
        next(merged.encoder.parameters()).add_(1)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    save_merged(model, tmp_path / "m.safetensors", config)
    rewritten(tmp_path / "m.safetensors", tmp_path / "n.safetensors", paths='[["semseg"]]')
    with pytest.raises(ValueError, match="damaged: its paths"):
        rebuild(tmp_path / "n.safetensors")
    data = (tmp_path / "m.safetensors").read_bytes()
    (tmp_path / "flipped.safetensors").write_bytes(data[:-9] + bytes([data[-9] ^ 1]) + data[-8:])
    with pytest.raises(ValueError, match="is damaged: its tensors"):
        rebuild(tmp_path / "flipped.safetensors")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"checkpoint": 3}, "checkpoint is a path, not 3"),
        ({"checkpoint": None}, "checkpoint is a path, not None"),
        ({"weights": 3}, "weights is a path, True, False or None, not 3"),
        ({"tasks": 3}, "tasks is a list of names, one name or None, not 3"),
        ({"tasks": b"semseg"}, "tasks is a list of names"),
        ({"tasks": [3]}, "has no task 3; valid: human_parts"),
        ({"tasks": [["semseg"]]}, r"has no task \['semseg'\]"),
        ({"tasks": []}, "tasks is empty"),
        ({"size": "abc"}, r"size is two integers, \(H, W\), not 'abc'"),
        ({"size": 64}, "size is two integers"),
        ({"size": (64,)}, "size is two integers"),
        ({"size": (64.0, 96.0)}, "size is two integers"),
        ({"size": (0, 96)}, "the height in size is an integer of at least 1, not 0"),
        ({"size": (64, -32)}, "the width in size"),
        ({"device": 3.5}, "the device '3.5' cannot be used"),
        ({"device": ""}, "the device '' cannot be used"),
        ({"device": []}, "the device .* cannot be used"),
        ({"device": "abacus"}, "the device 'abacus' cannot be used"),
        ({"custom_imports": "os"}, "custom_imports is a dict or None, not 'os'"),
        ({"max_pixels": 0}, "max_pixels is an integer of at least 1, not 0"),
        ({"max_pixels": "1e6"}, "max_pixels is an integer"),
        ({"max_pixels": True}, "max_pixels is an integer"),
    ],
)
def test_wrong_arguments_are_named(arguments, message, folder):
    with pytest.raises(ValueError, match=message) as caught:
        Predictor(**{"checkpoint": folder / "model.safetensors", "device": "cpu", **arguments})
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("images", [3, None, b"x.jpg", {"a": 1}, {"a.jpg"}, iter([]), object()])
def test_what_is_neither_an_image_nor_a_list_of_them_is_named(images, predictor):
    kind = type(images).__name__
    with pytest.raises(ValueError, match=f"an image is a path, a Pillow image or an array, .*, not {kind}"):
        predictor(images)


@pytest.mark.parametrize("bad", [3, None, b"x.jpg", [], np.zeros((4, 4, 3)), np.zeros((2, 4, 4, 3), np.uint8)])
def test_a_bad_image_in_a_list_is_named_by_its_index(bad, predictor):
    with pytest.raises(ValueError, match="image 1 is "):
        predictor([picture((4, 4)), bad])


@pytest.mark.parametrize("images", ["wide.png", b"", picture((4, 4)), 3, None])
def test_a_single_image_is_no_iterable_of_images(images, predictor):
    with pytest.raises(ValueError, match="images are an iterable of several"):
        predictor.predict(images)


@pytest.mark.parametrize("size", [0, -1, 1.5, "4", True, None])
def test_a_wrong_batch_size_is_named_at_once(size, predictor):
    with pytest.raises(ValueError, match="batch_size is an integer of at least 1"):
        predictor.predict([], batch_size=size)


def test_images_are_bounded(folder):
    few = Predictor(folder / "model.safetensors", tasks="semseg", device="cpu", max_pixels=3599)
    for image in (folder / "wide.png", Image.open(folder / "wide.png")):
        with pytest.raises(ValueError, match=r"90 x 40 pixels .* more than max_pixels=3599"):
            few(image)
    assert few(picture((40, 90)))["semseg"].shape == (40, 90), "it is decoded already"
