"""The metric as MMEngine drives it: dicts of samples, one result per image, any number of processes."""

import math
import socket

import numpy as np
import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from mmengine.evaluator import Evaluator

from mtl.evaluation import MultiTaskMetric
from mtl.registry import METRICS
from mtl.structures import MultiTaskSample
from mtl.tasks import SemanticSegmentation

TASKS = {
    "semseg": dict(type="SemanticSegmentation", classes=["sky", "road", "car"]),
    "human_parts": dict(type="HumanParts"),
    "saliency": dict(type="Saliency"),
    "normals": dict(type="SurfaceNormals"),
}


def make_sample(seed, tasks=tuple(TASKS)):
    """A sample of its own size with random targets and predictions of some tasks."""
    rng = np.random.default_rng(seed)
    size = (5 + seed, 8)
    sample = MultiTaskSample(metainfo=dict(name=str(seed)))
    for task in tasks:
        if task == "normals":
            target, prediction = (torch.from_numpy(rng.normal(size=(*size, 3)).astype(np.float32)) for _ in range(2))
            target, prediction = (v / v.norm(dim=-1, keepdim=True) for v in (target, prediction))
        else:
            classes = {"semseg": 3, "human_parts": 7, "saliency": 2}[task]
            target, prediction = (torch.from_numpy(rng.integers(0, classes, size).astype(np.uint8)) for _ in range(2))
            if task == "saliency":
                prediction = torch.from_numpy(rng.random(size, dtype=np.float32))
        sample.set_target(task, target)
        sample.set_prediction(task, prediction)
    return sample


def evaluate(samples, size=None, batch=2):
    evaluator = Evaluator(METRICS.build(dict(type="MultiTaskMetric", tasks=TASKS)))
    for start in range(0, len(samples), batch):
        evaluator.process(samples[start : start + batch])
    return evaluator.evaluate(len(samples) if size is None else size)


def test_metrics_are_those_of_the_tasks_by_name():
    samples = [make_sample(i) for i in range(3)]
    metrics = evaluate(samples)
    task = SemanticSegmentation(["sky", "road", "car"])
    expected = task.summarise([task.measure(s.prediction("semseg"), s.target("semseg")) for s in samples])
    assert {key: value for key, value in metrics.items() if key.startswith("semseg/")} == {
        f"semseg/{key}": value for key, value in expected.items()
    }
    assert {f"{name}/mIoU" for name in ("semseg", "human_parts", "saliency")} | {"normals/mErr"} <= set(metrics)


def test_samples_and_their_dicts_and_any_batching_give_the_same():
    samples = [make_sample(i) for i in range(3)]
    metric = MultiTaskMetric(TASKS)
    metric.process(None, samples)
    assert metric.evaluate(3) == evaluate(samples, batch=1) == evaluate(samples, batch=3)


def test_repeated_samples_of_a_sampler_are_dropped():
    samples = [make_sample(i) for i in range(3)]
    assert evaluate([*samples, samples[0]], size=3) == evaluate(samples)


def test_an_image_counts_only_for_the_tasks_it_has_labels_of():
    both, normals_only = make_sample(0, ("semseg", "normals")), make_sample(1, ("normals",))
    metrics = evaluate([both, normals_only])
    assert metrics["semseg/mIoU"] == evaluate([both])["semseg/mIoU"]
    assert metrics["normals/mErr"] != evaluate([both])["normals/mErr"]
    assert math.isnan(metrics["saliency/mIoU"])


def test_an_image_that_a_task_does_not_count_is_left_out():
    labelled, nobody = make_sample(0), make_sample(1, ("human_parts", "normals"))
    nobody.gt_human_parts.zero_()
    nobody.gt_normals.zero_()
    assert evaluate([labelled, nobody]) == evaluate([labelled])


def test_an_empty_set_gives_nan():
    metric = MultiTaskMetric(TASKS)
    metrics = metric.evaluate(0)
    assert set(metrics) == set(evaluate([make_sample(0)]))
    assert all(math.isnan(value) for value in metrics.values())


def test_mistakes_are_named():
    sample = make_sample(0, ("semseg",))
    sample.set_prediction("semseg", torch.zeros(2, 2, dtype=torch.uint8))
    with pytest.raises(ValueError, match=r"semseg: the prediction is \(2, 2\), its target \(5, 8\)"):
        MultiTaskMetric(TASKS).process(None, [sample])
    del sample.pred_semseg
    with pytest.raises(ValueError, match="semseg but no prediction"):
        MultiTaskMetric(TASKS).process(None, [sample])
    with pytest.raises(ValueError, match=r"valid: .*Saliency"):
        MultiTaskMetric({"saliency": dict(type="Salient")})


def test_names_configs_and_prefix():
    metric = MultiTaskMetric({"scene": SemanticSegmentation(3)}, prefix="val")
    assert "val/scene/mIoU" in metric.evaluate(0)
    assert MultiTaskMetric({"scene": TASKS["semseg"]}).tasks["scene"].name == "scene"


def worker(rank, port, images, expected):
    """Evaluates every second image, the last rank repeating the first image as MMEngine's sampler does."""
    dist.init_process_group("gloo", f"tcp://127.0.0.1:{port}", rank=rank, world_size=2)
    metrics = evaluate([make_sample(i % images) for i in range(rank, images + images % 2, 2)], size=images)
    assert metrics == pytest.approx(expected, nan_ok=True)
    dist.destroy_process_group()


def test_two_processes_give_the_metrics_of_one():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    mp.spawn(worker, (port, 5, evaluate([make_sample(i) for i in range(5)])), nprocs=2)
