"""A mistake in the input is one clear line on stderr, a non-zero exit, and nothing lost."""

from __future__ import annotations

import json
import shutil
import sys
from argparse import ArgumentParser
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.hooks import Hook
from PIL import Image
from tiny import run_tool, write_config

from mtl.engine.command_line import add_options
from mtl.engine.settings import first_difference
from mtl.registry import check_arguments


def error_of(capsys, tool: str, *arguments, status: int = 2) -> str:
    """The one line that the tool ends with."""
    assert run_tool(tool, *arguments) == status
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1
    return lines[0]


CONFIGS = {
    "method": (
        "method = dict(type='PolyhistorLight')",
        ["unknown method", "did you mean 'PolyhistorLite'", "Hyperformer"],
    ),
    "encoders of tasks": (
        "method = dict(type='Composite', methods=[dict(type='LoRA'), dict(type='SingleTaskFull')])",
        ["SingleTaskFull", "no part of a composite"],
    ),
    "twice": (
        "method = dict(type='Composite', methods=[dict(type='MultiTaskFull'), dict(type='MultiTaskFull')])",
        ["MultiTaskFull is once"],
    ),
    "task": ("tasks['semseg'] = dict(type='Semseg')", ["unknown task 'Semseg'", "SemanticSegmentation"]),
    "site": ("method = dict(type='Hyperformer', sites='mpl')", ["no site", "'mpl'", "mlp", "attn"]),
    "path": ("method = dict(type='Hyperformer', sites='layers.9.*')", ["no site", "layers.9.*"]),
    "outside": ("method = dict(type='Hyperformer', sites='downsample')", ["inside a transformer layer"]),
    "argument": ("method = dict(type='PolyhistorLite', lam=2)", ["no argument 'lam'", "reduction", "embedding"]),
    "reduction": ("method = dict(type='PolyhistorLite', reduction=64)", ["reduction", "16"]),
    "rank": ("method = dict(type='Polyhistor', rank=99)", ["rank must lie between 1 and"]),
    "text": ("method = dict(type='LoRA', rank='4')", ["LoRA: rank is an integer, not '4'"]),
    "not finite": ("method = dict(type='LoRA', scale=float('nan'))", ["LoRA: scale is a finite number, not nan"]),
    "a switch": ("method = dict(type='Hyperformer', literal=1)", ["literal is True or False, not 1"]),
    "a list": (
        "method = dict(type='LoRA', targets=['q', 3])",
        ["targets is a string or a list (each a string), not ['q', 3]"],
    ),
    "no targets": ("method = dict(type='LoRA', targets=[])", ["no linear map is named", "fc1"]),
    "no sites": ("method = dict(type='Compacter', sites=[])", ["no sites are named", "mlp"]),
    "embedding": ("method = dict(type='Polyhistor', embedding=0)", ["embedding must be at least 1, not 0"]),
    "encoder": ("encoder.update(name='swin_tiny_patch4_window7_225')", ["timm has no model", "swin_"]),
    "family": ("encoder = dict(type='TimmEncoder', name='resnet18', size=(32, 64))", ["ResNet", "SwinTransformer"]),
    "size": ("encoder.update(size=(30, 64))", ["multiples of 32", "(30, 64)"]),
    "weights": ("encoder.update(weights='nowhere.pth')", ["no weights file", "nowhere.pth"]),
    "asset": ("encoder.update(weights='mtl:nothing')", ["mtl:nothing", "valid"]),
    "option": ("encoder['options'].update(embed_dims=3)", ["embed_dims"]),
    "decoder": ("decoder = dict(type='AllMLP', chanels=16)", ["no argument 'chanels'", "did you mean 'channels'"]),
    "data set": ("val_dataloader['dataset'].update(type='Scene')", ["Scene", "Scenes", "FolderDataset"]),
    "split": ("val_dataloader['dataset'].update(split='vall')", ["'vall'", "train, val"]),
    "transform": ("train_dataloader['dataset']['pipeline'][0].update(rotation=3)", ["'rotation'", "rotate"]),
    "key": ("metod = dict(type='PolyhistorLite')", ["unknown key 'metod'", "did you mean 'method'"]),
    "protocol": ("protocol = 'resize'", ["'resize'", "resized", "original"]),
    "targets": (
        "val_dataloader['dataset'].update(pipeline=[dict(type='Resize', targets=True)])",
        ["targets=True", "protocol='resized'"],
    ),
    "optimizer": ("optim_wrapper['optimizer'].update(lrr=1)", ["no argument 'lrr'", "did you mean 'lr'"]),
    "optimizer type": ("optim_wrapper['optimizer'].update(type='Adamm')", ["'Adamm'", "did you mean 'Adam"]),
    "scheduler": ("param_scheduler.update(powr=1)", ["no argument 'powr'", "did you mean 'power'"]),
    "scheduler type": ("param_scheduler.update(type='PolyLRR')", ["'PolyLRR'", "did you mean 'PolyLR'"]),
    "loader": ("train_dataloader.update(batchsize=2)", ["train_dataloader", "did you mean 'batch_size'"]),
    "endless epoch": (
        "train_dataloader.update(sampler=dict(type='InfiniteSampler'))",
        ["train_dataloader.sampler", "never ends", "by_epoch=False"],
    ),
    "endless validation": (
        "val_dataloader.update(sampler=dict(type='InfiniteSampler'))",
        ["val_dataloader.sampler", "never ends"],
    ),
    "loop": ("train_cfg = dict(by_epoch=True, max_epoch=2)", ["train_cfg", "did you mean 'max_epochs'"]),
    "stored": ("stored_results = 'nothing'", ["'nothing'", "quickstart"]),
    "stored scores": ("stored_results = 'polyhistor'", ["'polyhistor'", "quickstart"]),
    "hook": ("default_hooks.update(checkpoint=dict(keeep=3))", ["keeep", "keep"]),
    "single task": ("single_task = dict(semseg=50.0)", ["human_parts", "single-task"]),
    "reference": ("single_task = 'polyhistor/swin'", ["polyhistor/swin_t"]),
    "model": ("model = dict(joiint=True)", ["no argument 'joiint'", "did you mean 'joint'"]),
    "model type": ("model = True", ["model is a dict", "True"]),
    "randomness": ("randomness = dict(sead=1)", ["no argument 'sead'", "did you mean 'seed'"]),
    "randomness type": ("randomness = 3", ["randomness is a dict, not 3"]),
    "seed": ("randomness = dict(seed='1')", ["seed is an integer", "'1'"]),
    "root": ("train_dataloader['dataset'] = dict(type='FolderDataset')", ["data_root=FOLDER"]),
    "plug-in": (
        "custom_imports = dict(imports=['not_there'])",
        ["custom_imports", "not_there", f"looked for in the working directory, {Path.cwd()}, "],
    ),
}


