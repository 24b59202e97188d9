"""Files and options that are almost right: each is taken or is a `ValueError` of one line, and nothing else happens.

Digests and seals fit what a file says: one that stops there would try nothing. The examples are the same in every run.
"""

from __future__ import annotations

import copy
import json
import math
import os
import resource
import sys
import traceback
from argparse import ArgumentParser
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from mmengine.optim import PolyLR
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from tiny import run_tool, write_config
from trained import write_checkpoints

import mtl
from mtl.engine.adapter_file import digest, seal
from mtl.engine.adapter_tasks import describe, read_adapters
from mtl.engine.build import assemble
from mtl.engine.checkpoints import read_checkpoint
from mtl.engine.command_line import add_options
from mtl.engine.config import read_config
from mtl.engine.optim import TaskwiseOptimWrapper
from mtl.engine.output_folder import claim_folder
from mtl.engine.rebuild import rebuild
from mtl.engine.training_state import check_resumable
from mtl.evaluation import load_single_task
from mtl.report.runs import read_run
from mtl.report.tables import make_tables
from mtl.utils.plain import content_digest

TASKS = ("semseg", "human_parts", "saliency", "normals")
PACKAGE = Path(mtl.__file__).parent
ELSEWHERE = Path(f"/tmp/mtl_fuzz_{os.getpid()}")
"""Where a file must not lead to."""

MEMORY = 3 * 2**30
"""Bytes that a call may take on top of what the process has."""

SLOW = [
    HealthCheck.too_slow,
    HealthCheck.function_scoped_fixture,
    HealthCheck.data_too_large,
    HealthCheck.large_base_example,
]


def fuzz(examples):
    return settings(derandomize=True, database=None, deadline=None, max_examples=examples, suppress_health_check=SLOW)


NAMES = (
    *("type", "name", "self", "weights", "decoder", "config", "size", "classes", "checkpoint_path", "features_only"),
    *(
        "_scope_",
        "_delete_",
        "_base_",
        "__class__",
        "",
        "a.b",
        "../x",
        str(ELSEWHERE),
        "pretrained_cfg",
        "x" * 300,
        "a\nb",
    ),
)
PATHS = ("../y", "../../y", "/tmp", str(ELSEWHERE), "..", "x/y")
NUMBERS = (0, 1, -1, 2, 3, 7, 10**3, 10**5, 10**6, 10**9, 10**12, -(10**12), 2**63, 10**30)
TEXTS = (
    *("", "x", "../../x", str(ELSEWHERE), "hf-hub:a/b", "local-dir:/tmp", "mtl:../x", "LoRA", "Composite", "AllMLP"),
    *("pathlib.Path.touch", "xmlrpc.client", "turtledemo", "mtl.methods.lora.LoRA", "a\nb", "\ud800", "9" * 400),
)
LISTS = ([], [[]], [10**6] * 4, [0] * 4, [2.5] * 4, ["x"], [None], [3, 3], [{"type": "LoRA"}])
DICTS = (
    *({}, {"type": "LoRA"}, {"type": "x.y"}, {"type": ["x"]}, {"_scope_": "xmlrpc"}, {"type": "AllMLP", "channels": 0}),
    *({"type": "SemanticSegmentation", "classes": 10**12}, {"type": "Composite", "methods": [{"type": "Composite"}]}),
)


def nested(depth):
    value: object = 1
    for level in range(depth):
        value = [value] if level % 2 else {"a": value}
    return value


ODD = st.one_of(
    st.sampled_from([None, True, False, math.nan, math.inf, -0.5, 0.5, 1e-9, 1e308, nested(30), nested(400)]),
    st.sampled_from(NUMBERS),
    st.sampled_from(TEXTS),
    st.sampled_from([*LISTS, *DICTS]),
    st.integers(),
    st.floats(),
    st.text(max_size=8),
)


def places(value, found):
    """Every dict and list in ``value``, with each of its keys."""
    keys = list(value) if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else []
    for key in keys:
        found.append((value, key))
        places(value[key], found)
    return found


