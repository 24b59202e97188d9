"""What rendering costs beside training: python benchmarks/scenes.py [CONFIG]

Images a second that one core renders and augments, against those that the config's training step takes.
"""

from __future__ import annotations

from argparse import ArgumentParser
from pathlib import Path

from measure import times
from mmengine.runner import Runner

from mtl.engine.build import build_runner
from mtl.engine.config import read_config

ROOT = Path(__file__).resolve().parents[1]


def main() -> None:
    parser = ArgumentParser(description="Time the rendering of scenes against a training step.")
    parser.add_argument("config", nargs="?", default=str(ROOT / "configs" / "quickstart.py"))
    parser.add_argument("--rounds", type=int, default=8)
    parser.add_argument("--work-dir", default="work_dirs/benchmark")
    args = parser.parse_args()
    cfg = read_config(args.config, {"train_dataloader.num_workers": 0, "train_dataloader.persistent_workers": False})
    runner = build_runner(cfg, args.work_dir)
    loader = Runner.build_dataloader(runner._train_dataloader)
    dataset, batch = loader.dataset, next(iter(loader))
    model, wrapper = runner.model.train(), runner.build_optim_wrapper(runner.optim_wrapper)
    images = range(len(batch["inputs"]))
    seconds = times(
        {
            "rendering": lambda: [dataset.load(index) for index in images],
            "rendering and augmenting": lambda: [dataset[index] for index in images],
            "training step": lambda: model.train_step(batch, wrapper),
        },
        args.rounds,
    )
    print()
    for name, value in seconds.items():
        share = value / seconds["training step"]
        print(f"{name:25} {len(images) / value:7.1f} images/s, {share:.2f} of a training step")


if __name__ == "__main__":
    main()