@pytest.mark.parametrize("case", CONFIGS)
def test_config(case, tmp_path, capsys):
    extra, parts = CONFIGS[case]
    config = write_config(tmp_path, f"\n{extra}\n")
    line = error_of(capsys, "train.py", config, "--work-dir", tmp_path / "run")
    for part in parts:
        assert part in line, line
    assert not list((tmp_path / "run").glob("*.pth"))


@pytest.mark.parametrize(
    ("content", "part"),
    [
        ("from torch import nn\n\n\nclass Mine(nn.Module):\n    pass\n", "imports=['mine']"),
        ("from __future__ import annotations\n\n\nclass Mine:\n    pass\n", "imports=['mine']"),
        (
            "from mtl.registry import METHODS\n\n\n@METHODS.register_module()\nclass Mine:\n    pass\n",
            "defines classes and is no config: name it in one as a module, custom_imports = dict(imports=['mine'])",
        ),
        ("from __future__ import annotations\n", "a config cannot import from __future__"),
        ("from torch.nn import Linear\nmethod = Linear(1, 1)\n", "it calls what it imports"),
    ],
)
def test_modules_and_programs_that_are_no_configs(content, part, tmp_path, capsys):
    (tmp_path / "mine.py").write_text('"""Mine."""\n\n' + content)
    assert part in error_of(capsys, "train.py", write_config(tmp_path), "--method", tmp_path / "mine.py")


def test_options_of_the_command_line(tmp_path, capsys):
    config = write_config(tmp_path)
    assert "unknown key 'trian_cfg'" in error_of(capsys, "train.py", config, "--cfg-options", "trian_cfg.max_epochs=1")
    assert "no config" in error_of(capsys, "train.py", tmp_path / "other.py")
    (tmp_path / "broken.py").write_text("method = dict(\n")
    assert "broken.py, line" in error_of(capsys, "train.py", tmp_path / "broken.py")
    assert "broken.py, line" in error_of(capsys, "train.py", config, "--method", tmp_path / "broken.py")
    for content in ("", "method = 3", "decoder = dict(type='AllMLP')"):
        (tmp_path / "empty.py").write_text(content)
        options = ("--method", tmp_path / "empty.py", "--cfg-options", "train_cfg.max_epochs=1")
        assert "empty.py holds no method" in error_of(capsys, "train.py", config, *options)


