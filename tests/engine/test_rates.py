"""Keys of a config that set a rate, and rates below the floor of a schedule."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from mmengine.optim import DefaultOptimWrapperConstructor
from test_bad_input import error_of
from tiny import run_tool, write_config
from torch import nn

from mtl.engine.build import plain
from mtl.engine.config import method_files, read_config
from mtl.engine.rates import check_custom_keys, selecting
from mtl.methods.base import ROLES
from mtl.models.multitask import MultiTaskModel

ROOT = Path(__file__).resolve().parents[2] / "configs"

RATES = "\noptim_wrapper.update(paramwise_cfg=dict(custom_keys={keys}))\n"


@pytest.mark.parametrize(
    ("keys", "parts"),
    [
        (
            "{'backbone': dict(lr_mult=0.1)}",
            ["'backbone' is in no parameter's name", "method.tasks", "decoders.semseg"],
        ),
        ("{'encodr.': dict(lr_mult=0.1)}", ["'encodr.' is in no parameter's name"]),
        ("{'layers.0.blocks': dict(lr_mult=0.1)}", ["'layers.0.blocks' selects nothing that is trained", "is frozen"]),
        (
            "{'decoders.sem': dict(lr_mult=0.1), 'decoders.semseg.': dict(lr_mult=0.2)}",
            ["'decoders.sem' selects nothing", "'decoders.semseg.'"],
        ),
    ],
)
def test_a_key_that_selects_nothing(keys, parts, tmp_path, capsys):
    config = write_config(tmp_path, RATES.format(keys=keys))
    line = error_of(capsys, "train.py", config, "--work-dir", tmp_path / "run")
    for part in ["optim_wrapper.paramwise_cfg.custom_keys", *parts]:
        assert part in line, line
    assert not list((tmp_path / "run").glob("*.pth"))


def test_keys_of_roles_that_a_method_lacks(tmp_path):
    keys = repr({role: {"lr_mult": 0.5} for role in ROLES})
    extra = RATES.format(keys=keys) + "method = dict(type='DecodersOnly')\ntrain_cfg.update(max_epochs=1)\n"
    assert run_tool("train.py", write_config(tmp_path, extra), "--work-dir", tmp_path / "run") == 0


@pytest.mark.parametrize("config", ["quickstart.py", "scenes.py", "folder.py", "photos/vit_s14.py"])
def test_shipped_configs_name_roles(config):
    keys = read_config(ROOT / config).optim_wrapper.paramwise_cfg.custom_keys
    assert set(keys) <= set(ROLES)


def test_each_role_is_one_of_some_method(tmp_path):
    """Else its misspelt name could be in the list, and pass."""
    missing = set(ROLES)
    for name in sorted(method_files(ROOT / "quickstart.py")):
        if missing:
            cfg = plain(read_config(write_config(tmp_path), None, ROOT / "_base_" / "methods" / f"{name}.py").to_dict())
            options = {"reduction": 2, "rank": 2} | ({"rank_divisor": 1} if "rank_divisor" in cfg["method"] else {})
            method = cfg["method"] | {key: value for key, value in options.items() if key in cfg["method"]}
            model = MultiTaskModel(cfg["encoder"], method, cfg["tasks"], cfg["decoder"])
            trained = [n for n, parameter in model.named_parameters() if parameter.requires_grad]
            missing = {role for role in missing if not any(role in n for n in trained)}
    assert not missing


def test_the_key_that_mmengine_takes():
    """Its constructor is the reference."""
    model = nn.ModuleDict({name: nn.ModuleDict({"part": nn.Linear(2, 2)}) for name in ("a", "ab", "b")})
    keys = {
        "a.": {"lr_mult": 2},
        "b.": {"lr_mult": 3},
        "a.part.w": {"lr_mult": 5},
        "t.bias": {"lr_mult": 7},
        "part": {},
    }
    build = DefaultOptimWrapperConstructor({"optimizer": {"type": "SGD", "lr": 1.0}}, {"custom_keys": keys})
    groups: list[dict] = []
    build.add_params(groups, model)
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    for group in groups:
        key = selecting(names[id(group["params"][0])], keys)
        assert group["lr"] == keys[key].get("lr_mult", 1)
    with pytest.raises(ValueError, match=re.escape("'a.' selects nothing, as in a.part.weight")):
        check_custom_keys(model, keys)


FLOOR = RATES.format(keys="{'encoder.': dict(lr_mult=0.01), 'method.': dict(lr_mult=0.1)}")


@pytest.mark.parametrize(
    ("schedule", "part"),
    [
        ("type='PolyLR', eta_min=5e-4", "PolyLR with eta_min=0.0005 would raise lr 0.0001 of method.tasks"),
        ("type='CosineAnnealingLR', eta_min=5e-4", "(those of custom_keys['method.'])"),
        ("type='PolyMomentum', eta_min=0.99", "would raise momentum 0.9"),
    ],
)
def test_a_rate_below_its_floor(schedule, part, tmp_path, capsys):
    config = write_config(tmp_path, FLOOR + f"param_scheduler = dict({schedule}, convert_to_iter_based=True)\n")
    line = error_of(capsys, "train.py", config, "--work-dir", tmp_path / "run")
    assert part in line, line
    assert "eta_min" in line


def test_a_floor_above_the_only_rate(tmp_path, capsys):
    config = write_config(tmp_path, "\nparam_scheduler = dict(type='PolyLR', eta_min=0.01)\n")
    line = error_of(capsys, "train.py", config, "--work-dir", tmp_path / "run")
    assert "eta_min=0.01 would raise lr 0.001 of method.tasks (of the optimizer)" in line, line


def test_a_floor_below_every_rate(tmp_path):
    extra = "param_scheduler = dict(type='PolyLR', eta_min=5e-5)\ntrain_cfg.update(max_epochs=1)\n"
    assert run_tool("train.py", write_config(tmp_path, FLOOR + extra), "--work-dir", tmp_path / "run") == 0