def mutated(value, draw, odd=ODD):
    """A copy of ``value`` with one to three places replaced, added to, removed or renamed."""
    value = copy.deepcopy(value)
    for _ in range(draw(st.integers(1, 3))):
        found = places(value, [])
        if not found:
            return copy.deepcopy(draw(odd))
        owner, key = draw(st.sampled_from(found))
        what = draw(st.sampled_from(["replace", "replace", "number", "scope", "add", "remove", "rename", "path"]))
        if what == "remove":
            del owner[key]
        elif what in ("rename", "path") and isinstance(owner, dict):
            name = draw(st.sampled_from(PATHS if what == "path" else NAMES))
            items = [(name if other == key else other, item) for other, item in owner.items()]
            owner.clear()
            owner.update(items)
        elif what == "add" and isinstance(owner, dict):
            owner[draw(st.one_of(st.sampled_from(NAMES), st.text(max_size=6)))] = copy.deepcopy(draw(odd))
        elif what == "scope" and isinstance(owner, dict):
            owner["_scope_"] = "xmlrpc"
        else:
            owner[key] = draw(st.sampled_from(NUMBERS)) if what == "number" else copy.deepcopy(draw(odd))
    return value


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder to work in, the current one, with the process's memory bounded."""
    folder, before = tmp_path_factory.mktemp("fuzz"), Path.cwd()
    (folder / "trained").mkdir()
    write_checkpoints(folder / "trained")
    os.chdir(folder)
    for name in ("model.safetensors", "model.pth"):  # loads what is loaded on first use
        rebuild(folder / "trained" / name)[0](torch.zeros(1, 3, 32, 64))
    pages = int(Path("/proc/self/statm").read_text().split()[0]) if sys.platform == "linux" else 0
    limits = resource.getrlimit(resource.RLIMIT_AS)
    if pages:
        resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + MEMORY, limits[1]))
    yield folder
    resource.setrlimit(resource.RLIMIT_AS, limits)
    os.chdir(before)


def tree(folder, without):
    return {
        path: path.stat().st_mtime_ns
        for path in sorted(folder.rglob("*"))
        if not path.is_relative_to(without) and path != folder
    }


@contextmanager
def contained(folder, out):
    """Nothing is written outside of ``out`` and nothing new is imported; errors are the project's own."""
    files, packages = tree(folder, out), {name.partition(".")[0] for name in sys.modules}
    try:
        yield
    except Exception as error:
        own = Path(traceback.extract_tb(error.__traceback__)[-1].filename).is_relative_to(PACKAGE)
        line = isinstance(error, ValueError) and len(str(error).splitlines()) == 1
        if not (own and line) or "allocate" in str(error) or "No module" in str(error):
            raise
    assert tree(folder, out) == files
    assert not list(ELSEWHERE.parent.glob(f"{ELSEWHERE.name}*"))
    assert {name.partition(".")[0] for name in sys.modules} <= packages


def write_adapters(path, config, meta):
    """The adapter file of ``place`` with other metadata, its decoders named as the tasks of ``config`` are."""
    state, tasks = load_file(path / "trained" / "model.safetensors"), config.get("tasks") if config else None
    if isinstance(tasks, dict) and len(tasks) == len(TASKS):
        for old, new in zip(TASKS, tasks, strict=True):
            own = [name for name in state if name.startswith(f"decoders.{old}.")]
            state |= {f"decoders.{new}.{name.split('.', 2)[2]}": state.pop(name) for name in own}
    meta = {**meta, "digest": digest(state)}
    meta["seal"] = seal(meta)
    save_file(state, path / "x.safetensors", meta)
    return path / "x.safetensors"


