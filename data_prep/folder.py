"""Check images with a folder of labels per task: python data_prep/folder.py CONFIG [--cfg-options data_root=DATA].

Reads every image and every label that the config's training and validation use, counts them, and lists each that
cannot be read or is no valid label, at the first of which training stops; and the tasks whose labels are all empty, as
masks of 0 and 1 are where 0 and 255 are meant. Nothing is changed. What is wrong with the folders themselves (a name
without an image or in both lists, a label with a suffix that its task does not read) ends it at once.
"""

from __future__ import annotations

import sys
from argparse import ArgumentParser
from collections.abc import Iterator

from rich.progress import track

from mtl.datasets.files import FileDataset, read_image
from mtl.engine.build import assemble
from mtl.engine.command_line import add_config, friendly
from mtl.engine.config import read_config
from mtl.engine.plugins import register_all
from mtl.registry import DATASETS
from mtl.utils.text import printable, reason


@friendly
def main() -> int:
    parser = ArgumentParser(description="Check a data set that has a folder of labels per task.")
    add_config(parser)
    args = parser.parse_args()
    cfg = read_config(args.config, args.cfg_options, args.method)
    register_all(cfg.get("custom_imports"))
    full = assemble(cfg, train=True)
    broken = 0
    for part in ("train", "val"):
        if full.get(f"{part}_dataloader") is None:
            continue
        dataset = DATASETS.build(full[f"{part}_dataloader"].dataset)
        if not isinstance(dataset, FileDataset):
            raise ValueError(f"{part}_dataloader has a {type(dataset).__name__}; this checks data sets of files")
        labels = ", ".join(f"{task} {number}" for task, number in dataset.labelled.items())
        print(f"{part}: {len(dataset)} images in {dataset.root}, labelled: {labels}", flush=True)
        empty = set(dataset.labels)
        for index in track(range(len(dataset)), "reading", transient=True, disable=not sys.stderr.isatty()):
            for error in problems(dataset, index, empty):
                print(f"{part}: {printable(error)}", file=sys.stderr)
                broken += 1
        for task in sorted(empty):
            about = "as its task reads them; the README says what a file holds"
            print(f"{part}: all labels of {task!r} are 0 everywhere {about}", file=sys.stderr)
            broken += 1
    print(f"{broken} broken")
    return 1 if broken else 0


def problems(dataset: FileDataset, index: int, empty: set[str]) -> Iterator[ValueError]:
    """What is wrong with an image and its labels, one error a file; tasks of other labels leave ``empty``."""
    size = None
    try:
        size = read_image(dataset.image_path(index)).shape[:2]
    except ValueError as error:
        yield error
    for task, labelled in dataset.labels.items():
        if dataset.names[index] in labelled:
            try:
                target = dataset.target(index, task, size)
                if target is None or target.any():
                    empty.discard(task)
            except Exception as error:  # a task's own reader may raise what it likes
                empty.discard(task)
                label = dataset.root / labelled[dataset.names[index]]
                yield (
                    error
                    if isinstance(error, ValueError)
                    else ValueError(f"{label}: {type(error).__name__}: {reason(error)}")
                )


if __name__ == "__main__":
    sys.exit(main())
