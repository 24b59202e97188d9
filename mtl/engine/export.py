"""A multi-task model as one graph for other programs: ONNX (``.onnx``) and `torch.export` (``.pt2``).

The graph takes ``image``, ``(B, 3, H, W)`` float32 RGB in 0..255, and normalises it itself; B is free, and so are H and
W as multiples of the encoder's divisor. Its outputs carry the tasks' names and are their logits,
``(B, K, H/4, W/4)``: what `Task.predict` takes. The distinct encoder paths run as one batch, base weights are stored
once, and a hypernetwork's output is stored in its place.
"""

from __future__ import annotations

import copy
import io
import logging
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram

from mtl.encoders.swin import largest_window, make_traceable
from mtl.engine.files import replacing
from mtl.models.multitask import MultiTaskModel

GRAPHS = (".onnx", ".pt2")
OPSET = 18
LARGEST = 8192
"""Side of the largest image, and more images than a batch will have: a bound that the tracer wants."""

TOLERANCE = 1e-4
"""Of the largest logit: a graph that differs by more from the model is not written."""


@dataclass(frozen=True)
class Report:
    """How a graph came out.

    Attributes:
        difference: the largest one between its logits and the model's, over `shapes`.
        shapes: (B, H, W) of the random images that it was compared on.
        fixed: why it takes images of the encoder's size only; None where it takes others too.
    """

    difference: float
    shapes: list[tuple[int, int, int]]
    fixed: str | None