@pytest.mark.parametrize(
    ("options", "parts"),
    {
        "no value": (["abc"], ["KEY=VALUE", "'abc'"]),
        "brackets": (["encoder.size=(32,64"], ["encoder.size", "brackets", "'(32,64'"]),
        "below a text": (["method.type.x=1"], ["--cfg-options method.type.x", "no dict"]),
        "below an option": (["tasks=x", "tasks.x.type=Saliency"], ["tasks, tasks.x.type", "no dict"]),
    }.values(),
    ids=["no value", "brackets", "below a text", "below an option"],
)
def test_options_that_are_none(options, parts, tmp_path, capsys):
    line = error_of(capsys, "train.py", write_config(tmp_path), "--cfg-options", *options)
    for part in parts:
        assert part in line, line


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("/data/my images", "/data/my images"),
        ("'1,2'", "1,2"),
        ("[sky, big tree]", ["sky", "big tree"]),
        ("1,2.5,true,None", [1, 2.5, True, None]),
        ("[(0.9, 0.99), (1,), []]", [(0.9, 0.99), (1,), []]),
        ("1e-3", 0.001),
        ("a=b", "a=b"),
        ("", ""),
    ],
)
def test_values_of_options(text, value):
    parser = ArgumentParser()
    add_options(parser)
    options = ["--cfg-options", f"a.b={text}", "--cfg-options", "c=1"]
    assert parser.parse_args(options).cfg_options == {"a.b": value, "c": 1}


@pytest.mark.parametrize("below", [False, True])
def test_a_file_in_the_place_of_a_folder(below, tmp_path, capsys):
    config = write_config(tmp_path)
    line = error_of(capsys, "train.py", config, "--work-dir", config / "run" if below else config)
    assert f"{config} is a file, a folder is needed" in line
    assert [path.name for path in tmp_path.iterdir()] == ["tiny.py"]


def test_an_empty_name_of_a_checkpoint_is_no_fresh_start(tmp_path, capsys):
    """It comes of a variable that a script did not set."""
    line = error_of(capsys, "train.py", write_config(tmp_path), "--work-dir", tmp_path / "run", "--resume", "")
    assert "no checkpoint ''" in line
    assert not (tmp_path / "run").exists()


PHOTOS = """
tasks = dict(semseg=dict(type="SemanticSegmentation", classes=3), saliency=dict(type="Saliency"))
single_task = None
data_root = {root!r}
_resize = [dict(type="Resize")]
train_dataloader.update(num_workers={workers}, dataset=dict(type="FolderDataset", split="train", pipeline=_resize))
val_dataloader.update(num_workers={workers}, dataset=dict(type="FolderDataset", split="val", pipeline=_resize))
"""


@pytest.fixture
def photos(tmp_path):
    """Eight images with two tasks, in order."""
    root = tmp_path / "photos"
    for folder in ("images", "semseg", "saliency", "splits"):
        (root / folder).mkdir(parents=True)
    draw = np.random.default_rng(0)
    for i in range(8):
        Image.fromarray(draw.integers(0, 255, (40, 60, 3), np.uint8)).save(root / "images" / f"im{i}.jpg")
        Image.fromarray(draw.integers(0, 3, (40, 60), np.uint8)).save(root / "semseg" / f"im{i}.png")
        Image.fromarray(255 * draw.integers(0, 2, (40, 60), np.uint8)).save(root / "saliency" / f"im{i}.png")
    (root / "splits" / "train.txt").write_text("\n".join(f"im{i}" for i in range(4)))
    (root / "splits" / "val.txt").write_text("\n".join(f"im{i}" for i in range(4, 8)))
    return root


def photo_config(tmp_path, root, workers=0):
    return write_config(tmp_path, PHOTOS.format(root=str(root), workers=workers))


def truncated(path):
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])


