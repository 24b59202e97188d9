"""The edge task: the loss's formula, the matcher against exact matching, the F-measure against a slow count."""

import cv2
import numpy as np
import pytest
import torch
from scipy.optimize import linear_sum_assignment

from mtl.datasets.label_formats import label_edges
from mtl.datasets.render import compose, render
from mtl.tasks import Edge
from mtl.tasks.edge_matching import matches, suppress
from mtl.thinning import thin


def exact_matches(predicted, labelled, radius):
    """The largest number of one-to-one pairs, as an assignment in which a pair within ``radius`` is worth 1."""
    p, g = np.argwhere(predicted), np.argwhere(labelled)
    near = ((p[:, None] - g[None]) ** 2).sum(-1) <= radius**2
    rows, columns = linear_sum_assignment(near, maximize=True)
    return int(near[rows, columns].sum())


def lines_of(seed, size=(96, 128)):
    """Edges of a scene, and a blurred, moved and noisy map of them as a network might predict it."""
    _, targets = render(compose(np.random.default_rng(seed)), size)
    edges = label_edges(targets["semseg"])
    soft = 6 * cv2.GaussianBlur(edges.astype(np.float32), (0, 0), 2)
    moved = cv2.warpAffine(soft, np.float32([[1, 0.01, 1], [-0.01, 1, 0.6]]), size[::-1])
    noise = cv2.GaussianBlur(np.random.default_rng(seed).random(size).astype(np.float32), (0, 0), 2)
    return edges, np.clip(moved + 0.3 * noise, 0, 0.999).astype(np.float32)


@pytest.mark.parametrize("radius", [0.9, 1.5, 2.4])
@pytest.mark.parametrize("seed", range(6))
def test_the_matcher_finds_almost_as_many_pairs_as_an_assignment(seed, radius):
    edges, probability = lines_of(seed)
    for threshold in (0.25, 0.5):
        predicted = thin(suppress(probability) > threshold)
        best, found = exact_matches(predicted, edges == 1, radius), matches(predicted, edges == 1, radius)
        assert 0.96 * best <= found <= best
        assert best > 30


def test_one_label_matches_one_prediction():
    labelled, predicted = np.zeros((5, 9), bool), np.zeros((5, 9), bool)
    labelled[2, 2:7] = True
    predicted[1:4, 2:7] = True  # three rows around one
    assert matches(predicted, labelled, 1.0) == 5
    assert matches(predicted, np.zeros_like(labelled), 1.0) == matches(np.zeros_like(predicted), labelled, 1.0) == 0
    far = np.roll(labelled, 2, axis=0)
    assert matches(far, labelled, 1.9) == 0
    assert matches(far, labelled, 2.0) == 5


def test_maxima_lie_on_the_middle_of_a_ridge():
    y, x = np.mgrid[:40, :40]
    for across in (x - 20.0, y - 17.0, (x + y - 40) / np.sqrt(2)):
        ridge = np.exp(-(across**2) / 8).astype(np.float32)
        kept = suppress(ridge) > 0.3
        inner = np.zeros_like(kept)
        inner[6:-6, 6:-6] = True
        assert (kept & inner).sum() > 20
        assert (abs(across[kept & inner]) <= 0.75).all()


def test_the_f_measure_is_that_of_a_slow_count():
    task = Edge(thresholds=3)
    images = [lines_of(seed, (48, 64)) for seed in range(3)]
    statistics = [task.measure(torch.from_numpy(p), torch.from_numpy(e)) for e, p in images]
    f = []
    for i, threshold in enumerate((0.25, 0.5, 0.75)):
        tp = predicted = labelled = 0
        for edges, probability in images:
            drawn = thin(suppress(probability) > threshold)
            tp += exact_matches(drawn, edges == 1, 0.0075 * 80) if drawn.any() else 0
            predicted, labelled = predicted + drawn.sum(), labelled + (edges == 1).sum()
        assert sum(s["predicted"][i] for s in statistics) == predicted
        precision, recall = tp / max(predicted, 1), tp / labelled
        f.append(2 * precision * recall / max(precision + recall, 1e-9))
    # within 0.6 of a pixel only the same pixel matches, for which the heuristic is exact
    assert task.summarise(statistics)["odsF"] == pytest.approx(100 * max(f))


def test_a_perfect_map_has_100_and_a_void_pixel_counts_nowhere():
    edges = lines_of(3)[0]
    task = Edge()
    lines = torch.from_numpy(thin(edges == 1).astype(np.float32))
    target = torch.from_numpy(edges)
    perfect = task.summarise([task.measure(lines, target)])
    assert perfect["oisF"] > 97  # the maxima of one-pixel lines lose some of their corners
    target[:, 64:] = 255
    half = task.measure(lines, target)
    assert half["labelled"] == thin(target.numpy() == 1).sum()
    assert half["predicted"].max() <= half["labelled"] + 8


def test_loss_is_the_reference_formula():
    torch.manual_seed(0)
    logits, target = torch.randn(2, 1, 6, 7), torch.randint(0, 2, (2, 6, 7), dtype=torch.uint8)
    target[0, :2] = 255
    p = logits[:, 0].double().sigmoid()
    total = sum(
        -0.95 * np.log(p[i]) if t == 1 else -0.05 * np.log(1 - p[i])
        for i, t in np.ndenumerate(target.numpy())
        if t != 255
    )
    assert Edge().loss(logits, target).item() == pytest.approx(float(total) / (target != 255).sum().item(), rel=1e-5)


@pytest.mark.parametrize("wrong", [{"tolerance": 0}, {"tolerance": 1.0}, {"positive_weight": 1}, {"thresholds": 0}])
def test_wrong_options_are_named(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong)).split("s")[0]):
        Edge(**wrong)
