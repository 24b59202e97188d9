"""Whatever a file says, it is data: nothing of it is imported, run, written elsewhere or taken without bounds."""

from __future__ import annotations

import copy
import json
import os
import sys
import zipfile
from pathlib import Path

import pytest
import torch
from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from PIL import Image
from safetensors import safe_open
from tiny import rewritten, run_tool, write_config
from trained import resealed, write_checkpoints

from mtl.encoders.weights import locate, read_state_dict
from mtl.engine.adapter_tasks import read_adapters
from mtl.engine.checkpoints import read_checkpoint, seal_checkpoint
from mtl.engine.output_folder import claim_folder
from mtl.engine.rebuild import rebuild
from mtl.evaluation import load_single_task
from mtl.evaluation.result_file import read_result
from mtl.registry import ENCODERS
from mtl.utils.plain import DEEPEST, LARGEST_FILE, MOST_VALUES, check_plain, content_digest, parse_json, read_json


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("trained")
    write_checkpoints(folder)
    return folder


def metadata(path):
    with safe_open(path, "pt") as file:
        return file.metadata()


def files_saying(folder, out, change):
    """An adapter file and a full checkpoint whose model's config is changed; both are sealed as if they were right."""
    config = json.loads(metadata(folder / "model.safetensors")["config"])
    change(config)
    yield rewritten(folder / "model.safetensors", out / "x.safetensors", config=json.dumps(config))
    yield resealed(folder / "model.pth", out / "x.pth", lambda content: content.update(build=config))


def set_at(*keys):
    """A function that sets ``value`` at the place of a config that ``keys`` lead to."""

    def change(config, value):
        for key in keys[:-1]:
            config = config[key]
        config[keys[-1]] = value

    return change


PLACES = {
    "model": ("_scope_",),
    "encoder": ("encoder", "_scope_"),
    "options": ("encoder", "options", "_scope_"),
    "method": ("method", "_scope_"),
    "decoder": ("decoder", "_scope_"),
    "tasks": ("tasks", "_scope_"),
    "task": ("tasks", "semseg", "_scope_"),
}


@pytest.mark.parametrize("place", PLACES)
def test_a_scope_imports_nothing(place, folder, tmp_path, monkeypatch):
    """MMEngine imports the package of this name, for its registry."""
    (tmp_path / "evil_scope").mkdir()
    (tmp_path / "evil_scope" / "__init__.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\n")
    monkeypatch.syspath_prepend(tmp_path)
    for file in files_saying(folder, tmp_path, lambda config: set_at(*PLACES[place])(config, "evil_scope")):
        with pytest.raises(ValueError, match=r"_scope_'\]? would be an order to MMEngine"):
            rebuild(file)
    assert "evil_scope" not in sys.modules
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("key", ["_delete_", "_base_", "_", "__class__"])
def test_other_orders_are_refused_in_every_file(key, folder, tmp_path):
    value = {"a": [{"b": {key: True}}]}
    with pytest.raises(ValueError, match="would be an order"):
        parse_json(json.dumps(value))
    for name in ("settings", "param", "meta"):
        change = {"settings": value} if name != "meta" else {"meta": {"epoch": 1, "iter": 1, "dataset_meta": value}}
        file = resealed(folder / "model.pth", tmp_path / "x.pth", lambda content, change=change: content.update(change))
        with pytest.raises(ValueError, match="would be an order"):
            read_checkpoint(file)


def test_a_checkpoint_gives_mmengine_no_program(folder, tmp_path):
    """On resuming MMEngine runs what it finds under ``meta.config``."""
    program = f"open({str(tmp_path / 'ran')!r}, 'w')"

    def change(content):
        content["meta"]["config"] = program
        content.update(optimizer={"state": {}, "param_groups": []}, param_schedulers=[])

    file = resealed(folder / "model.pth", tmp_path / "x.pth", change)
    config = write_config(tmp_path)
    assert run_tool("train.py", config, "--work-dir", tmp_path / "run", "--resume", file) == 2
    assert not (tmp_path / "ran").exists()
    with pytest.raises(ValueError, match=r"meta has the unknown key 'config'; valid: epoch, iter"):
        read_checkpoint(file)


