"""Compare runs in one HTML page: python tools/report.py RESULT... --out report.html [--reference polyhistor/1]."""

from __future__ import annotations

import sys
from argparse import ArgumentParser
from pathlib import Path

from mtl.engine.command_line import friendly
from mtl.report.page import check_out, summary, write_page
from mtl.report.paper import NONE, load_paper, paper_names
from mtl.report.runs import gather
from mtl.utils.text import printable


@friendly
def main() -> int:
    parser = ArgumentParser(description="Compare results in one self-contained HTML page.")
    parser.add_argument(
        "results",
        nargs="+",
        metavar="RESULT",
        help="result.json or test.json files, run folders, folders of them, globs",
    )
    parser.add_argument("--out", required=True, help="the page, an .html file")
    parser.add_argument(
        "--reference",
        default="polyhistor/1",
        help=f"the paper's table in the plot, of {', '.join(paper_names())}, {NONE} (%(default)s)",
    )
    parser.add_argument("--title", default="Methods compared", help="the page's heading (%(default)s)")
    args = parser.parse_args()
    out = Path(args.out)
    check_out(out)
    paper = load_paper(args.reference)
    found = gather(args.results)
    write_page(found, out, args.title, paper)
    print("\n".join(summary(found, out)))
    for note in found.notes:
        print(f"note: {printable(note)}", file=sys.stderr)
    for place, why in found.broken:
        print(f"left out: {printable(place)}: {printable(why)}", file=sys.stderr)
    return 1 if found.broken else 0


if __name__ == "__main__":
    sys.exit(main())