@fuzz(150)
@given(data=st.data())
def test_adapter_files(data, place):
    out = place / "out"
    with safe_open(place / "trained" / "model.safetensors", "pt") as opened:
        meta = {key: text for key, text in opened.metadata().items() if key not in ("digest", "seal")}
    part = data.draw(st.sampled_from(["config", "config", "config", "config", "stacked", "copies", "base", "format"]))
    if part in ("config", "stacked"):
        changed = mutated(json.loads(meta[part]), data.draw)
        meta[part] = json.dumps(changed)
    else:
        changed, meta[part] = None, data.draw(st.sampled_from([*TEXTS, *PATHS])).encode(errors="replace").decode()
    file = write_adapters(place, changed if isinstance(changed, dict) else None, meta)
    with contained(place, out):
        read = rebuild(file)[0]
        if list(read.encoder.size) == [32, 64]:
            read(torch.zeros(1, 3, 32, 64))
    with contained(place, out):
        describe(read_adapters(file))
    with contained(place, out):
        assert run_tool("adapters.py", "split", file, "--out", out) in (0, 2)
    for written in out.glob("*"):
        written.unlink()


@fuzz(60)
@given(name=st.one_of(st.sampled_from(PATHS), st.text(max_size=8)), number=st.integers(0, 3))
def test_task_names(name, number, place):
    """The tensors bear the name too: all that is wrong with the file is what a task is called."""
    out = place / "out"
    with safe_open(place / "trained" / "model.safetensors", "pt") as opened:
        meta = {key: text for key, text in opened.metadata().items() if key not in ("digest", "seal")}
    config = json.loads(meta["config"])
    config["tasks"] = {name if task == TASKS[number] else task: own for task, own in config["tasks"].items()}
    file = write_adapters(place, config, {**meta, "config": json.dumps(config)})
    with contained(place, out):
        assert run_tool("adapters.py", "split", file, "--out", out) in (0, 2)
    for written in out.glob("*"):
        written.unlink()


@pytest.fixture(scope="module")
def training(place):
    """A checkpoint of a training, and the runner that it is of."""
    checkpoint = torch.load(place / "trained" / "model.pth", weights_only=True)
    model, _ = rebuild(place / "trained" / "model.pth")
    parameters = [p for p in model.parameters() if p.requires_grad]
    wrapper = TaskwiseOptimWrapper(torch.optim.Adam(parameters, lr=1e-3))
    schedulers = [PolyLR(wrapper, by_epoch=False, begin=0, end=8)]
    for parameter in parameters:
        parameter.grad = torch.ones_like(parameter)
    wrapper.step()
    checkpoint |= {
        "optimizer": wrapper.state_dict(),
        "param_schedulers": [scheduler.state_dict() for scheduler in schedulers],
        "cost": {"seconds": 1.0, "steps": 4, "starts": 1, "peak": 2**20},
        "settings": {"encoder": {"type": "TimmEncoder"}, "train_cfg": {"max_epochs": 2}},
        "best_score": 3.0,
    }
    return checkpoint, SimpleNamespace(optim_wrapper=wrapper, param_schedulers=schedulers)


TENSORS = st.one_of(
    ODD,
    st.builds(
        lambda shape, dtype: torch.zeros(shape, dtype=dtype),
        st.lists(st.integers(0, 3), max_size=4),
        st.sampled_from([torch.float32, torch.bfloat16, torch.int64, torch.bool, torch.complex64]),
    ),
    st.sampled_from([10**4, 10**12]).map(lambda n: torch.zeros(1).expand(n)),
)


@fuzz(80)
@given(data=st.data())
def test_checkpoints(data, place, training):
    (checkpoint, runner), file = training, place / "x.pth"
    part = data.draw(st.sampled_from([*checkpoint, "build", "meta", "optimizer", "param_schedulers", ""]))
    content = {**checkpoint, part: mutated(checkpoint[part], data.draw, TENSORS)} if part else None
    content = dict(content or mutated(checkpoint, data.draw, TENSORS))
    try:
        content["digest"] = content_digest({key: value for key, value in content.items() if key != "digest"})
    except (RecursionError, RuntimeError):  # of what is refused before the digest is looked at
        content["digest"] = ""
    torch.save(content, file)
    with contained(place, place / "out"):
        read = read_checkpoint(file, resume=True)
        check_resumable(read, runner, str(file))
    with contained(place, place / "out"):
        rebuild(file)


