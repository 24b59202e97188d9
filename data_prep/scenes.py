"""Write rendered scenes as a folder data set, to try things on: python data_prep/scenes.py DATA [--train N] [--val N].

    DATA/images/<name>.jpg   DATA/<task>/<name>.png (depth: .npy)   DATA/splits/{train,val}.txt

The layout is that of one's own images; labels are exact and of all six tasks.
"""

from __future__ import annotations

import sys
from argparse import ArgumentParser
from pathlib import Path

import numpy as np
from PIL import Image
from rich.progress import track

from mtl.datasets import Scenes
from mtl.datasets.render import SCENE_CLASSES
from mtl.engine.command_line import friendly
from mtl.tasks import Depth, Edge, HumanParts, Saliency, SemanticSegmentation, SurfaceNormals

TASKS = {
    "semseg": SemanticSegmentation(SCENE_CLASSES),
    "human_parts": HumanParts(),
    "saliency": Saliency(),
    "normals": SurfaceNormals(),
    "depth": Depth(),
    "edge": Edge(),
}


@friendly
def main() -> int:
    parser = ArgumentParser(description="Write rendered scenes as a folder data set.")
    parser.add_argument("root", type=Path, help="the folder to write")
    parser.add_argument("--train", type=int, default=40, help="training images (%(default)s)")
    parser.add_argument("--val", type=int, default=8, help="validation images (%(default)s)")
    parser.add_argument("--size", type=int, nargs=2, default=(240, 320), metavar=("H", "W"))
    args = parser.parse_args()
    if args.root.is_file() or (args.root.is_dir() and any(args.root.iterdir())):
        raise ValueError(f"{args.root} is there already; name a new folder")
    lengths = {"train": args.train, "val": args.val}
    scenes = {split: Scenes(TASKS, length, args.size, split=split) for split, length in lengths.items()}
    for split, data in scenes.items():
        length = len(data)
        for index in track(range(length), split, transient=True, disable=not sys.stderr.isatty()):
            write(args.root, data, index)
        (args.root / "splits").mkdir(exist_ok=True)
        listed = [f"{split}-{index:06d}" for index in range(length)]
        (args.root / "splits" / f"{split}.txt").write_text("\n".join(listed) + "\n")
    print(f"{args.train} training and {args.val} validation images in {args.root}")
    return 0


def write(root: Path, data: Scenes, index: int) -> None:
    """One image and its labels, each as its task reads it."""
    sample = data.load(index)
    stored = {
        "saliency": lambda target: 255 * target,
        "edge": lambda target: 255 * target,
        "normals": lambda target: np.where(target.any(-1, keepdims=True), np.round(127.5 * (target + 1)), 0),
    }
    for folder in ("images", *sample.targets):
        (root / folder).mkdir(parents=True, exist_ok=True)
    Image.fromarray(sample.image).save(root / "images" / f"{sample.name}.jpg", quality=95)
    for task, target in sample.targets.items():
        if task == "depth":
            np.save(root / task / f"{sample.name}.npy", target)
        else:
            pixels = stored.get(task, lambda target: target)(target).astype(np.uint8)
            Image.fromarray(pixels).save(root / task / f"{sample.name}.png")


if __name__ == "__main__":
    sys.exit(main())
