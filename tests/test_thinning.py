"""Thinning against scikit-image's `thin`, which has the same source (Guo and Hall, 1989)."""

import cv2
import numpy as np
import pytest
from skimage.morphology import thin as reference

from mtl.thinning import thin


@pytest.mark.parametrize("seed", range(12))
def test_equals_scikit_image(seed):
    rng = np.random.default_rng(seed)
    field = cv2.GaussianBlur(rng.random((rng.integers(5, 90), rng.integers(5, 90))), (0, 0), rng.uniform(0.4, 5))
    mask = field > np.quantile(field, rng.uniform(0.2, 0.8))
    np.testing.assert_array_equal(thin(mask), reference(mask))


@pytest.mark.parametrize("value", [False, True])
def test_empty_and_full(value):
    mask = np.full((6, 9), value)
    np.testing.assert_array_equal(thin(mask), reference(mask))