def a_result():
    tasks = {"semseg": "mIoU", "normals": "mErr"}
    return {
        "config": "configs/mine.py",
        "method": "LoRA",
        "encoder": "swin",
        "protocol": "original",
        "metrics": {task: {metric: 40.0} for task, metric in tasks.items()},
        "main_metric": tasks,
        "unit": {"semseg": "%", "normals": "°"},
        "main": dict.fromkeys(tasks, 40.0),
        "higher_is_better": {"semseg": True, "normals": False},
        "delta_m": -1.0,
        "parameters": {"encoder": 10, "decoders": 10, "all": 20, "base": 3_000_000},
        "label": "mine",
        "single_task": {"source": None, "scores": {"semseg": 50.0, "normals": 20.0}},
        "cost": {
            "device": "cpu",
            "processes": 1,
            "memory": "peak resident set",
            "train": {"seconds": 200.0, "steps": 500, "starts": 1, "step_seconds": 0.4, "peak_memory": 2**30},
            "test": {"image_seconds": 0.03, "peak_memory": None},
        },
        "seed": 0,
        "settings": {"method": {"type": "LoRA"}, "val_dataloader": {"dataset": {"type": "Scenes", "length": 5}}},
    }


@fuzz(300)
@given(data=st.data())
def test_results(data, place):
    text = json.dumps(mutated(a_result(), data.draw))
    if data.draw(st.integers(0, 5)) == 0:
        cut, more = (
            data.draw(st.integers(0, len(text))),
            data.draw(st.sampled_from(["", "[" * 10**5, "\x00", "}", "9" * 5000])),
        )
        text = text[:cut] + more
    (place / "result.json").write_text(text, "utf-8", errors="surrogatepass")
    with contained(place, place / "out"):
        make_tables([read_run(place / "result.json")])
    with contained(place, place / "out"):
        load_single_task(place / "result.json")


@fuzz(150)
@given(data=st.data())
def test_manifests(data, place):
    out = place / "out"
    for folder in (out / "semseg", place / "x", place / "semseg"):
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "file").touch()
    manifest = {"tasks": ["semseg", "normals"], "inputs": {"a": "/in/a.jpg"}, "problems": []}
    (out / "predictions.json").write_text(json.dumps(mutated(manifest, data.draw)))
    with contained(place, out):
        claim_folder(out, True, [], ["semseg"])


KEYS = (
    *("method.type", "method.reduction", "method.placement", "decoder.channels", "encoder.name", "encoder.size"),
    *("encoder.weights", "encoder.options.depths", "encoder.options.checkpoint_path", "encoder.options._scope_"),
    *("tasks.semseg.classes", "tasks.semseg.type", "train_cfg.max_iters", "train_dataloader.batch_size", "protocol"),
    *("randomness.seed", "label", "metod", "method._scope_", "optim_wrapper.optimizer.lr", "tasks.x.type"),
)
VALUES = (
    *("1", "-1", "0", "1.5", "x", "True", "None", "nan", "1e999", "[1,2]", "(1,2)", "[]", "[[1],[2]]", "LoRA", "../x"),
    *("Scenes", "original", "9" * 30, "", "dict(a=1)", "pathlib.Path.touch", "a,b"),
)


@fuzz(150)
@given(pairs=st.lists(st.tuples(st.sampled_from(KEYS), st.sampled_from(VALUES)), min_size=1, max_size=3))
def test_options(pairs, place):
    config = place / "tiny.py"
    if not config.exists():
        write_config(place)
    parser = ArgumentParser()
    add_options(parser)
    options = parser.parse_args(["--cfg-options", *(f"{key}={value}" for key, value in pairs)]).cfg_options
    with contained(place, place / "out"):
        assemble(read_config(config, options), train=True)
