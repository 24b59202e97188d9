"""The table that a training and a test end with."""

from __future__ import annotations

import math

import torch

from mtl.engine.results import mean_over, table
from mtl.structures import VOID
from mtl.tasks import HumanParts, SemanticSegmentation


def result(**metrics):
    return {
        "method": "LoRA",
        "encoder": "swin",
        "protocol": "original",
        "metrics": metrics,
        "main": {task: next(iter(own.values())) for task, own in metrics.items()},
        "parameters": {"encoder": 1, "all": 2, "base": 10},
    }


def line_of(task, shown):
    return next(line for line in shown.splitlines() if line.startswith(f"  {task}"))


def test_a_mean_says_which_classes_it_is_without():
    """Ground and cat are half right each; dog and cow are nowhere."""
    task = SemanticSegmentation(["ground", "cat", "dog", "cow"])
    prediction, target = torch.tensor([[0, 0, 1, 1]]), torch.tensor([[0, 1, 1, 0]])
    metrics = task.summarise([task.measure(prediction, target)])
    assert mean_over(metrics) == "of 2 of 4 classes; absent: dog, cow"
    shown = line_of("semseg", table(result(semseg=metrics)))
    assert shown == "  semseg  mIoU 33.33 (of 2 of 4 classes; absent: dog, cow)  pixel_acc 50.00"


def test_a_mean_of_all_classes_needs_no_words():
    task = HumanParts(["ground", "arm"])
    metrics = task.summarise([task.measure(torch.tensor([[0, 1]]), torch.tensor([[0, 1]]))])
    assert mean_over(metrics) == ""
    assert line_of("human_parts", table(result(human_parts=metrics))) == "  human_parts  mIoU 100.00"


def test_many_absent_classes_are_counted():
    metrics = {"mIoU": 5.0, "IoU/a": 5.0, **{f"IoU/c{i}": math.nan for i in range(13)}}
    assert mean_over(metrics) == "of 1 of 14 classes; absent: " + ", ".join(f"c{i}" for i in range(10)) + " and 3 more"


def test_without_labels_there_is_no_score_in_words():
    task = SemanticSegmentation(["ground", "cat"])
    void = torch.full((1, 4), VOID)
    metrics = task.summarise([task.measure(torch.zeros(1, 4, dtype=torch.long), void)])
    shown = table(result(semseg=metrics, normals={"mErr": 20.0}))
    assert line_of("semseg", shown) == "  semseg   no score: nothing was labelled"
    assert line_of("normals", shown) == "  normals  mErr 20.00"
    assert "nan" not in shown
