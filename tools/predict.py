"""Predict images and videos: python tools/predict.py CHECKPOINT INPUT... --out DIR."""

from __future__ import annotations

import sys
from argparse import ArgumentParser
from pathlib import Path

from PIL import Image

from mtl.engine.command_line import add_imports, friendly
from mtl.engine.inputs import find_inputs
from mtl.engine.output_folder import SHEET, check_folder, claim_folder
from mtl.engine.predict import Options, predict_files
from mtl.engine.predictor import Predictor
from mtl.utils.files import made_folder
from mtl.utils.images import MAX_PIXELS
from mtl.utils.text import printable


def parse() -> ArgumentParser:
    parser = ArgumentParser(description="Predict images and videos with a trained model; its checkpoint is enough.")
    parser.add_argument("checkpoint", help="adapter file or merged model (.safetensors), or full checkpoint (.pth)")
    parser.add_argument(
        "inputs",
        nargs="+",
        metavar="INPUT",
        help="images, videos, folders (what lies directly in them) and quoted patterns ('DIR/**/*.jpg' goes below)",
    )
    parser.add_argument("--out", required=True, help="folder of overlays, raw results and contact_sheet.png")
    parser.add_argument("--overwrite", action="store_true", help="replace an earlier prediction in --out")
    parser.add_argument("--tasks", nargs="+", help="the tasks to run (all)")
    parser.add_argument("--weights", help="the encoder's base weights, where they are not where the checkpoint says")
    parser.add_argument("--batch-size", type=int, default=4, help="images or frames at a time (4)")
    parser.add_argument("--size", nargs=2, type=int, metavar=("H", "W"), help="the network's input (the encoder's)")
    parser.add_argument("--device", help="cpu, cuda, cuda:1 (a GPU where there is one)")
    parser.add_argument("--raw", action="store_true", help="write the results too: class ids as PNG, others as NPY")
    parser.add_argument("--no-overlay", action="store_true", help="write no overlays but the contact sheet's")
    parser.add_argument("--opacity", type=float, default=0.6, help="of the overlays, 0 to 1 (0.6)")
    parser.add_argument("--every", type=int, default=1, metavar="N", help="every N-th frame of a video (1)")
    parser.add_argument(
        "--max-pixels", type=int, default=MAX_PIXELS, metavar="N", help="of an image or a frame (%(default)s)"
    )
    parser.add_argument("--rows", type=int, default=8, help="inputs in the contact sheet, evenly spread (8)")
    add_imports(parser)
    return parser


@friendly
def main() -> int:
    args = parse().parse_args()
    options = Options(
        args.batch_size, args.every, args.raw, not args.no_overlay, args.opacity, args.rows, args.max_pixels
    )
    Image.MAX_IMAGE_PIXELS = args.max_pixels  # Pillow opens none of twice as many
    inputs, problems = find_inputs(args.inputs)
    if not inputs:
        raise ValueError("nothing to predict: " + "; ".join(problems))
    out = Path(args.out).expanduser()
    check_folder(out, args.overwrite, inputs)
    modules = {"imports": args.custom_imports}
    predictor = Predictor(args.checkpoint, args.weights, args.tasks, args.device, args.size, modules)
    with made_folder(out):
        claim_folder(out, args.overwrite, inputs, list(predictor.tasks))
        done, unusable = predict_files(predictor, inputs, out, options)
    where = printable(out / SHEET if done else out)
    print(f"{done} of {len(inputs)} inputs predicted: {', '.join(predictor.tasks)}; see {where}")
    problems += unusable
    if problems:
        print(f"{len(problems)} could not be used or not as a whole:", file=sys.stderr)
        for problem in problems:
            print(f"  {problem}", file=sys.stderr)
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
