"""Store what the quickstart prints beside its own result: python tools/store_quickstart.py [METHOD ...].

Runs ``configs/quickstart.py`` once per method, under the same schedule, and writes
``mtl/evaluation/reference/quickstart.json``. A run that is finished in the work dir is taken as it is.
"""

from __future__ import annotations

import json
import subprocess
import sys
from argparse import ArgumentParser
from pathlib import Path

from mtl.engine.command_line import friendly
from mtl.evaluation.delta_m import REFERENCE, delta_m

ROOT = Path(__file__).resolve().parents[1]
METHODS = ("SingleTaskFull", "MultiTaskFull", "DecodersOnly", "PolyhistorLite")


@friendly
def main() -> int:
    parser = ArgumentParser(description="Store the quickstart's comparison results.")
    parser.add_argument("methods", nargs="*", default=METHODS)
    parser.add_argument("--work-dir", default="work_dirs/store_quickstart")
    args = parser.parse_args()
    path = REFERENCE / "quickstart.json"
    rows = {row["method"]: row for row in json.loads(path.read_text("utf-8"))["rows"]} if path.is_file() else {}
    for method in args.methods:
        folder = Path(args.work_dir) / method
        command = [sys.executable, str(ROOT / "tools" / "train.py"), str(ROOT / "configs" / "quickstart.py")]
        options = [f"method.type={method}", "single_task=None", "stored_results=None"]
        if not (folder / "result.json").is_file():
            subprocess.run([*command, "--work-dir", str(folder), "--resume", "--cfg-options", *options], check=True)
        result = json.loads((folder / "result.json").read_text("utf-8"))
        rows[method] = {key: result[key] for key in ("method", "main", "higher_is_better", "parameters")}
    single = rows["SingleTaskFull"]["main"]
    for row in rows.values():
        row["delta_m"] = round(delta_m(row["main"], single, row["higher_is_better"]), 4)
        row["main"] = {task: round(value, 4) for task, value in row["main"].items()}
    ordered = [rows[method] for method in METHODS if method in rows]
    stored = {
        "source": "tools/store_quickstart.py: configs/quickstart.py with the method exchanged, seed 0",
        "single_task": {"scenes": rows["SingleTaskFull"]["main"]},
        "rows": ordered,
    }
    path.write_text(json.dumps(stored, indent=1) + "\n")
    print(f"written to {path}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