@pytest.mark.parametrize("name", ["../../up", "/tmp/up", "a/b", "..", "", "a\nb", "training", "forward", "a.b", "3"])
def test_task_names_are_no_paths(name, folder, tmp_path, capsys):
    def change(config):
        config["tasks"] = {name if task == "semseg" else task: own for task, own in config["tasks"].items()}

    adapter, checkpoint = files_saying(folder, tmp_path, change)
    before = sorted(tmp_path.parent.rglob("*"))
    for command in (["show"], ["split", "--out", tmp_path / "a" / "b" / "out"]):
        assert run_tool("adapters.py", command[0], adapter, *command[1:]) == 2
        error = capsys.readouterr().err
        assert f"a task's name is a Python name that no module attribute has, such as 'semseg', not {name!r}" in error
        assert error.count("\n") == 1
    with pytest.raises(ValueError, match="a task's name"):
        read_checkpoint(checkpoint)
    assert sorted(tmp_path.parent.rglob("*")) == before


@pytest.mark.parametrize("tasks", [["../x"], ["semseg", "/x"], "semseg", {"a": 1}, [["x"]], [3]])
def test_an_earlier_prediction_removes_nothing_else(tasks, tmp_path):
    out = tmp_path / "out"
    for path in (out, tmp_path / "x"):
        path.mkdir()
        (path / "mine").touch()
    (out / "predictions.json").write_text(json.dumps({"tasks": tasks}))
    with pytest.raises(ValueError, match="holds no earlier prediction"):
        claim_folder(out, True, [], ["semseg"])
    assert (tmp_path / "x" / "mine").exists()
    assert (out / "mine").exists()


MODELS = {
    "classes": (("tasks", "semseg", "classes"), 10**12, "the limit is 1,000,000"),
    "depths": (("encoder", "options", "depths"), [10**6] * 4, "the limit is 100,000"),
    "layers": (("encoder", "options", "depths"), [5000, 1, 1, 1], "5003 layers; the limit is 1,000"),
    "width": (("encoder", "options", "embed_dim"), 96_000, "the limit is 10,000,000,000"),
    "heads": (("encoder", "options", "num_heads"), [10**30] * 4, "integer of more than 64 bits"),
    "size": (("encoder", "size"), [20_000, 32], "at most 16,384"),
    "embedding": (("method", "embedding"), 10**9, "the limit is 1,000,000"),
    "shape": (("method", "embedding"), 10**6, "has another shape of"),
    "channels": (("decoder", "channels"), 999_999, "the limit is 10,000,000,000"),
    "nan": (("method", "reduction"), float("nan"), "finite number"),
    "infinite": (("tasks", "semseg", "loss_weight"), float("inf"), "finite number"),
    "zero": (("method", "reduction"), 0, "reduction"),
    "negative": (("encoder", "options", "embed_dim"), -16, "says no model that can be built"),
    "annotation": (("method", "reduction"), "4", "reduction is a finite number, not '4'"),
    "argument": (("method", "reductoin"), 4, "has no argument 'reductoin'"),
    "type": (("method", "type"), "no.such.module.Method", "which no package or custom import registers"),
    "no type": (("tasks", "semseg"), {"classes": 3}, "config.tasks.semseg is a dict with a type"),
    "a list": (("method",), [1], "config.method is a dict with a type"),
    "no tasks": (("tasks",), {}, "config.tasks is a dict of tasks"),
    "key": (("model",), {"compile": True}, "unknown key 'model'; valid: encoder, method, tasks, decoder"),
    "name": (("encoder", "name"), "hf-hub:someone/model", "timm has no model"),
    "folder": (("encoder", "name"), "local-dir:/tmp", "timm has no model"),
    "deep": (("method", "x"), None, "nested too deeply"),
    "files": (("encoder", "options", "checkpoint_path"), "/etc/passwd", "has no argument"),
    "overlay": (("encoder", "options", "pretrained_cfg_overlay"), {"hf_hub_id": "x/y"}, "has no argument"),
    "config": (("encoder", "options", "pretrained_cfg"), {"file": "x"}, "has no argument"),
    "features": (("encoder", "options", "features_only"), True, "has no argument"),
    "cache": (("encoder", "options", "cache_dir"), "/tmp/x", "has no argument"),
}


