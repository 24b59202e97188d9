"""Store what the quickstart prints beside its own result: python tools/store_quickstart.py [METHOD ...].

Runs ``configs/quickstart.py`` per method and seed under the same schedule; once no run is missing, writes their means
and standard deviations to ``mtl/evaluation/reference/quickstart.json``. A run that is finished in the work dir is
taken as it is.
"""

from __future__ import annotations

import json
import sys
from argparse import ArgumentParser
from collections.abc import Callable
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from mtl.engine.adapter_file import read_meta
from mtl.engine.command_line import friendly
from mtl.engine.comparison import check_kept, train_apart
from mtl.engine.config import read_config
from mtl.engine.plugins import register_all
from mtl.evaluation.delta_m import REFERENCE, delta_m
from mtl.evaluation.result_file import read_result
from mtl.registry import ENCODERS, choices

ROOT = Path(__file__).resolve().parents[1]
METHODS = ("SingleTaskFull", "MultiTaskFull", "DecodersOnly", "PolyhistorLite")
SEEDS = (0, 1, 2)
QUICKSTART = ROOT / "configs" / "quickstart.py"
TRAIN = ROOT / "tools" / "train.py"


@friendly
def main() -> int:
    parser = ArgumentParser(description="Store the quickstart's comparison results.")
    parser.add_argument("methods", nargs="*", default=METHODS, help=f"what to run, of {', '.join(METHODS)}")
    parser.add_argument("--work-dir", default="work_dirs/store_quickstart")
    args = parser.parse_args()
    unknown = [method for method in args.methods if method not in METHODS]
    if unknown:
        raise ValueError(f"the quickstart stores no method {unknown[0]!r}; {choices(METHODS, unknown[0])}")
    folders = {(m, seed): Path(args.work_dir) / f"{m}_{seed}" for m in METHODS for seed in SEEDS}
    for (method, seed), folder in folders.items():
        check_kept(folder, QUICKSTART, _options(method, seed))
        if method in args.methods and (failed := train_apart(TRAIN, QUICKSTART, folder, _options(method, seed))):
            raise ValueError(failed)
    missing = [folder.name for folder in folders.values() if not (folder / "result.json").is_file()]
    if missing:
        print(f"nothing is written yet: {', '.join(missing)} are missing")
        return 0
    register_all()
    base = ENCODERS.build(read_config(QUICKSTART).encoder).fingerprint
    for folder in folders.values():
        if read_meta(next(folder.glob("epoch_*.safetensors")))["base"] != base:
            raise ValueError(f"{folder} was run with other weights of the encoder; remove it to run it anew")
    results = {run: read_result(folder / "result.json") for run, folder in folders.items()}
    runs = {method: [results[method, seed] for seed in SEEDS] for method in METHODS}
    single = _over_seeds(mean, runs["SingleTaskFull"])
    stored = {
        "source": f"tools/store_quickstart.py: configs/quickstart.py by method, means of the seeds {SEEDS}",
        "single_task": {"scenes": _rounded(single)},
        "rows": [_row(own, single) for own in runs.values()],
    }
    path = REFERENCE / "quickstart.json"
    path.write_text(json.dumps(stored, indent=1) + "\n")
    print(f"written to {path}")
    return 0


def _options(method: str, seed: int) -> dict[str, Any]:
    return {"method.type": method, "randomness.seed": seed, "single_task": None, "stored_results": None}


def _over_seeds(statistic: Callable[[list[float]], float], runs: list[dict[str, Any]]) -> dict[str, float]:
    """Mean or deviation of each task's main score."""
    return {task: statistic([run["main"][task] for run in runs]) for task in runs[0]["main"]}


def _rounded(scores: dict[str, float]) -> dict[str, float]:
    return {task: round(score, 4) for task, score in scores.items()}


def _row(runs: list[dict[str, Any]], single: dict[str, float]) -> dict[str, Any]:
    gains = [delta_m(run["main"], single, run["higher_is_better"]) for run in runs]
    return {
        "method": runs[0]["method"],
        "main": _rounded(_over_seeds(mean, runs)),
        "deviation": _rounded(_over_seeds(stdev, runs)),
        # a sum of roundings may come out as -0.0
        "delta_m": round(mean(gains), 4) + 0.0,
        "delta_m_deviation": round(stdev(gains), 4),
        "parameters": runs[0]["parameters"],
    }


if __name__ == "__main__":
    sys.exit(main())
