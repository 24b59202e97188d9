"""Small encoders of every family, and parts registered once."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch
from tiny import forget_runs

from mtl.engine.plugins import register_all
from mtl.registry import ENCODERS, METHODS

ROOT = Path(__file__).resolve().parents[1]

PHOTOS = Path(os.environ.get("MTL_PHOTOS", "not given"))
needs_photos = pytest.mark.skipif(not PHOTOS.is_dir(), reason="needs labelled photographs (MTL_PHOTOS=FOLDER)")
FIXTURES = Path(os.environ.get("MTL_FIXTURES", "not given"))
"""Original files of public data sets: ``pascal_mt/{JPEGImages,human_parts}``, ``nyud``."""

SMALL_ENCODERS = {
    "swin": {
        "name": "swin_tiny_patch4_window7_224",
        "options": {"embed_dim": 24, "depths": (2, 2, 2, 1), "num_heads": (1, 2, 3, 4), "window_size": 4},
    },
    "pvt": {"name": "pvt_tiny", "options": {"embed_dims": (16, 32, 80, 128), "depths": (1, 2, 1, 1)}},
    "pvt_v2": {"name": "pvt_v2_b0", "options": {"embed_dims": (16, 32, 80, 128), "depths": (1, 2, 1, 1)}},
    "vit": {"name": "vit_tiny_patch16_224", "options": {"embed_dim": 48, "depth": 4, "num_heads": 3}},
    "deit": {"name": "deit_tiny_distilled_patch16_224", "options": {"embed_dim": 48, "depth": 4, "num_heads": 3}},
    # a LayerScale starts at 1e-6 and 1e-5: what a block does, and an adapter in it, would be below any tolerance
    "convnext": {
        "name": "convnext_tiny",
        "options": {"dims": (24, 48, 72, 96), "depths": (2, 1, 2, 1), "ls_init_value": 0.5},
    },
    "dinov2": {
        "name": "vit_small_patch14_dinov2",
        "options": {"embed_dim": 48, "depth": 4, "num_heads": 3, "init_values": 0.5},
    },
}

SIZES = {"dinov2": (70, 98)}
"""Images of each small encoder, (64, 96) unless here: not square, not the size that timm pretrains at."""


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    """The default gives out large parts in advance, and at the end one process works alone for minutes."""
    from xdist.scheduler import WorkStealingScheduling

    return WorkStealingScheduling(config, log)


@pytest.fixture(scope="session", autouse=True)
def _registered():
    torch.set_num_threads(1)  # the tensors are small, and two runs may share two cores
    register_all()
    os.environ["PYTHONPATH"] = os.pathsep.join([str(ROOT / "tests" / "start"), os.environ.get("PYTHONPATH", "")])


@pytest.fixture(autouse=True)
def _no_run_is_left():
    yield
    forget_runs()


def small_encoder(family: str, seed: int = 0, **arguments):
    torch.manual_seed(seed)
    config = {**SMALL_ENCODERS[family], "size": SIZES.get(family, (64, 96)), **arguments}
    return ENCODERS.build({"type": "TimmEncoder", **config})


def attached(family: str, method: dict, tasks=("a", "b", "c"), seed: int = 0):
    """A small encoder with the method attached, and the method."""
    encoder = small_encoder(family, seed)
    built = METHODS.build(dict(method))
    built.prepare(encoder)
    built.attach(encoder, list(tasks))
    return encoder, built
