"""A training step of every method, the config's own too, beside decoders only: python benchmarks/methods.py [CONFIG]

Time, and the memory that autograd holds for the backward passes at the worst moment: task by task; as one task-major
batch (``model.joint``); and with all tasks and their losses in one graph.
"""

from __future__ import annotations

from argparse import ArgumentParser
from functools import partial
from pathlib import Path

import torch
from measure import peak_memory, times
from mmengine.optim import OptimWrapper
from mmengine.runner import Runner

from mtl.engine.build import build_runner
from mtl.engine.config import method_files, read_config
from mtl.engine.plugins import register_all

ROOT = Path(__file__).resolve().parents[1]
BASE = "decoders_only"


def main() -> None:
    parser = ArgumentParser(description="Time a training step of every method.")
    parser.add_argument("config", nargs="?", type=Path, default=ROOT / "configs" / "quickstart.py")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--work-dir", default="work_dirs/benchmark")
    args = parser.parse_args()
    options = {"train_dataloader.num_workers": 0, "train_dataloader.persistent_workers": False}
    runners = {}
    for name, file in [("its own", None), *sorted(method_files(args.config).items())]:
        cfg = read_config(args.config, options, file)
        register_all(cfg.get("custom_imports"))
        cfg.experiment_name = f"benchmark_{name}"
        runners[name] = build_runner(cfg, Path(args.work_dir) / name)
    data = next(iter(Runner.build_dataloader(runners[BASE]._train_dataloader)))
    steps, joint, graphs = {}, {}, {}
    for name, runner in runners.items():
        model, wrapper = runner.model.train(), runner.build_optim_wrapper(runner.optim_wrapper)
        steps[name] = partial(_step, model, wrapper, data, False)
        joint[name] = partial(_step, model, wrapper, data, True)
        graphs[name] = partial(_one_graph, model, data)
    both = {("apart", name): step for name, step in steps.items()} | {("joint", n): step for n, step in joint.items()}
    taken = times(both, args.rounds)
    seconds, joint_seconds = ({name: taken[kind, name] for name in runners} for kind in ("apart", "joint"))
    memory, joint_memory, graph_memory = (
        {name: peak_memory(step) for name, step in kind.items()} for kind in (steps, joint, graphs)
    )
    print(f"\n{len(data['inputs'])} images of {tuple(data['inputs'][0].shape[1:])}, {torch.get_num_threads()} threads")
    print(f"relative to {BASE}; joint and one graph relative to the same method task by task")
    print(f"{'':16}      time           memory     joint: time  memory   one graph: memory")
    for name in runners:
        print(
            f"{name:16} {seconds[name]:6.3f} s {seconds[name] / seconds[BASE]:5.2f} "
            f"{memory[name]:6.0f} MB {memory[name] / memory[BASE]:5.2f} "
            f"{joint_seconds[name] / seconds[name]:13.2f} {joint_memory[name] / memory[name]:7.2f} "
            f"{graph_memory[name] / memory[name]:18.2f}"
        )


def _step(model: torch.nn.Module, wrapper: OptimWrapper, data: dict, joint: bool) -> None:
    model.joint = joint
    model.train_step(data, wrapper)


def _one_graph(model: torch.nn.Module, data: dict) -> None:
    batch = model.data_preprocessor(data, True)
    sum(model(**batch, mode="loss").values()).backward()


if __name__ == "__main__":
    main()
