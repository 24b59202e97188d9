"""Download, arrange and check PASCAL-Context (``PASCAL_MT.tgz``): python data_prep/pascal_context.py DATA [--check].

Brings ``JPEGImages``, ``ImageSets/Context`` and the labels of five tasks: 4,998 / 5,105 images. ``--convert`` then
writes the labels that come from MATLAB files (human parts, edges, normals with their valid pixels) as PNGs that hold
the same and decode many times faster, to ``DATA/mtl_converted`` or to the FOLDER given, which a config then names as
``converted`` of the data set.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
from archives import command_line, run
from completeness import DataSet, read_list
from download import Archive
from PIL import Image
from rich.progress import track

from mtl.datasets.pascal_context import CONVERTED, original_label, slow_label
from mtl.engine.command_line import friendly
from mtl.engine.files import replacing
from mtl.tasks import Edge, HumanParts, SurfaceNormals


def names(root: Path, split: str) -> list[str]:
    return read_list(root / "ImageSets" / "Context" / f"{split}.txt")


DATA = DataSet(
    name="PASCAL-Context",
    archives=(Archive("https://data.vision.ee.ethz.ch/kmaninis/share/MTL/PASCAL_MT.tgz", ("ImageSets", "JPEGImages")),),
    level=("JPEGImages", "ImageSets"),
    splits={"train": 4998, "val": 5105},
    names=names,
    needs=(
        ("JPEGImages/{name}.jpg",),
        ("semseg/VOC12/{name}.png", "semseg/pascal-context/{name}.png"),
        ("human_parts/{name}.mat",),
        ("sal_distill/{name}.png",),
        ("normals_distill/{name}.png",),
        ("pascal-context/trainval/{name}.mat",),
    ),
)


READ = {"human_parts": HumanParts().read, "edge": Edge().read, "normals": SurfaceNormals().read}

SOURCES = {
    "human_parts": ("human_parts",),
    "edge": ("pascal-context/trainval",),
    "normals": ("normals_distill", "pascal-context/trainval"),
}
"""The folders that the converted labels come from."""


@friendly
def main() -> int:
    parser = command_line(DATA, "Download, arrange and check PASCAL-Context.")
    parser.add_argument("--convert", nargs="?", const="", metavar="FOLDER", help="write the slow labels as PNGs")
    parser.add_argument("--workers", type=int, default=None, help="processes that convert (all cores)")
    args = parser.parse_args()
    if args.convert is not None and args.check:
        raise ValueError("--check writes nothing and --convert does: call one after the other")
    there = (args.root.expanduser() / DATA.level[0]).is_dir()
    status = run(DATA, args) if args.convert is None or not there else 0
    if args.convert is None or status:
        return status
    root = args.root.expanduser()
    folder = Path(args.convert).expanduser() if args.convert else root / "mtl_converted"
    problems = 0
    for problem in convert(root, folder, args.workers):
        print(problem, file=sys.stderr)
        problems += 1
    print(
        f"{problems} labels could not be converted"
        if problems
        else f"every label that is there is converted in {folder}"
    )
    return 1 if problems else 0


def convert(root: Path, folder: Path, workers: int | None = None) -> Iterator[str]:
    """Write what is not in ``folder`` yet; yields what went wrong, a line a file."""
    listed = [name for split in DATA.splits for name in names(root, split)]
    if not listed:
        raise ValueError(f"no image is listed in {root / 'ImageSets' / 'Context'}: nothing can be converted")
    for task in CONVERTED:
        absent = [source for source in SOURCES[task] if not (root / source).is_dir()]
        if absent:
            print(f"{task}: left out, there is no folder {root / absent[0]}", flush=True)
            continue
        unlabelled = folder / f"{task}_unlabelled.txt"
        known = set(unlabelled.read_text("utf-8").split()) if unlabelled.is_file() else set()
        todo = [n for n in listed if n not in known and not (folder / task / f"{n}.png").is_file()]
        if not todo:
            print(f"{task}: nothing to do", flush=True)
            continue
        (folder / task).mkdir(parents=True, exist_ok=True)
        with ProcessPoolExecutor(workers) as pool:
            results = pool.map(partial(convert_one, root, folder, task), todo, chunksize=8)
            shown = track(results, task, total=len(todo), transient=True, disable=not sys.stderr.isatty())
            errors = dict(zip(todo, shown, strict=True))
        empty = [name for name, error in errors.items() if error == ""]
        with replacing(unlabelled) as part:
            part.write_text("\n".join(sorted(known | set(empty))) + "\n", "utf-8")
        yield from (error for error in errors.values() if error)


def convert_one(root: Path, folder: Path, task: str, name: str) -> str | None:
    """Write and compare one label; None where it is done, "" where the image has none, else what is wrong."""
    try:
        pixels = slow_label(root, task, name)
        if pixels is None:
            return ""
        path = folder / task / f"{name}.png"
        with replacing(path) as part:
            Image.fromarray(pixels).save(part, format="PNG")
        original = original_label(root, task, name)
        if original is None or not np.array_equal(READ[task](path), original):
            path.unlink()
            return f"{path} does not read like the original"
    except (OSError, ValueError) as error:
        return " ".join(str(error).split())
    return None


if __name__ == "__main__":
    sys.exit(main())
