"""All metrics on random predictions against a naive count per image, in one, two and three processes."""

from __future__ import annotations

import socket

import numpy as np
import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from mmengine.evaluator import Evaluator
from scipy.optimize import linear_sum_assignment

from mtl.evaluation import MultiTaskMetric
from mtl.structures import MultiTaskSample
from mtl.tasks.edge_matching import suppress
from mtl.thinning import thin

TASKS = {
    "semseg": dict(type="SemanticSegmentation", classes=4),
    "human_parts": dict(type="HumanParts"),
    "saliency": dict(type="Saliency"),
    "normals": dict(type="SurfaceNormals"),
    "depth": dict(type="Depth"),
    "edge": dict(type="Edge", thresholds=2),
}
IMAGES = 7
"""Divided by no batch of 2 or 3 and by no number of processes."""


def image(seed: int) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Random (prediction, target) per task; void pixels, one image without a person, one without depth."""
    rng = np.random.default_rng(seed)
    size = (11 + seed, 16)
    void = rng.random(size) < 0.15
    vectors = rng.normal(size=(2, *size, 3)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=-1, keepdims=True)
    parts = np.zeros(size, int) if seed == 2 else rng.integers(0, 7, size)
    pairs = {
        "semseg": (rng.integers(0, 4, size), np.where(void, 255, rng.integers(0, 4, size))),
        "human_parts": (rng.integers(0, 7, size), np.where(void, 255, parts)),
        "saliency": (rng.random(size), np.where(void, 255, rng.integers(0, 2, size))),
        "normals": (vectors[0], np.where(void[..., None], 0, vectors[1])),
        "depth": (rng.uniform(0.5, 9, size), np.where(void | (seed == 4), 0, rng.uniform(0.5, 9, size))),
        "edge": (rng.random(size), rng.random(size) < 0.2),
    }
    kinds = {"saliency": np.float32, "normals": np.float32, "depth": np.float32, "edge": np.float32}
    return {
        task: (
            prediction.astype(kinds.get(task, np.uint8)),
            target.astype(np.float32 if task in ("normals", "depth") else np.uint8),
        )
        for task, (prediction, target) in pairs.items()
    }


def sample(seed: int) -> MultiTaskSample:
    made = MultiTaskSample(metainfo={"name": str(seed)})
    for task, (prediction, target) in image(seed).items():
        made.set_prediction(task, torch.from_numpy(prediction))
        made.set_target(task, torch.from_numpy(target))
    return made


def naive() -> dict[str, float]:
    """Every number by loops over images, classes and thresholds."""
    images = [image(seed) for seed in range(IMAGES)]

    def miou(task: str, classes: int) -> float:
        pairs = [i[task] for i in images if task == "semseg" or ((i[task][1] > 0) & (i[task][1] < 255)).any()]
        ious = []
        for c in range(classes):
            hit = sum(((p == c) & (t == c)).sum() for p, t in pairs)
            union = sum((((p == c) | (t == c)) & (t != 255)).sum() for p, t in pairs)
            ious.append(100 * hit / union)
        return float(np.mean(ious))

    jaccard, f = [], []
    for threshold in np.linspace(0.2, 0.9, 15):
        j, precision, recall = [], [], []
        for p, t in (i["saliency"] for i in images):
            p, t = p[t != 255] > np.float32(threshold), t[t != 255] == 1
            j.append((p & t).sum() / (p | t).sum())
            precision.append((p & t).sum() / p.sum() if p.any() else 0)
            recall.append((p & t).sum() / t.sum())
        jaccard.append(np.mean(j))
        P, R = np.mean(precision), np.mean(recall)
        f.append(1.3 * P * R / (0.3 * P + R))
    vectors = [i["normals"] for i in images]
    angles = np.concatenate(
        [np.degrees(np.arccos(np.clip((p * t).sum(-1), -1, 1)))[(t != 0).any(-1)] for p, t in vectors]
    )
    p, t = (np.concatenate([i["depth"][k][i["depth"][1] > 0] for i in images]).astype(float) for k in (0, 1))
    ods = []
    for threshold in (1 / 3, 2 / 3):
        matched = drawn = labelled = 0
        for probability, target in (i["edge"] for i in images):
            edges, lines = thin(suppress(probability) > threshold), thin(target == 1)
            a, b = np.argwhere(edges), np.argwhere(lines)
            near = np.abs(a[:, None] - b[None]).sum(-1) <= 0.0075 * np.hypot(*target.shape)
            matched += near[linear_sum_assignment(near, maximize=True)].sum()
            drawn, labelled = drawn + edges.sum(), labelled + lines.sum()
        ods.append(200 * matched / (drawn + labelled))
    return {
        "semseg/mIoU": miou("semseg", 4),
        "human_parts/mIoU": miou("human_parts", 7),
        "saliency/mIoU": 100 * max(jaccard),
        "saliency/maxF": 100 * max(f),
        "normals/mErr": angles.mean(),
        "normals/rmse": np.sqrt((angles**2).mean()),
        "normals/within_30": 100 * (angles < 30).mean(),
        "depth/RMSE": np.sqrt(((p - t) ** 2).mean()),
        "depth/absRel": (abs(p - t) / t).mean(),
        "edge/odsF": max(ods),
    }


def evaluate(rank: int, processes: int, batch: int) -> dict[str, float]:
    """This process's share, ranks strided and padded with the first images as MMEngine's sampler does."""
    evaluator = Evaluator(MultiTaskMetric(TASKS))
    padded = -(-IMAGES // processes) * processes
    samples = [sample(i % IMAGES) for i in range(rank, padded, processes)]
    for start in range(0, len(samples), batch):
        evaluator.process(samples[start : start + batch])
    return evaluator.evaluate(IMAGES)


def worker(rank: int, processes: int, port: int, expected: dict[str, float]) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", f"tcp://127.0.0.1:{port}", rank=rank, world_size=processes)
    assert evaluate(rank, processes, 2) == pytest.approx(expected)
    dist.destroy_process_group()


@pytest.mark.parametrize("batch", [1, 2, 3])
def test_one_process_equals_a_naive_count(batch):
    metrics = evaluate(0, 1, batch)
    for name, value in naive().items():
        assert metrics[name] == pytest.approx(value, rel=1e-5), name


@pytest.mark.parametrize("processes", [2, 3])
def test_more_processes_give_the_same(processes):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    mp.spawn(worker, (processes, port, evaluate(0, 1, 2)), nprocs=processes)