DATA = {
    "root": (lambda root: shutil.rmtree(root), ["photos"]),
    "task folder": (lambda root: shutil.rmtree(root / "semseg"), ["semseg"]),
    "split": (lambda root: (root / "splits" / "val.txt").unlink(), ["val", "train"]),
    "image": (lambda root: truncated(root / "images" / "im2.jpg"), ["im2.jpg"]),
    "no image": (lambda root: (root / "images" / "im5.jpg").unlink(), ["im5"]),
    "empty image": (lambda root: (root / "images" / "im1.jpg").write_bytes(b""), ["im1.jpg"]),
    "truncated label": (lambda root: truncated(root / "semseg" / "im3.png"), ["im3.png"]),
    "label size": (
        lambda root: Image.fromarray(np.zeros((20, 30), np.uint8)).save(root / "semseg" / "im3.png"),
        ["im3.png", "20", "40"],
    ),
    "class id": (
        lambda root: Image.fromarray(np.full((40, 60), 7, np.uint8)).save(root / "semseg" / "im0.png"),
        ["im0.png", "7", "255"],
    ),
}


@pytest.mark.parametrize("case", DATA)
def test_data(case, tmp_path, photos, capsys):
    damage, parts = DATA[case]
    damage(photos)
    line = error_of(capsys, "train.py", photo_config(tmp_path, photos), "--work-dir", tmp_path / "run")
    for part in parts:
        assert part in line, line


def test_data_in_a_loader_process(tmp_path, photos, capsys):
    truncated(photos / "images" / "im2.jpg")
    line = error_of(capsys, "train.py", photo_config(tmp_path, photos, 1), "--work-dir", tmp_path / "run")
    assert "im2.jpg" in line
    assert "Traceback" not in line


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    config = write_config(folder, "\ntrain_cfg.update(max_epochs=1)\ndefault_hooks.update(pictures=None)\n")
    assert run_tool("train.py", config, "--work-dir", folder) == 0
    return folder


CHECKPOINTS = {
    "another encoder": ("encoder['options'].update(embed_dim=24, num_heads=(1, 2, 2, 4))", "another"),
    "another method": (
        "method = dict(type='Polyhistor', reduction=4)",
        "type='PolyhistorLite'; the config has 'Polyhistor'",
    ),
    "other tasks": ("tasks.pop('normals'); single_task.pop('normals')", "in this order"),
    "another order": ("tasks = {name: tasks[name] for name in reversed(tasks)}", "in this order"),
    "an option": ("method.update(placement='sequential')", "placement='parallel'; the config has 'sequential'"),
}


@pytest.mark.parametrize("case", CHECKPOINTS)
def test_checkpoint_of_another_model(case, run, tmp_path, capsys):
    extra, part = CHECKPOINTS[case]
    config = write_config(tmp_path, f"\n{extra}\n")
    before = (run / "epoch_1.pth").read_bytes()
    assert part in error_of(capsys, "test.py", config, run / "epoch_1.pth", "--work-dir", tmp_path)
    line = error_of(capsys, "test.py", config, run / "epoch_1.safetensors", "--work-dir", tmp_path)
    assert ("other base weights" if case == "another encoder" else part) in line
    line = error_of(capsys, "train.py", config, "--work-dir", tmp_path, "--resume", run / "epoch_1.pth")
    assert part in line
    assert (run / "epoch_1.pth").read_bytes() == before


def test_adapter_of_other_base_weights(run, tmp_path, capsys):
    """The same architecture with other weights: nothing but the fingerprint tells."""
    config = write_config(tmp_path, "\nrandomness = dict(seed=1)\n")
    line = error_of(capsys, "test.py", config, run / "epoch_1.safetensors", "--work-dir", tmp_path)
    assert "other base weights" in line


@pytest.mark.parametrize("name", ["epoch_1.pth", "epoch_1.safetensors"])
def test_truncated_checkpoint(name, run, tmp_path, capsys):
    shutil.copy(run / name, tmp_path / name)
    truncated(tmp_path / name)
    line = error_of(capsys, "test.py", write_config(tmp_path), tmp_path / name, "--work-dir", tmp_path)
    assert name in line
    assert "no checkpoint" in error_of(capsys, "test.py", write_config(tmp_path), tmp_path / "none.pth")


def test_loss_that_is_not_finite(run, tmp_path, capsys):
    config = write_config(tmp_path, "\ntasks['normals']['loss_weight'] = 1e60\n")
    line = error_of(capsys, "train.py", config, "--work-dir", tmp_path / "run", status=1)
    assert "task 'normals'" in line
    assert "train-00000" in line


