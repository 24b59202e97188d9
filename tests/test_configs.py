"""Every config that ships is read, checked and assembled; nothing is downloaded."""

from __future__ import annotations

from pathlib import Path

import pytest
from tiny import write_config
from torch import nn

from mtl.engine.build import assemble, build_runner
from mtl.engine.config import default_work_dir, method_files, read_config
from mtl.engine.plugins import register_all
from mtl.methods.mtlora import TaskAgnostic, TaskSpecific
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


@pytest.mark.parametrize("name", sorted(method_files(ROOT / "quickstart.py")))
def test_a_method_by_its_file(name):
    register_all()
    cfg = read_config(ROOT / "scenes.py", {"decoder.channels": 32}, name)
    check_part(cfg.method, METHODS)
    assert cfg.decoder.channels == 32
    assert cfg.work_dir.endswith(f"scenes_{name}")
    assert read_config(ROOT / "scenes.py", None, ROOT / "_base_" / "methods" / f"{name}.py").method == cfg.method


@pytest.mark.parametrize(
    ("name", "rate"),
    [
        *dict.fromkeys(("lora", "ssf", "adapter", "vpt_deep", "phm_adapter", "lora_bias"), 3e-3).items(),
        *dict.fromkeys(("hyperformer", "polyhistor", "polyhistor_lite"), 5e-4).items(),
        ("single_task_full", 1e-3),
    ],
)
def test_rates_of_the_comparison(name, rate, tmp_path):
    """Those that the config's docstring says, wherever a method keeps its parameters."""
    register_all()
    runner = build_runner(read_config(ROOT / "scenes.py", None, name), tmp_path)
    optimizer = runner.build_optim_wrapper(runner.optim_wrapper).optimizer
    rates = {id(p): group["lr"] for group in optimizer.param_groups for p in group["params"]}
    trained = {n: p for n, p in runner.model.named_parameters() if p.requires_grad}
    for parameter, value in trained.items():
        assert rates[id(value)] == pytest.approx(1e-2 if parameter.startswith("decoders.") else rate), parameter


def test_rates_of_mtlora(tmp_path):
    register_all()
    runner = build_runner(read_config(ROOT / "scenes.py", None, "mtlora"), tmp_path)
    groups = runner.build_optim_wrapper(runner.optim_wrapper).optimizer.param_groups
    rates = {id(p): group["lr"] for group in groups for p in group["params"]}
    wanted = {TaskAgnostic: 1e-3, TaskSpecific: 3e-3, nn.LayerNorm: 1e-3}
    seen = set()
    for module in runner.model.encoder.modules():
        for parameter in module.parameters(recurse=False) if type(module) in wanted else ():
            assert rates[id(parameter)] == pytest.approx(wanted[type(module)])
            seen.add(type(module))
    assert seen == set(wanted)


def test_every_method_has_a_file():
    register_all()
    files = method_files(ROOT / "quickstart.py")
    types = {read_config(ROOT / "quickstart.py", None, name).method.type for name in files}
    assert types >= {name for name, kind in METHODS.module_dict.items() if kind.__module__.startswith("mtl.methods")}


def test_an_unknown_method_is_one_line():
    with pytest.raises(ValueError, match=r"no method 'lara' for .*; did you mean 'lora'\?"):
        read_config(ROOT / "scenes.py", None, "lara")
    with pytest.raises(ValueError, match=r"no config 'lara\.py'"):
        read_config(ROOT / "scenes.py", None, "lara.py")


def test_default_work_dirs_keep_configs_of_one_name_apart():
    assert str(default_work_dir(Path("configs/quickstart.py"))) == "work_dirs/quickstart"
    assert str(default_work_dir(Path("../configs/nyud/swin_t.py"))) == "work_dirs/nyud/swin_t"
    assert str(default_work_dir(Path("elsewhere/mine.py"))) == "work_dirs/mine"


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
