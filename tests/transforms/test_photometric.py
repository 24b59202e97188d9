"""`Photometric`: the image changes, the targets cannot."""

import os
import subprocess
import sys

import numpy as np
import pytest

from mtl.registry import TRANSFORMS
from mtl.structures import TargetKind
from mtl.transforms import Photometric
from mtl.transforms.sample import Sample

JITTER = dict(type="ColorJitter", brightness=(0.5, 1.5), p=1.0)


@pytest.fixture
def sample():
    image = np.random.default_rng(0).integers(60, 120, (20, 30, 3), dtype=np.uint8)
    return Sample("noise", image, {"parts": np.ones((20, 30), np.uint8)}, {"parts": TargetKind.CLASSES})


def test_the_image_changes_and_the_targets_do_not(sample):
    done = TRANSFORMS.build(dict(type="Photometric", transforms=[JITTER]))(sample, np.random.default_rng(0))
    assert (done.image != sample.image).mean() > 0.5
    assert done.image.dtype == np.uint8
    assert done.targets["parts"] is sample.targets["parts"]


def test_the_result_depends_on_the_generator_alone(sample):
    photometric = Photometric([JITTER, dict(type="GaussNoise", p=0.5)])
    first = photometric(sample, np.random.default_rng(3)).image
    other = photometric(sample, np.random.default_rng(4)).image
    np.testing.assert_array_equal(first, photometric(sample, np.random.default_rng(3)).image)
    assert (first != other).any()


def test_no_transform_changes_nothing(sample):
    np.testing.assert_array_equal(Photometric([])(sample, np.random.default_rng(0)).image, sample.image)


@pytest.mark.parametrize(
    ("transform", "message"),
    [
        (dict(type="Rotate"), "'Rotate' moves pixels"),
        (dict(type="ColorJiter"), "'ColorJiter' is unknown; did you mean 'ColorJitter'"),
        (dict(p=0.5), "None is unknown"),
        (dict(type="ColorJitter", brightnes=0.2), "did you mean 'brightness'"),
    ],
)
def test_wrong_transforms_are_named(transform, message):
    with pytest.raises(ValueError, match=message):
        Photometric([transform])


def test_other_kinds_of_image_are_refused(sample):
    with pytest.raises(ValueError, match=r"ToFloat.*float32"):
        Photometric([dict(type="ToFloat", p=1.0)])(sample, np.random.default_rng(0))


def test_importing_the_transforms_does_not_ask_the_network():
    code = (
        "import urllib.request as r\n"
        "def called(*args, **kwargs): print('the network was asked'); raise OSError\n"
        "r.OpenerDirector.open = called\n"
        "import mtl.transforms"
    )
    environment = {name: value for name, value in os.environ.items() if name != "NO_ALBUMENTATIONS_UPDATE"}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout == ""
