"""Train every method under one config and compare: python tools/benchmark_methods.py CONFIG [--methods NAME ...].

Each method and seed has a folder of its own in the work dir; one that is finished is taken as it is, if it is of the
same config, and one that was interrupted goes on. Single-task models come first, and Δm is relative to their means,
that of kept runs too. The table is printed, and written as ``methods.md`` and ``report.html``; `tools/report.py` makes
one with a paper's points.
"""

from __future__ import annotations

import json
import sys
from argparse import ArgumentParser, Namespace
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from statistics import mean

from mtl.engine.command_line import add_options, friendly
from mtl.engine.comparison import check_kept, train_apart
from mtl.engine.config import method_file, method_files, read_config
from mtl.engine.files import replacing
from mtl.evaluation import load_single_task
from mtl.report.page import check_out, write_page
from mtl.report.runs import gather, relative
from mtl.report.tables import as_markdown, make_tables

SINGLE = "single_task_full"


@friendly
def main() -> int:
    parser = ArgumentParser(description="Train every method under one config and compare them.")
    parser.add_argument("config", type=Path, help="a config file, such as configs/scenes.py")
    parser.add_argument("--methods", nargs="+", metavar="NAME", help="of configs/_base_/methods (all)")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--jobs", type=int, default=1, help="trainings at a time, which share the cores (%(default)s)")
    parser.add_argument("--work-dir", type=Path, help="(work_dirs/<config>_methods)")
    add_options(parser)
    args = parser.parse_args()
    root = args.work_dir or Path("work_dirs") / f"{args.config.stem}_methods"
    methods = args.methods or sorted(method_files(args.config))
    for method in methods:  # a mistake shows before hours of training
        read_config(args.config, args.cfg_options, method_file(args.config, method))
    check_out(root / "report.html")
    runs = [(method, seed) for seed in args.seeds for method in methods]  # every method once before a second time
    for method, seed in runs:
        check_kept(root / f"{method}_{seed}", args.config, args.cfg_options, method)
    train = partial(_train, args, root)
    with ThreadPoolExecutor(args.jobs) as pool:
        failed = list(filter(None, pool.map(train, [run for run in runs if run[0] == SINGLE])))
        if SINGLE in methods and not failed:
            _write_single_task(root, args.seeds)
        failed += filter(None, pool.map(train, [run for run in runs if run[0] != SINGLE]))
    found = gather([str(root / f"{method}_{seed}") for method, seed in runs])
    if (means := root / "single_task.json").is_file():
        single = {"source": str(means), "scores": load_single_task(means)}
        found.runs = [relative(run, single) for run in found.runs]
    text = "\n\n".join(as_markdown(table) for table in make_tables(found.runs))
    with replacing(root / "methods.md") as part:
        part.write_text(text + "\n", "utf-8")
    write_page(found, root / "report.html", f"Methods on {args.config.stem}", paper=None)
    print(f"\n{text}\n\nwritten to {root / 'methods.md'} and {root / 'report.html'}")
    for line in failed:
        print(f"error: {line}", file=sys.stderr)
    return 1 if failed or found.broken else 0


def _train(args: Namespace, root: Path, run: tuple[str, int]) -> str | None:
    """Train one method and seed; what went wrong, or None."""
    method, seed = run
    given = {**(args.cfg_options or {}), "randomness.seed": seed, "stored_results": None}
    if (root / "single_task.json").is_file() and method != SINGLE:
        given["single_task"] = str(root / "single_task.json")
    tool = Path(__file__).with_name("train.py")
    return train_apart(tool, args.config, root / f"{method}_{seed}", given, method, args.jobs)


def _write_single_task(root: Path, seeds: list[int]) -> None:
    """The single-task models' mean scores, as a result that Δm can be relative to."""
    results = [load_single_task(root / f"{SINGLE}_{seed}" / "result.json") for seed in seeds]
    with replacing(root / "single_task.json") as part:
        part.write_text(json.dumps({"main": {task: mean(r[task] for r in results) for task in results[0]}}), "utf-8")


if __name__ == "__main__":
    sys.exit(main())