@pytest.mark.parametrize("case", MODELS)
def test_what_a_file_says_of_a_model(case, folder, tmp_path):
    keys, value, part = MODELS[case]
    if case == "deep":
        value = []
        for _ in range(DEEPEST + 5):
            value = [value]
    for file in files_saying(folder, tmp_path, lambda config: set_at(*keys)(config, value)):
        with pytest.raises(ValueError, match=f"{file.name}") as raised:
            rebuild(file)
        assert part in str(raised.value)
        assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("changes", "part"),
    [
        ({"more": "x"}, "unknown key 'more'"),
        ({"base": None}, "no 'base'"),
        ({"base": "../x"}, "base is a fingerprint"),
        ({"copies": "../"}, "copies is a prefix"),
        ({"stacked": '{"a": 1}'}, "stacked is a list of names"),
        ({"stacked": "[" * 100_000}, "nested too deeply"),
        ({"config": "[" * 100_000 + "]" * 100_000}, "nested too deeply"),
        ({"config": '{"encoder": ' + "9" * 5000 + "}"}, "not JSON"),
    ],
)
def test_metadata(changes, part, folder, tmp_path):
    file = rewritten(folder / "model.safetensors", tmp_path / "x.safetensors", **changes)
    for read in (read_adapters, rebuild):
        with pytest.raises(ValueError, match=r"x\.safetensors' is damaged: ") as raised:
            read(file)
        assert part in str(raised.value)


def test_options_of_a_config_are_those_of_an_architecture():
    """A user's own config is told what there is."""
    with pytest.raises(ValueError, match=r"has no argument 'depht'; did you mean 'depth'\? valid: "):
        ENCODERS.build({"type": "TimmEncoder", "name": "vit_tiny_patch16_224", "options": {"depht": 4}})


def test_weights_that_ship_are_the_folders_own(tmp_path):
    with pytest.raises(ValueError, match="ship with the package; valid: mtl:"):
        locate(f"mtl:../../{tmp_path}/x")


