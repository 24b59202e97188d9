"""A run of a few seconds: a small Swin on small scenes."""

from __future__ import annotations

import runpy
import sys
from pathlib import Path

from mmengine.logging import MessageHub, MMLogger
from mmengine.registry import DefaultScope
from mmengine.visualization import Visualizer
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from mtl.engine.adapter_file import seal

ROOT = Path(__file__).resolve().parents[1]

CONFIG = """
encoder = dict(
    type="TimmEncoder", name="swin_tiny_patch4_window7_224", size=(32, 64), weights={weights},
    options=dict(embed_dim=16, depths=(1, 1, 2, 1), num_heads=(1, 2, 2, 4), window_size=4),
)
method = dict(type="PolyhistorLite", reduction=4)
decoder = dict(type="AllMLP", channels=16)
tasks = dict(
    semseg=dict(type="SemanticSegmentation", classes=9),
    human_parts=dict(type="HumanParts"),
    saliency=dict(type="Saliency"),
    normals=dict(type="SurfaceNormals"),
)
train_dataloader = dict(
    batch_size=4, num_workers=0,
    dataset=dict(type="Scenes", length=8, pipeline=[dict(type="RandomAugment")]),
)
val_dataloader = dict(batch_size=3, num_workers=0, dataset=dict(type="Scenes", split="val", length=5))
optim_wrapper = dict(type="TaskwiseOptimWrapper", optimizer=dict(type="Adam", lr=1e-3))
param_scheduler = dict(type="PolyLR", power=1.0, by_epoch=True, convert_to_iter_based=True)
train_cfg = dict(by_epoch=True, max_epochs=2, val_interval=2)
single_task = dict(semseg=50.0, human_parts=40.0, saliency=60.0, normals=20.0)
default_hooks = dict(logger=dict(interval=1), checkpoint=dict(keep=2), pictures=dict(images=1))
"""


def write_config(folder: Path, extra: str = "", weights: str | None = None) -> Path:
    path = folder / "tiny.py"
    path.write_text(CONFIG.format(weights=repr(weights)) + extra)
    return path


def run_tool(name: str, *arguments: str, folder: str = "tools") -> int:
    """``python FOLDER/NAME ARGUMENTS`` in this process; its exit status."""
    argv, sys.argv = sys.argv, [name, *map(str, arguments)]
    try:
        runpy.run_path(str(ROOT / folder / name), run_name="__main__")
    except SystemExit as stop:
        return int(stop.code or 0)
    finally:
        sys.argv = argv
    return 0


def forget_runs() -> None:
    """MMEngine keeps what it made for a run under the second that it started in, and streams that pytest closes."""
    for kind in (DefaultScope, MessageHub, MMLogger, Visualizer):
        kind._instance_dict.clear()


def rewritten(path: Path, out: Path, **changes: str | None) -> Path:
    """An adapter file or merged model with other metadata, of which None is left out, and the seal that fits them."""
    with safe_open(path, "pt") as file:
        meta = {**file.metadata(), **changes}
    kept = {key: value for key, value in meta.items() if value is not None}
    if "seal" not in changes:
        kept["seal"] = seal({key: value for key, value in kept.items() if key != "seal"})
    save_file(load_file(path), out, kept)
    return out
