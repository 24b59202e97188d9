"""Check images with a folder of labels per task: python data_prep/folder.py CONFIG [--cfg-options data_root=DATA].

Reads every image and label that the config's training and validation use, counts them, and lists all that cannot be
read or are no valid labels; training stops at the first of them. Nothing is changed.
"""

from __future__ import annotations

import sys
from argparse import ArgumentParser

from rich.progress import track

from mtl.datasets import FolderDataset
from mtl.engine.build import assemble
from mtl.engine.command_line import add_config, friendly
from mtl.engine.config import read_config
from mtl.engine.plugins import register_all
from mtl.registry import DATASETS


@friendly
def main() -> int:
    parser = ArgumentParser(description="Check a data set that has a folder of labels per task.")
    add_config(parser)
    args = parser.parse_args()
    cfg = read_config(args.config, args.cfg_options)
    register_all(cfg.get("custom_imports"))
    full = assemble(cfg, train=True)
    broken = []
    for part in ("train", "val"):
        if full.get(f"{part}_dataloader") is None:
            continue
        dataset = DATASETS.build(full[f"{part}_dataloader"].dataset)
        if not isinstance(dataset, FolderDataset):
            raise ValueError(f"{part}_dataloader has a {type(dataset).__name__}; this checks a FolderDataset")
        labels = ", ".join(f"{task} {number}" for task, number in dataset.labelled.items())
        print(f"{part}: {len(dataset)} images in {dataset.root}, labelled: {labels}")
        for index in track(range(len(dataset)), "reading", transient=True, disable=not sys.stderr.isatty()):
            try:
                dataset.load(index)
            except ValueError as error:
                broken.append(f"{part}: {error}")
    for line in broken:
        print(line, file=sys.stderr)
    print(f"{len(broken)} broken")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
