"""`RandomAugment` of a rendered scene is the scene as a turned, flipped and zoomed camera sees it.

The renderer knows the camera's geometry and nothing of resampling, so that it is an independent reference for what
happens to labels, vectors, depth and the image.
"""

import cv2
import numpy as np
import pytest

from mtl.datasets.label_formats import label_edges
from mtl.datasets.render import TARGETS, compose, render
from mtl.structures import TargetKind
from mtl.thinning import thin
from mtl.transforms import RandomAugment, Resize
from mtl.transforms.sample import Sample
from mtl.transforms.warp import Warp

SIZE = (192, 256)


@pytest.mark.parametrize(
    ("angle", "zoom", "flip"), [(0, 1, True), (20, 1, False), (-12, 0.75, False), (0, 1.25, False), (15, 1.2, True)]
)
@pytest.mark.parametrize("seed", [2, 3, 5])
def test_augmenting_a_picture_is_moving_the_camera(seed, angle, zoom, flip):
    scene = compose(np.random.default_rng(seed))
    image, targets = render(scene, SIZE)
    # the renderer flips what it has rolled, `RandomAugment` turns what it has flipped
    expected_image, expected = render(scene, SIZE, roll=-angle if flip else angle, zoom=zoom, flip=flip)

    augment = RandomAugment(SIZE)
    augment.warp = Warp(SIZE, float(flip), (angle, angle), (zoom, zoom))
    done = augment(Sample("scene", image, targets, TARGETS), np.random.default_rng(0))

    inside = (done.targets["depth"] > 0) & (expected["depth"] > 0)
    assert inside.mean() > 0.3
    assert set(done.targets) == set(expected)
    for name, target in done.targets.items():
        if TARGETS[name] is TargetKind.CLASSES:
            assert (target == expected[name])[inside].mean() > 0.98, name
    cosine = (done.targets["normals"] * expected["normals"]).sum(axis=2)[inside]
    errors = np.rad2deg(np.arccos(np.clip(cosine, -1, 1)))
    assert np.median(errors) < 0.5
    assert np.mean(errors) < 5
    # the camera zooms by its focal length and so stays where it is: `RandomAugment` comes nearer instead
    ratio = done.targets["depth"][inside] * zoom / expected["depth"][inside]
    assert np.median(abs(ratio - 1)) < 0.005
    assert np.median(abs(done.image.astype(int) - expected_image)[inside]) <= 8


@pytest.mark.parametrize(
    ("angle", "zoom", "flip"), [(0, 1, True), (20, 1, False), (-12, 0.75, False), (0, 1.25, False), (15, 1.2, True)]
)
@pytest.mark.parametrize("seed", [2, 3, 5])
def test_edges_move_with_the_camera_and_stay_thin(seed, angle, zoom, flip):
    scene = compose(np.random.default_rng(seed))
    image, targets = render(scene, SIZE)
    _, expected = render(scene, SIZE, roll=-angle if flip else angle, zoom=zoom, flip=flip)
    augment = RandomAugment(SIZE)
    augment.warp = Warp(SIZE, float(flip), (angle, angle), (zoom, zoom))
    edges = label_edges(targets["semseg"])
    done = augment(Sample("scene", image, {"edge": edges}, {"edge": TargetKind.EDGES}), np.random.default_rng(0))
    moved = done.targets["edge"]
    assert set(np.unique(moved)) <= {0, 1, 255}

    # the outermost pixels apart, where a line of the source ends at its border
    inside = cv2.erode((moved != 255).astype(np.uint8), np.ones((9, 9), np.uint8), borderValue=0) == 1
    lines, truth = moved == 1, label_edges(expected["semseg"]) == 1
    for a, b in ((lines, truth), (truth, lines)):
        away = cv2.distanceTransform((~b).astype(np.uint8), cv2.DIST_L2, 5)[a & inside]
        assert np.quantile(away, 0.9) <= 1.5
        assert away.mean() < 1
    np.testing.assert_array_equal(thin(lines) | ~inside, lines | ~inside)
    # as many lines as before: nearest neighbours would break them where the picture shrinks
    pieces = cv2.connectedComponents((lines & inside).astype(np.uint8))[0]
    assert pieces <= cv2.connectedComponents((truth & inside).astype(np.uint8))[0] + 3


@pytest.mark.parametrize("size", [(96, 128), (300, 200), (192, 256)])
def test_resized_edges_stay_connected_and_thin(size):
    _, targets = render(compose(np.random.default_rng(2)), SIZE)
    edges = label_edges(targets["semseg"])
    sample = Sample("scene", np.zeros((*SIZE, 3), np.uint8), {"edge": edges}, {"edge": TargetKind.EDGES})
    resized = Resize(size, targets=True)(sample, np.random.default_rng(0)).targets["edge"]
    assert resized.shape == size
    assert cv2.connectedComponents(resized)[0] <= cv2.connectedComponents(edges)[0]
    np.testing.assert_array_equal(thin(resized == 1), resized == 1)
    if size == SIZE:
        np.testing.assert_array_equal(resized, edges)