class Graph(nn.Module):
    """What is traced; the method's own parameters are no part of it.

    Args:
        model: a trained model, which stays as it is.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, model: MultiTaskModel) -> None:
        super().__init__()
        model = copy.deepcopy(model).eval().requires_grad_(False)
        make_traceable(model)
        self.encoder, self.decoders = model.encoder, model.decoders
        self.names = model.task_names
        self.context = model.method.context
        self.paths = model.method.paths(model.task_names)
        generated = model.method.generate()
        self.generated = list(generated)
        for i, value in enumerate(generated.values()):
            self.register_buffer(f"generated_{i}", value.detach().contiguous())
        self.register_buffer("mean", model.data_preprocessor.mean.clone())
        self.register_buffer("std", model.data_preprocessor.std.clone())

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        """``(B, 3, H, W)``, RGB in 0..255, to the logits ``(B, K, H/4, W/4)`` of each task."""
        d = self.encoder.divisor
        # the whole image, whose sides are multiples of d: written so, the sizes of maps are products to the tracer and
        # no towers of quotients, over which it would think for minutes
        image = image[:, :, : image.shape[2] // d * d, : image.shape[3] // d * d]
        image = (image - self.mean) / self.std
        self.context.generated = {key: getattr(self, f"generated_{i}") for i, key in enumerate(self.generated)}
        # all paths as one task-major batch: the tracer's time goes with the number of operations
        self.context.activate([self.names.index(path[0]) for path in self.paths], image.device)
        maps = [self.context.split(x) for x in self.encoder(image.repeat(len(self.paths), 1, 1, 1))]
        logits: dict[str, Tensor] = {}
        for path, own in zip(self.paths, zip(*maps, strict=True), strict=True):
            logits.update({task: self.decoders[task](own) for task in path})
        return tuple(logits[name] for name in self.names)


def save_graph(model: MultiTaskModel, path: Path) -> Report:
    """Write the model's graph in the format of the suffix, after comparing it with the model.

    Raises:
        ValueError: the model cannot be traced, or the graph computes something else.
    """
    model = model.eval()
    program, fixed = trace(model)
    with replacing(path) as part:
        (_save_onnx if path.suffix == ".onnx" else _save_pt2)(program, model.task_names, part)
        run = (load_onnx if path.suffix == ".onnx" else load_pt2)(part)
        difference, shapes = _compare(model, run, fixed is None)
    return Report(difference, shapes, fixed)


def trace(model: MultiTaskModel) -> tuple[ExportedProgram, str | None]:
    """The traced model, and why it takes images of the encoder's size alone, None where it takes any."""
    divisor, window = model.encoder.divisor, largest_window(model.encoder)
    # sizes whose numbers of windows, tokens and pixels are all different from each other and from one: the tracer takes
    # what happens to be equal for a condition
    example = torch.zeros(3, 3, divisor * (2 * window + 3), divisor * (3 * window + 4))
    batch = Dim("B", min=1, max=LARGEST)
    sides = [divisor * Dim(name, min=1, max=LARGEST // divisor) for name in ("rows", "columns")]
    with _quiet(), torch.no_grad():
        try:
            return torch.export.export(
                Graph(model), (example,), dynamic_shapes=({0: batch, 2: sides[0], 3: sides[1]},), strict=False
            ), None
        except Exception as error:  # whatever an encoder's Python meets with symbols for sizes
            why = f"{model.encoder.name} cannot be traced for all sizes: {_first_line(error)}"
        try:
            example = torch.zeros(3, 3, *model.encoder.size)
            return torch.export.export(Graph(model), (example,), dynamic_shapes=({0: batch},), strict=False), why
        except Exception as error:
            raise ValueError(f"{model.encoder.name} cannot be traced: {_first_line(error)}") from error


def load_onnx(path: Path) -> Callable[[Tensor], dict[str, Tensor]]:
    """A function of images in 0..255 that runs an exported file."""
    _needs("onnxruntime")
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    session = onnxruntime.InferenceSession(path.read_bytes(), options, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]

    def run(images: Tensor) -> dict[str, Tensor]:
        found = session.run(names, {"image": images.numpy()})
        return {name: torch.from_numpy(np.asarray(value)) for name, value in zip(names, found, strict=True)}

    return run


def load_pt2(path: Path) -> Callable[[Tensor], dict[str, Tensor]]:
    """A function of images in 0..255 that runs an exported file."""
    extra = {"tasks": ""}
    module = torch.export.load(io.BytesIO(path.read_bytes()), extra_files=extra).module()
    names = extra["tasks"].split()

    def run(images: Tensor) -> dict[str, Tensor]:
        return dict(zip(names, module(images), strict=True))

    return run


def _save_onnx(program: ExportedProgram, names: Sequence[str], path: Path) -> None:
    _needs("onnx", "onnxscript")
    from onnxscript.optimizer import fold_constants, remove_unused_nodes

    with _quiet(), torch.no_grad():
        try:
            graph: Any = torch.onnx.export(
                program,
                dynamo=True,
                verbose=False,
                optimize=False,
                input_names=["image"],
                output_names=list(names),
                opset_version=OPSET,
            )
            fold_constants(graph.model, output_size_limit=64)  # sizes; weights stay factors
            remove_unused_nodes(graph.model)
            graph.save(path, external_data=False)
        except Exception as error:
            raise ValueError(f"this model cannot be written as ONNX: {_first_line(error)}") from error


def _save_pt2(program: ExportedProgram, names: Sequence[str], path: Path) -> None:
    buffer = io.BytesIO()
    # conditions on sizes that the tracer took from its example (two windows, not one): it wants them for the layout of
    # memory alone, `_compare` shows that the graph computes the same without them
    program._guards_code = []
    with _quiet():
        torch.export.save(program, buffer, extra_files={"tasks": " ".join(names)})
    path.write_bytes(buffer.getvalue())


@torch.no_grad()
def _compare(
    model: MultiTaskModel, run: Callable[[Tensor], dict[str, Tensor]], dynamic: bool
) -> tuple[float, list[tuple[int, int, int]]]:
    """The largest difference on random images of two batch sizes and, if ``dynamic``, two sizes; and their shapes."""
    H, W = model.encoder.size
    other = (H + model.encoder.divisor, W + 2 * model.encoder.divisor)
    shapes = [(1, H, W), (2, *other)] if dynamic else [(1, H, W), (2, H, W)]
    generator, difference = torch.Generator().manual_seed(0), 0.0
    for B, h, w in shapes:
        images = torch.rand(B, 3, h, w, generator=generator) * 255
        expected, found = model(normalised(model, images)), run(images)
        if list(found) != list(expected):
            raise ValueError(f"the graph's outputs are {list(found)}, not {list(expected)}")
        for task, logits in expected.items():
            worst = float((logits - found[task]).abs().max())
            if not worst <= TOLERANCE * max(1.0, float(logits.abs().max())):
                raise ValueError(f"the graph's {task} differs by {worst:.1e} from the model's; it is not written")
            difference = max(difference, worst)
    return difference, shapes


def normalised(model: MultiTaskModel, images: Tensor) -> Tensor:
    """Images in 0..255 as the model takes them."""
    return (images - model.data_preprocessor.mean) / model.data_preprocessor.std


def _needs(*packages: str) -> None:
    for package in packages:
        try:
            __import__(package)
        except ImportError as error:
            raise ValueError(f"ONNX needs the package {package}: pip install 'mtl[export]'") from error


def _first_line(error: Exception) -> str:
    lines = [line for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0].strip() if lines else ''}"


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the tracers' warnings and log, which are about their own insides."""
    level = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(level)
