"""`RandomAugment` of a rendered scene is the scene as a turned, flipped and zoomed camera sees it.

The renderer knows the camera's geometry and nothing of resampling, so that it is an independent reference for what
happens to labels, vectors, depth and the image.
"""

import numpy as np
import pytest

from mtl.datasets.render import TARGETS, compose, render
from mtl.structures import TargetKind
from mtl.transforms import RandomAugment
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
