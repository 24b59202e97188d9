"""Store what the quickstart prints beside its own result: python tools/store_quickstart.py [METHOD ...].

Runs ``configs/quickstart.py`` per method and seed under the same schedule; once no run is missing, writes their means
and standard deviations to ``mtl/evaluation/reference/quickstart.json``. A run that is finished in the work dir is
taken as it is.
"""

from __future__ import annotations

import json
import subprocess
import sys
from argparse import ArgumentParser
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from mtl.engine.command_line import friendly
from mtl.evaluation.delta_m import REFERENCE, delta_m

ROOT = Path(__file__).resolve().parents[1]
METHODS = ("SingleTaskFull", "MultiTaskFull", "DecodersOnly", "PolyhistorLite")
SEEDS = (0, 1, 2)


@friendly
def main() -> int:
    parser = ArgumentParser(description="Store the quickstart's comparison results.")
    parser.add_argument("methods", nargs="*", default=METHODS, help=f"what to run, of {', '.join(METHODS)}")
    parser.add_argument("--work-dir", default="work_dirs/store_quickstart")
    args = parser.parse_args()
    folders = {(m, seed): Path(args.work_dir) / f"{m}_{seed}" for m in METHODS for seed in SEEDS}
    for (method, seed), folder in folders.items():
        if method in args.methods and not (folder / "result.json").is_file():
            _train(method, seed, folder)
    missing = [folder.name for folder in folders.values() if not (folder / "result.json").is_file()]
    if missing:
        print(f"nothing is written yet: {', '.join(missing)} are missing")
        return 0
    results = {run: json.loads((folder / "result.json").read_text("utf-8")) for run, folder in folders.items()}
    runs = {method: [results[method, seed] for seed in SEEDS] for method in METHODS}
    single = _over_seeds(mean, runs["SingleTaskFull"])
    stored = {
        "source": f"tools/store_quickstart.py: configs/quickstart.py by method, means of the seeds {SEEDS}",
        "single_task": {"scenes": single},
        "rows": [_row(own, single) for own in runs.values()],
    }
    path = REFERENCE / "quickstart.json"
    path.write_text(json.dumps(stored, indent=1) + "\n")
    print(f"written to {path}")
    return 0


def _train(method: str, seed: int, folder: Path) -> None:
    command = [sys.executable, str(ROOT / "tools" / "train.py"), str(ROOT / "configs" / "quickstart.py")]
    options = [f"method.type={method}", f"randomness.seed={seed}", "single_task=None", "stored_results=None"]
    subprocess.run([*command, "--work-dir", str(folder), "--resume", "--cfg-options", *options], check=True)


def _over_seeds(what: Any, runs: list[dict[str, Any]]) -> dict[str, float]:
    """Mean or deviation of each task's main score."""
    return {task: round(what([run["main"][task] for run in runs]), 4) for task in runs[0]["main"]}


def _row(runs: list[dict[str, Any]], single: dict[str, float]) -> dict[str, Any]:
    gains = [delta_m(run["main"], single, run["higher_is_better"]) for run in runs]
    return {
        "method": runs[0]["method"],
        "main": _over_seeds(mean, runs),
        "deviation": _over_seeds(stdev, runs),
        "delta_m": round(mean(gains), 4),
        "delta_m_deviation": round(stdev(gains), 4),
        "parameters": runs[0]["parameters"],
    }


if __name__ == "__main__":
    sys.exit(main())
