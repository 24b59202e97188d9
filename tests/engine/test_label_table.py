"""What a training says of its labels before its first step, and when it refuses to start."""

from __future__ import annotations

import logging
import multiprocessing
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torch.distributed as dist
from PIL import Image
from tiny import run_tool, write_config

from mtl.datasets import FolderDataset
from mtl.datasets.label_counts import LabelCounts
from mtl.engine.label_table import LabelTable, label_table
from mtl.tasks import Depth, SemanticSegmentation

DATA = """
tasks = dict(semseg=dict(type="SemanticSegmentation", classes=["ground", "cat", "dog"]))
single_task = None
data_root = {root!r}
_resize = [dict(type="Resize")]
train_dataloader.update(dataset=dict(type="FolderDataset", split="train", pipeline=_resize))
val_dataloader.update(dataset=dict(type="FolderDataset", split="val", pipeline=_resize))
train_cfg.update(max_epochs=1, val_interval=1)
param_scheduler.update(end=1)
"""


@pytest.fixture
def config(tmp_path):
    """Four images of each part; a class is 0, 1 or 2 by the pixel's column."""
    root = tmp_path / "data"
    for folder in ("images", "semseg", "splits"):
        (root / folder).mkdir(parents=True)
    for i in range(8):
        Image.fromarray(np.full((32, 64, 3), 20 * i, np.uint8)).save(root / "images" / f"im{i}.png")
        save(root, i, np.tile(np.arange(64) % 3, (32, 1)))
    (root / "splits" / "train.txt").write_text("im0\nim1\nim2\nim3\n")
    (root / "splits" / "val.txt").write_text("im4\nim5\nim6\nim7\n")
    return write_config(tmp_path, DATA.format(root=str(root)))


def save(root, i, label):
    Image.fromarray(label.astype(np.uint8)).save(root / "semseg" / f"im{i}.png")


def train(config, capfd, run="run") -> tuple[int, str, str]:
    """Status, log and error line."""
    status = run_tool("train.py", config, "--work-dir", config.parent / run)
    log = "".join(path.read_text() for path in (config.parent / run).glob("*/*.log"))
    lines = capfd.readouterr().err.splitlines()
    return status, log, "".join(line for line in lines if line.startswith("error: "))


def test_the_table_comes_before_the_first_step(config, capfd):
    for i in (0, 1, 2, 3):
        save(config.parent / "data", i, np.tile(np.arange(64) % 2, (32, 1)))
    status, log, _ = train(config, capfd)
    assert status == 0
    table, _, rest = log.partition("classes of 'semseg' without a label: dog in train")
    assert "Epoch(train)" in rest
    assert "Epoch(train)" not in table
    # 32 x 64 pixels, 22 of 64 columns are of class 0, 21 of 1 and of 2
    rows = [line.split() for line in table.splitlines()]
    assert ["semseg", "4", "8.2", "k", "4", "8.2", "k"] in rows
    assert ["ground", "4", "4.1", "k", "50.00", "%", "4", "2.8", "k", "34.38", "%"] in rows
    assert ["dog", "none", "4", "2.7", "k", "32.81", "%"] in rows


@pytest.mark.parametrize("part", ["train", "val"])
def test_without_a_labelled_pixel_nothing_is_trained(part, config, capfd):
    for i in range(4) if part == "train" else range(4, 8):
        save(config.parent / "data", i, np.full((32, 64), 255))
    status, log, error = train(config, capfd)
    assert status == 2
    assert f"error: {part}: no label of 'semseg' in {config.parent / 'data' / 'semseg'} has a labelled pixel" in error
    assert "Epoch(train)" not in log
    assert not list((config.parent / "run").glob("*.pth"))


def test_masks_of_0_and_255_are_refused_in_train_and_told_of_in_val(config, capfd):
    for i in range(4, 8):
        save(config.parent / "data", i, 255 * np.tile(np.arange(64) % 2, (32, 1)))
    told = "val: no label of 'semseg' in"
    status, log, _ = train(config, capfd)
    assert status == 0
    assert told in log
    assert "a mask of 0 and 255 has no class 1" in log
    for i in range(4):
        save(config.parent / "data", i, 255 * np.tile(np.arange(64) % 2, (32, 1)))
    status, _, error = train(config, capfd, "other")
    assert status == 2
    assert "train: no label of 'semseg'" in error
    assert "anything but 'ground' or void; pixels hold class ids, 0 to 2, and 255 is void: a mask of 0 and 255" in error