class Runs:
    """Unpickled, it would leave a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


def test_resuming_runs_no_code_from_the_file(run, tmp_path, capsys):
    checkpoint = torch.load(run / "epoch_1.pth", weights_only=True)
    torch.save({**checkpoint, "evil": Runs(tmp_path / "ran")}, tmp_path / "evil.pth")
    config = write_config(tmp_path)
    line = error_of(capsys, "train.py", config, "--work-dir", tmp_path / "run", "--resume", tmp_path / "evil.pth")
    assert "more than tensors" in line
    load = ("--cfg-options", f"load_from={tmp_path / 'evil.pth'}")
    assert "more than tensors" in error_of(capsys, "train.py", config, "--work-dir", tmp_path / "run", *load)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("content", "part"),
    [
        (b"", "cannot read"),
        (b"abc", "more than tensors"),
        ({}, "state_dict"),
        ([1], "holds a list"),
        ({"meta": {}}, "state_dict"),
    ],
    ids=["empty", "text", "nothing", "list", "no weights"],
)
def test_what_is_no_checkpoint_is_named(content, part, tmp_path, capsys):
    path = tmp_path / "x.pth"
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        torch.save(content, path)
    line = error_of(capsys, "train.py", write_config(tmp_path), "--work-dir", tmp_path / "run", "--resume", path)
    assert part in line
    assert "x.pth" in line


def test_adapter_files_are_not_resumed_from(run, tmp_path, capsys):
    adapter = run / "epoch_1.safetensors"
    line = error_of(capsys, "train.py", write_config(tmp_path), "--work-dir", tmp_path / "run", "--resume", adapter)
    assert "the .pth beside it" in line


def test_resuming_needs_a_run(tmp_path, capsys):
    """A folder that was started in, without a checkpoint, has none either."""
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.py").touch()
    line = error_of(capsys, "train.py", write_config(tmp_path), "--work-dir", tmp_path / "run", "--resume")
    assert f"{tmp_path / 'run'} has no run to resume" in line
    assert "leave out --resume" in line
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["config.py"]


@pytest.mark.parametrize(
    ("extra", "parts"),
    [
        ("train_cfg.update(max_epochs=3)", ["train_cfg.max_epochs 1, the config has 3"]),
        ("param_scheduler.update(power=2.0)", ["param_scheduler.power 1.0, the config has 2.0"]),
        ("optim_wrapper['optimizer'].update(lr=1.0)", ["optim_wrapper.optimizer.lr 0.001, the config has 1.0"]),
    ],
    ids=["epochs", "schedule", "rate"],
)
def test_resuming_as_another_training(extra, parts, run, tmp_path, capsys):
    """The schedulers' state is the checkpoint's: it would go on at the rate 0."""
    same = "train_cfg.update(max_epochs=1)\n"
    config = write_config(tmp_path, f"\n{same}{extra}\n")
    line = error_of(capsys, "train.py", config, "--work-dir", run, "--resume")
    for part in [*parts, "another --work-dir", f"tools/train.py {run / 'config.py'} --work-dir {run} --resume"]:
        assert part in line
    assert (run / "last_checkpoint").read_text() == "epoch_1.pth"


def test_what_may_change_in_a_run():
    before = {
        "train_cfg": {"max_epochs": 2, "val_interval": 2},
        "train_dataloader": {"batch_size": 4, "num_workers": 0, "dataset": {"type": "Folder", "root": "/a"}},
        "val_dataloader": {"batch_size": 4},
        "single_task": "a.json",
    }
    now = {
        "train_cfg": {"max_epochs": 2, "val_interval": 1},
        "train_dataloader": {"batch_size": 4, "num_workers": 2, "dataset": {"type": "Folder", "root": "/b"}},
        "val_dataloader": {"batch_size": 8},
        "single_task": "b.json",
        "data_root": "/b",
        "default_hooks": {"logger": {"interval": 3}, "pictures": None},
    }
    assert first_difference(before, now) is None
    now["train_dataloader"]["dataset"]["length"] = 3
    assert first_difference(before, now) == ("train_dataloader.dataset.length", "unset", "3")


def test_a_finished_run_keeps_its_result(run, capsys):
    config, result = run / "tiny.py", (run / "result.json").read_bytes()
    assert "--resume goes on with it" in error_of(capsys, "train.py", config, "--work-dir", run)
    assert run_tool("train.py", config, "--work-dir", run, "--resume") == 0
    assert "nothing was validated" in capsys.readouterr().out
    assert (run / "result.json").read_bytes() == result
    (run / "result.json").unlink()  # as if it had been killed before its last validation
    assert run_tool("train.py", config, "--work-dir", run, "--resume") == 0
    before, after = json.loads(result), json.loads((run / "result.json").read_bytes())
    measured = before.pop("cost"), after.pop("cost")  # times are measured anew
    assert after == before
    assert measured[0]["train"]["seconds"] == measured[1]["train"]["seconds"]


def test_the_result_replaces_nothing_but_json(run, tmp_path, capsys):
    adapter = run / "epoch_1.safetensors"
    before = adapter.read_bytes()
    line = error_of(capsys, "test.py", run / "tiny.py", adapter, "--work-dir", tmp_path, "--out", adapter)
    assert ".json" in line
    assert adapter.read_bytes() == before


def test_weights_that_are_not_finite_are_not_saved_over_good_ones(tmp_path, capsys):
    config = write_config(tmp_path, "\noptim_wrapper['optimizer'].update(lr=1e30)\n")
    line = error_of(capsys, "train.py", config, "--work-dir", tmp_path / "run", status=1)
    assert "finite" in line or "loss of task" in line
    assert not list((tmp_path / "run").glob("*.pth"))


@pytest.mark.parametrize("name", ["a.b", "a/b", "", "keys", "training", "forward", "3"])
def test_task_names_must_be_names(name, tmp_path, capsys):
    config = write_config(tmp_path, f"\ntasks[{name!r}] = dict(type='Saliency')\n")
    assert repr(name) in error_of(capsys, "train.py", config, "--work-dir", tmp_path / "run")


@pytest.mark.parametrize("failure", ["1 / 0", "raise SystemExit(0)", "nothing_of_that_name"])
def test_programs_that_fail_are_named(failure, tmp_path, capsys):
    (tmp_path / "bad_config.py").write_text(f"method = dict(type='DecodersOnly')\n{failure}\n")
    assert "bad_config.py" in error_of(capsys, "train.py", tmp_path / "bad_config.py")
    (tmp_path / "bad_plugin.py").write_text(failure)
    sys.path.insert(0, str(tmp_path))
    try:
        config = write_config(tmp_path, "\ncustom_imports = dict(imports=['bad_plugin'])\n")
        assert "'bad_plugin' cannot be imported" in error_of(capsys, "train.py", config)
    finally:
        sys.path.remove(str(tmp_path))
        sys.modules.pop("bad_plugin", None)


@pytest.mark.parametrize(
    ("extra", "part"),
    [
        ("method = 3", "method is a dict"),
        ("tasks = ['semseg']", "tasks is a dict"),
        ("tasks['semseg'] = 3", "tasks['semseg']"),
        ("encoder.update(size=96)", "size is a list (each an integer), not 96"),
        ("encoder.update(size=[96])", "size is (H, W), not [96]"),
        ("encoder.update(options=dict(img_size=3))", "encoder sets img_size itself"),
        ("encoder['options'].update(embed_dim=-16)", "encoder swin_tiny_patch4_window7_224 with {"),
        ("encoder.update(weights=3)", "weights is a string or True or False or None, not 3"),
        ("tasks['semseg'].update(loss_weight='2')", "loss_weight is a finite number, not '2'"),
        ("custom_imports = 3", "custom_imports is a dict or None, not 3"),
        ("train_cfg = dict(by_epoch=True, max_epochs=0)", "max_epochs is at least 1"),
    ],
)
def test_values_of_the_wrong_type(extra, part, tmp_path, capsys):
    line = error_of(capsys, "train.py", write_config(tmp_path, f"\n{extra}\n"), "--work-dir", tmp_path / "run")
    assert part in line


def test_arguments_that_a_part_takes_freely_are_its_own_business():
    class Free(Hook):
        def __init__(self, **options):
            self.options = options

    check_arguments(Free, ["anything"], "hook Free")


def test_what_nobody_foresaw_is_one_line_too(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("mtl.engine.train.build_runner", lambda *arguments: 1 + "1")
    line = error_of(capsys, "train.py", write_config(tmp_path), "--work-dir", tmp_path / "run", status=1)
    assert "TypeError" in line
    assert "MTL_TRACEBACK=1" in line
