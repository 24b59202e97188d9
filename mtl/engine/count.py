"""What configs cost before anything is trained: parameters, the adapter file's size, operations.

A model is built with random weights (nothing is downloaded) and run on the meta device, where tensors have shapes and
no values: operations are counted by what is really called, forward and backward. Attention is run as its two products:
the counter knows not every fused kernel.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from mtl.engine.adapter_file import adapter_meta, encoded_meta, trained_state
from mtl.engine.config import read_config
from mtl.engine.parameters import count_parameters
from mtl.engine.plugins import register_all
from mtl.engine.settings import plain
from mtl.models.multitask import MultiTaskModel

FORMATS = ("text", "markdown", "json")
NOTE = (
    "FLOPs of one image of the config's size, matrix products and convolutions; a multiply-add is two. Inference: all "
    "tasks, generated weights at hand. Training: forward and backward of all tasks, without the losses. The adapter "
    "file is in 10^6 bytes."
)


@dataclass(frozen=True)
class Count:
    """One config's numbers.

    Attributes:
        config: its file.
        method: its label, or its method's type.
        encoder: its encoder.
        size: (H, W) of the image that is counted.
        trained_encoder: trained parameters in encoder and method.
        trained_decoders: in the decoders.
        total_encoder: all parameters of encoder and method, frozen ones too.
        total_decoders: in the decoders.
        adapter_bytes: of the adapter file.
        inference: FLOPs of all tasks.
        training: likewise, forward and backward.
        inference_by_task: FLOPs of one task alone.
        training_by_task: likewise, forward and backward.
    """

    config: str
    method: str
    encoder: str
    size: tuple[int, int]
    trained_encoder: int
    trained_decoders: int
    total_encoder: int
    total_decoders: int
    adapter_bytes: int
    inference: int
    training: int
    inference_by_task: dict[str, int]
    training_by_task: dict[str, int]


def count(config: str | Path, options: Mapping[str, Any] | None = None, method: str | Path | None = None) -> Count:
    """The numbers of a config, or of it with the ``method`` of another file; `ValueError` where it is none."""
    cfg = read_config(config, options, method)
    register_all(cfg.get("custom_imports"))
    build = plain({key: cfg[key] for key in ("encoder", "method", "decoder", "tasks") if cfg.get(key) is not None})
    model = MultiTaskModel(**{**build, "encoder": {**build["encoder"], "weights": False}})
    parameters = count_parameters(model)
    decoders = sum(p.numel() for p in model.decoders.parameters())
    size = adapter_size(model, build)
    model.to("meta")
    tasks = model.task_names
    return Count(
        config=str(config),
        method=cfg.get("label") or str(build["method"]["type"]).rpartition(".")[2],
        encoder=model.encoder.name,
        size=model.encoder.size,
        trained_encoder=parameters.encoder,
        trained_decoders=parameters.decoders,
        total_encoder=parameters.total - decoders,
        total_decoders=decoders,
        adapter_bytes=size,
        inference=inference_flops(model, tasks),
        training=training_flops(model, tasks),
        inference_by_task={task: inference_flops(model, [task]) for task in tasks},
        training_by_task={task: training_flops(model, [task]) for task in tasks},
    )


def adapter_size(model: MultiTaskModel, config: Mapping[str, Any]) -> int:
    """Bytes of the file that `save_adapter` would write."""
    return len(save(trained_state(model), encoded_meta(adapter_meta(model, config), 64 * "0")))


@torch.no_grad()
def inference_flops(model: MultiTaskModel, tasks: Sequence[str]) -> int:
    """FLOPs of predicting one image; generated weights are made before, as in a series of images."""
    model.eval()
    image = _image(model)
    model.logits(image, tasks)
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        model.logits(image, tasks)
    return counter.get_total_flops()


def training_flops(model: MultiTaskModel, tasks: Sequence[str]) -> int:
    """FLOPs of the forward and the backward pass of one image, with the gradients that the method needs alone."""
    model.train()
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        outputs = model.logits(_image(model), tasks)
        torch.stack([logits.sum() for logits in outputs.values()]).sum().backward()
    model.zero_grad()
    return counter.get_total_flops()


def _image(model: MultiTaskModel) -> Tensor:
    return torch.zeros(1, 3, *model.encoder.size, device=next(model.parameters()).device)


def render(counts: Sequence[Count], form: str = "text") -> str:
    """The table of several configs in one of `FORMATS`."""
    if form == "json":
        return json.dumps({"note": NOTE, "configs": [asdict(row) for row in counts]}, indent=1)
    head = ["config", "method", "trained encoder", "decoders", "total encoder", "decoders", "adapter MB"]
    head += ["inference GFLOPs", "a task", "training GFLOPs", "a task"]
    rows = [head, *(_row(row) for row in counts)]
    if form == "markdown":
        lines = ["| " + " | ".join(row) + " |" for row in rows]
        lines.insert(1, "|---|---|" + "---:|" * (len(head) - 2))
    else:
        widths = [max(len(row[i]) for row in rows) for i in range(len(head))]
        lines = [
            "  ".join(f"{c:<{w}}" if i < 2 else f"{c:>{w}}" for i, (c, w) in enumerate(zip(row, widths, strict=True)))
            for row in rows
        ]
    sizes = sorted({f"{row.encoder} at {row.size[0]} x {row.size[1]}" for row in counts})
    return "\n".join([*lines, "", f"{'; '.join(sizes)}. {NOTE}"])


def _row(row: Count) -> list[str]:
    numbers = (row.trained_encoder, row.trained_decoders, row.total_encoder, row.total_decoders)
    flops = []
    for every, by_task in ((row.inference, row.inference_by_task), (row.training, row.training_by_task)):
        flops += [f"{every / 1e9:.1f}", f"{sum(by_task.values()) / len(by_task) / 1e9:.1f}"]
    return [Path(row.config).stem, row.method, *(f"{n:,}" for n in numbers), f"{row.adapter_bytes / 1e6:.2f}", *flops]
