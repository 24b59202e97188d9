"""Check images with a folder of labels per task: python data_prep/folder.py CONFIG [--cfg-options data_root=DATA].

Reads every image and every label that the config's training and validation use, and lists each that cannot be read or
is no valid label, at the first of which training stops. It prints the table that training prints, names the classes
without a label, the images whose label has no class but the first, and what the folders hold that is not used, such as
a label with a mistyped name. Labels from which nothing can be learnt, as from masks of 0 and 255 where 0 and 1 are
meant, are broken too. Nothing is changed. What is wrong with the folders themselves (a name without an image or in both
lists, a label with a suffix that its task does not read) ends it at once.
"""

from __future__ import annotations

import sys
from argparse import ArgumentParser
from collections.abc import Iterator

from rich.progress import track

from mtl.datasets.files import FileDataset, all_leftovers, read_image
from mtl.datasets.label_counts import LabelCounts
from mtl.engine.build import assemble
from mtl.engine.command_line import add_config, friendly
from mtl.engine.config import read_config
from mtl.engine.label_table import absent_classes, label_table
from mtl.engine.plugins import register_all
from mtl.registry import DATASETS
from mtl.utils.text import printable, reason, some_of


@friendly
def main() -> int:
    parser = ArgumentParser(description="Check a data set that has a folder of labels per task.")
    add_config(parser)
    args = parser.parse_args()
    cfg = read_config(args.config, args.cfg_options, args.method)
    register_all(cfg.get("custom_imports"))
    full = assemble(cfg, train=True)
    datasets: dict[str, FileDataset] = {}
    for part in ("train", "val"):
        if full.get(f"{part}_dataloader") is None:
            continue
        dataset = DATASETS.build(full[f"{part}_dataloader"].dataset)
        if not isinstance(dataset, FileDataset):
            raise ValueError(f"{part}_dataloader has a {type(dataset).__name__}; this checks data sets of files")
        datasets[part] = dataset
    broken = 0
    counts: dict[str, dict[str, LabelCounts]] = {}
    for part, dataset in datasets.items():
        labels = ", ".join(f"{task} {number}" for task, number in dataset.labelled.items())
        print(f"{part}: {len(dataset)} images in {dataset.root}, labelled: {labels}", flush=True)
        counts[part] = {
            name: LabelCounts(task, dataset.label_place(name), dataset.labelled[name])
            for name, task in dataset.tasks.items()
        }
        for index in track(range(len(dataset)), "reading", transient=True, disable=not sys.stderr.isatty()):
            for error in problems(dataset, index, counts[part]):
                print(f"{part}: {printable(error)}", file=sys.stderr)
                broken += 1
    print("\n" + label_table(counts))
    for leftover, parts in all_leftovers(datasets).items():
        print(f"{'broken: ' if leftover.mistake else ''}not used in {parts}: {leftover}", file=sys.stderr)
        broken += len(leftover.names) if leftover.mistake else 0
    for line in absent_classes(counts):
        print(line, file=sys.stderr)
    for part, count in [(part, count) for part, own in counts.items() for count in own.values()]:
        if count.seen and count.fault():
            print(f"{part}: {count.fault()}", file=sys.stderr)
            broken += 1
        elif count.only_first:
            first, number = next(iter(count.images)), f"{len(count.only_first)} of {count.seen}"
            about = f"{number} labels of {count.task.name!r} have nothing but {first!r} or void"
            print(f"{part}: {about}: {some_of(count.only_first)}", file=sys.stderr)
    print(f"\n{broken} broken")
    return 1 if broken else 0


def problems(dataset: FileDataset, index: int, counts: dict[str, LabelCounts]) -> Iterator[ValueError]:
    """What is wrong with an image and its labels, one error a file; its labels are added to ``counts``."""
    size = None
    try:
        size = read_image(dataset.image_path(index)).shape[:2]
    except ValueError as error:
        yield error
    for task, labelled in dataset.labels.items():
        if dataset.names[index] in labelled:
            try:
                target = dataset.target(index, task, size)
                pixels = None if target is None else dataset.tasks[task].label_counts(target)
                counts[task].add(dataset.names[index], pixels)
            except Exception as error:  # a task's own reader may raise what it likes
                counts[task].total -= 1
                label = dataset.root / labelled[dataset.names[index]]
                own = ValueError(f"{label}: {type(error).__name__}: {reason(error)}")
                yield error if isinstance(error, ValueError) else own


if __name__ == "__main__":
    sys.exit(main())