def test_a_flipped_bit_is_found(folder, tmp_path):
    """In the tensors and values each one; what is left of a zip archive is names, times and filling."""
    data = (folder / "model.pth").read_bytes()
    whole = read_checkpoint(folder / "model.pth")
    refused = []
    for place in range(16, len(data), len(data) // 60):
        path = tmp_path / "x.pth"
        path.write_bytes(data[:place] + bytes([data[place] ^ 16]) + data[place + 1 :])
        try:
            found = read_checkpoint(path)
        except ValueError as error:
            refused.append(str(error))
            continue
        assert {key: value for key, value in found.items() if key != "state_dict"} == {
            key: value for key, value in whole.items() if key != "state_dict"
        }
        assert all(torch.equal(value, found["state_dict"][name]) for name, value in whole["state_dict"].items())
    assert len(refused) > 30
    assert all("x.pth" in line and "\n" not in line for line in refused)


DIFFERENT = [
    {"a": 1, "b": 2},
    {"b": 2, "a": 1},
    {"a": 1, "b": 2.0},
    {"a": True, "b": 2},
    {"a": "1", "b": 2},
    {"a": [1, "b"], "c": 2},
    {"a": (1, "b"), "c": 2},
    {"a": [[1], "b"], "c": 2},
    {"a1": "b", "c": 2},
    {"a": "1b", "c": 2},
    {"a": None},
    {"a": "None"},
    {"a": b"None"},
    {"a": 0.0},
    {"a": -0.0},
    {"a": torch.zeros(2)},
    {"a": torch.zeros(2, 1)},
    {"a": torch.zeros(2).double()},
    {"a": torch.zeros(2).int()},
    {"a": -torch.zeros(2)},
    {"a": torch.tensor([0.0, 1e-45])},
    {"a": {"b": torch.zeros(2)}},
    {"a": [torch.zeros(2)]},
    {0: torch.zeros(2)},
    {"0": torch.zeros(2)},
]


def test_equal_digests_are_equal_content(tmp_path):
    digests = [content_digest(value) for value in DIFFERENT]
    assert len(set(digests)) == len(DIFFERENT)
    for value, digest in zip(DIFFERENT, digests, strict=True):
        torch.save(value, tmp_path / "x.pth")
        assert content_digest(torch.load(tmp_path / "x.pth", weights_only=True)) == digest
    strided = torch.arange(6.0).view(2, 3).t()
    assert content_digest(strided) == content_digest(strided.contiguous())
    half = torch.ones(3, dtype=torch.bfloat16)
    assert content_digest(half) != content_digest(half.to(torch.float16))


CHECKPOINTS = {
    "no digest": (lambda c: c.pop("digest"), "has no 'digest'"),
    "no build": (lambda c: c.pop("build"), "has no 'build'"),
    "epoch": (lambda c: c["meta"].update(epoch=-1), "meta.epoch is an integer of at least 0, not -1"),
    "iter": (lambda c: c["meta"].update(iter=2.5), "meta.iter is an integer of at least 0, not 2.5"),
    "true": (lambda c: c["meta"].update(iter=True), "meta.iter is an integer of at least 0, not True"),
    "huge": (lambda c: c["meta"].update(iter=10**30), "integer of more than 64 bits"),
    "seed": (lambda c: c["meta"].update(seed=-3), "meta.seed is an integer from 0"),
    "no iter": (lambda c: c["meta"].pop("iter"), "meta has no 'iter'"),
    "hub": (lambda c: c.update(message_hub={}), "message_hub"),
    "best": (
        lambda c: c.update(best=dict(metric="gain", value=float("nan"), epoch=1, iter=2)),
        "best is a metric, its",
    ),
    "keys of the best": (lambda c: c.update(best={"metric": "gain"}), "best has no 'value'"),
    "validated": (lambda c: c.update(validated=1), "validated is a bool, not 1"),
    "first scores": (lambda c: c.update(first_scores={"semseg": "x"}), "first_scores is a number for each task"),
    "cost": (lambda c: c.update(cost={"seconds": "x", "steps": 1, "starts": 1, "peak": 1}), "cost.seconds"),
    "optimizer": (lambda c: c.update(optimizer=[1]), "optimizer is a dict"),
    "schedulers": (lambda c: c.update(param_schedulers={}), "param_schedulers is a list"),
    "not a tensor": (lambda c: c["state_dict"].update(x=1), "no state_dict of tensors"),
    "values": (lambda c: c.update(mine=[0] * (MOST_VALUES + 1)), "more than 1,000,000 values"),
    "expanded": (lambda c: c.update(mine=torch.zeros(1).expand(10**12)), "1000000000000 values, more than the file"),
    "no values": (lambda c: c.update(mine=torch.empty(10**12, device="meta")), "no dense tensor"),
    "dtype": (lambda c: c.update(mine=torch.float32), "mine is a dtype, no plain value"),
}


@pytest.mark.parametrize("case", CHECKPOINTS)
def test_what_a_checkpoint_holds(case, folder, tmp_path):
    change, part = CHECKPOINTS[case]
    checkpoint = torch.load(folder / "model.pth", weights_only=True)
    change(checkpoint)
    torch.save(checkpoint, tmp_path / "x.pth")
    with pytest.raises(ValueError, match=r"x\.pth' is not a checkpoint of this framework: ") as raised:
        read_checkpoint(tmp_path / "x.pth")
    assert part in str(raised.value)


def test_keys_of_a_users_own_are_part_of_a_checkpoint(folder, tmp_path):
    mine = {"ema": {"w": torch.ones(2)}, "steps": (1, 2.5, None, "x")}
    file = resealed(folder / "model.pth", tmp_path / "x.pth", lambda content: content.update(mine=mine))
    found = read_checkpoint(file)["mine"]
    assert torch.equal(found["ema"]["w"], torch.ones(2))
    assert found["steps"] == mine["steps"]


@HOOKS.register_module()
class LateKey(Hook):
    """Adds to a checkpoint after every other hook."""

    priority = "LOWEST"

    def __init__(self, broken=False):
        self.broken = broken

    def before_save_checkpoint(self, runner, checkpoint):
        checkpoint["late"] = {"path": Path()} if self.broken else {"steps": 3}


ONE_EPOCH = "\ntrain_cfg.update(max_epochs=1)\ndefault_hooks.update(pictures=None)\n"


def test_hooks_that_write_into_checkpoints(tmp_path, capsys):
    hooks = "custom_hooks = [dict(type='EMAHook'), dict(type='LateKey')]\n"
    config = write_config(tmp_path, ONE_EPOCH + hooks)
    assert run_tool("train.py", config, "--work-dir", tmp_path / "run") == 0
    checkpoint = read_checkpoint(tmp_path / "run" / "epoch_1.pth", resume=True)
    assert checkpoint["late"] == {"steps": 3}
    assert "ema_state_dict" in checkpoint
    config = write_config(tmp_path, ONE_EPOCH + "custom_hooks = [dict(type='LateKey', broken=True)]\n")
    capsys.readouterr()
    assert run_tool("train.py", config, "--work-dir", tmp_path / "other") == 2
    assert "error: the checkpoint.late.path is a PosixPath, no plain value" in capsys.readouterr().err
    assert not list((tmp_path / "other").glob("*.pth"))


def test_values_that_go_round_or_multiply():
    loop: list = []
    loop.append(loop)
    with pytest.raises(ValueError, match="nested too deeply"):
        check_plain(loop)
    many: list = [0] * 100
    for _ in range(10):
        many = [many] * 100
    with pytest.raises(ValueError, match="more than 1,000,000 values"):
        check_plain(many)


def test_a_file_that_unpacks_to_more_than_it_is(tmp_path):
    torch.save({"a": torch.zeros(100_000)}, tmp_path / "a.pth")
    with zipfile.ZipFile(tmp_path / "a.pth") as file, zipfile.ZipFile(tmp_path / "b.pth", "w", 8) as packed:
        for name in file.namelist():
            packed.writestr(name, file.read(name))
    with pytest.raises(ValueError, match=r"b\.pth': it unpacks to \d"):
        read_state_dict(tmp_path / "b.pth")
    torch.save({"a": torch.zeros(1).expand(10**12)}, tmp_path / "c.pth")
    with pytest.raises(ValueError, match=r"c\.pth': a has 1000000000000 values, more than the file"):
        read_state_dict(tmp_path / "c.pth")


def test_json_of_any_size_and_depth(tmp_path):
    path = tmp_path / "a.json"
    for text in ("[" * 100_000, "[" * 100_000 + "]" * 100_000, '{"a":' * 100_000, "[" * 100 + "]" * 100):
        path.write_text(text)
        with pytest.raises(ValueError, match=r"nested too deeply"):
            read_json(path)
    with path.open("wb") as file:
        file.truncate(2 * 2**30)
    with pytest.raises(ValueError, match="2048 MiB; the limit is 64"):
        read_json(path)
    assert LARGEST_FILE == 64 * 2**20
    path.unlink()
    os.mkfifo(path)
    for read in (read_json, read_result):
        with pytest.raises(ValueError, match="not a file but a named pipe"):
            read(path)
    path.unlink()
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(ValueError, match="not a text file"):
        read_json(path)


@pytest.mark.parametrize("score", ["NaN", "Infinity", "1e999", "10" * 300, "true", '"6"', "null"])
def test_single_task_scores_are_finite(score, tmp_path):
    (tmp_path / "a.json").write_text(f'{{"main": {{"semseg": {score}}}}}')
    with pytest.raises(ValueError, match=r"a\.json: "):
        load_single_task(tmp_path / "a.json")


def test_pictures_are_not_named_by_a_file(folder, tmp_path):
    """A whole prediction stays in its folder."""
    Image.new("RGB", (64, 32)).save(tmp_path / "in.png")
    out = tmp_path / "out"
    assert run_tool("predict.py", folder / "model.pth", tmp_path / "in.png", "--out", out, "--device", "cpu") == 0
    manifest = json.loads((out / "predictions.json").read_text())
    broken = copy.deepcopy(manifest)
    broken["tasks"].append("../../x")
    (out / "predictions.json").write_text(json.dumps(broken))
    command = ("predict.py", folder / "model.pth", tmp_path / "in.png", "--out", out, "--device", "cpu", "--overwrite")
    assert run_tool(*command) == 2
    (out / "predictions.json").write_text(json.dumps(manifest))
    assert run_tool(*command) == 0


def test_sealing_twice_is_sealing_once():
    checkpoint = {"a": torch.ones(2)}
    seal_checkpoint(checkpoint)
    first = checkpoint["digest"]
    seal_checkpoint(checkpoint)
    assert checkpoint["digest"] == first