def test_what_is_not_used_is_told_before_the_first_step(config, capfd):
    data = config.parent / "data"
    (data / "semseg" / "im1.png").rename(data / "semseg" / "in1.png")
    status, log, _ = train(config, capfd)
    assert status == 0
    said, _, rest = log.partition("Epoch(train)")
    assert rest
    assert "not used in train and val: label files of 'semseg' without an image of their name: 1 (in1.png)" in said
    assert "not used in train: images without a label for any task: 1 (im1)" in said


def test_the_training_is_the_same_without_the_table(tmp_path):
    """Bit for bit: nothing random is drawn."""
    states = []
    for name, extra in (("with", ""), ("without", "default_hooks.update(labels=None)")):
        config = write_config(tmp_path, f"\n{extra}\ndefault_hooks.update(pictures=None)\n")
        assert run_tool("train.py", config, "--work-dir", tmp_path / name) == 0
        states.append(torch.load(tmp_path / name / "epoch_2.pth", weights_only=True)["state_dict"])
        log = "".join(path.read_text() for path in (tmp_path / name).glob("*/*.log"))
        assert ("upper arm  " in log) == (name == "with")
    assert states[0].keys() == states[1].keys()
    assert all(torch.equal(states[0][key], states[1][key]) for key in states[0])


def in_a_process(rank: int, folder: Path, root: Path) -> None:
    dist.init_process_group("gloo", init_method=f"file://{folder / 'store'}", rank=rank, world_size=2)
    dataset = FolderDataset({"semseg": dict(type="SemanticSegmentation", classes=3)}, root)
    loader = SimpleNamespace(dataset=dataset, num_workers=1)
    runner = SimpleNamespace(train_dataloader=loader, val_loop=None, logger=logging.getLogger(f"rank {rank}"))
    try:
        LabelTable().before_train(runner)
    except ValueError as error:
        (folder / f"{rank}.txt").write_text(str(error))
    finally:
        dist.destroy_process_group()


@pytest.mark.parametrize("wrong", [True, False])
def test_all_processes_end_at_an_error(wrong, config, tmp_path):
    """The first one finds it; one that did not learn of it would wait for the others for ever."""
    root = config.parent / "data"
    for i in range(4):
        save(root, i, np.full((32, 64), 255 if wrong else i % 3))
    context = multiprocessing.get_context("fork")
    processes = [context.Process(target=in_a_process, args=(rank, tmp_path, root)) for rank in (0, 1)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
    assert [process.exitcode for process in processes] == [0, 0]
    said = [path.read_text() for path in sorted(tmp_path.glob("[01].txt"))]
    assert len(said) == (2 if wrong else 0)
    assert all("train: no label of 'semseg' in" in line for line in said)


def test_what_was_not_looked_at_is_said():
    task = SemanticSegmentation(["ground", "cat"])
    counts = {"semseg": LabelCounts(task, "here", 5000), "depth": LabelCounts(Depth(), "here", 4)}
    for _ in range(3):
        counts["semseg"].add("a", {"ground": 1_500_000, "cat": 500_000})
    for pixels in (7, 0, None):
        counts["depth"].add("a", None if pixels is None else {"labelled": pixels})
    lines = label_table({"train": counts}).splitlines()
    assert [line.split() for line in lines[:-3]] == [
        ["labels", "train"],
        ["images", "pixels", "share"],
        ["semseg", "3", "6.0", "M"],
        ["ground", "3", "4.5", "M", "75.00", "%"],
        ["cat", "3", "1.5", "M", "25.00", "%"],
        ["depth", "1", "7"],
    ]
    assert [line.strip() for line in lines[-3:]] == [
        "train: an even sample was looked at, 3 of 5,000 labels of semseg",
        "train: an even sample was looked at, 3 of 4 labels of depth",
        "train: 2 of the 3 labels of depth have no labelled pixel",
    ]
