"""MTLoRA against its equations on a plain encoder, block by block and task by task; and what runs once."""

from __future__ import annotations

import copy
import re

import pytest
import torch
import torch.nn.functional as F
from conftest import SMALL_ENCODERS, attached
from test_contract import disturb, images, run
from test_references import close, score
from torch import Tensor, nn

from mtl.encoders.pyramid import to_pyramid
from mtl.engine.export import Graph, normalised
from mtl.methods.mtlora import TaskAgnostic, TaskSpecific
from mtl.models.multitask import MultiTaskModel
from mtl.registry import ENCODERS, METHODS

LONGER = {"swin": {"depths": (1, 2, 4, 2)}, "vit": {"depth": 9}}
"""Stages of one block and of more than two; the blocks of a ViT whose outputs are taken are 1, 3, 5 and 8."""

TASKS = {
    "semseg": {"type": "SemanticSegmentation", "classes": 5},
    "normals": {"type": "SurfaceNormals"},
    "saliency": {"type": "Saliency"},
}


def longer(family: str) -> nn.Module:
    torch.manual_seed(0)
    small = SMALL_ENCODERS[family]
    options = {**small["options"], **LONGER[family]}
    return ENCODERS.build({"type": "TimmEncoder", "name": small["name"], "size": (64, 96), "options": options})


class Changed(nn.Module):
    """A linear layer with the weight ``W + s B A``."""

    def __init__(self, linear: nn.Linear, down: Tensor, up: Tensor, scale: float) -> None:
        super().__init__()
        self.linear, self.factors, self.scale = linear, (down, up), scale

    def forward(self, x: Tensor) -> Tensor:
        down, up = self.factors
        return F.linear(x, self.linear.weight + self.scale * up @ down, self.linear.bias)


def in_plain_model(name: str) -> str:
    return re.sub(r"(\.base)+(?=\.|$)", "", name.removeprefix("model."))


def put(model: nn.Module, path: str, module: nn.Module) -> None:
    owner, _, name = path.rpartition(".")
    setattr(model.get_submodule(owner), name, module)


def written_out(plain: nn.Module, encoder: nn.Module, task: int, scale: float) -> list[Tensor]:
    """The maps of ``task`` by the equations, computed from the weights of the adapted ``encoder``."""
    model = plain.model
    for name, parameter in encoder.model.named_parameters():
        if ".adapter." not in name:  # the encoder's own weights, some of which train
            owner, _, last = in_plain_model(name).rpartition(".")
            setattr(model.get_submodule(owner), last, parameter)
    original, specific = copy.deepcopy(model, {id(p): p for p in model.parameters()}), {}
    for path, adapter in encoder.model.named_modules():
        at = in_plain_model(path.removesuffix(".adapter"))
        if isinstance(adapter, TaskSpecific):
            specific[at] = adapter
            adapter = adapter.shared
        if isinstance(adapter, TaskAgnostic) and not path.endswith(".shared"):
            put(model, at, Changed(model.get_submodule(at), adapter.shared_down, adapter.shared_up, scale))

    # the shared stream is a plain pass with the changed weights: what enters the last blocks
    names = sorted({path.removesuffix(".mlp.fc1") for path in specific if path.endswith(".mlp.fc1")})
    entering: dict[str, Tensor] = {}
    for name in names:
        keep = lambda module, args, name=name: entering.__setitem__(name, args[0])  # noqa: E731
        model.get_submodule(name).register_forward_pre_hook(keep)
    x = images("swin").double()
    plain(x)

    maps = []
    for name in names:
        block, x = model.get_submodule(name), entering[name]
        W = {part: original.get_submodule(f"{name}.mlp.{part}") for part in ("fc1", "fc2")}
        T = {part: specific[f"{name}.{part}"] for part in ("attn.proj", "mlp.fc1", "mlp.fc2")}

        def product(part, h, T=T):
            return scale * h @ T[part].down[task].T @ T[part].up[task].T

        def attend(proj, block=block, x=x):
            block.attn.proj = proj
            return x + (block._attn if hasattr(block, "_attn") else block.attn)(block.norm1(x))

        plain_proj = original.get_submodule(f"{name}.attn.proj")
        shared = attend(block.attn.proj)
        own = attend(Changed(plain_proj, T["attn.proj"].down[task], T["attn.proj"].up[task], scale))
        h = block.norm2(shared)
        h_task = F.gelu(W["fc1"](h) + product("mlp.fc1", block.norm2(own)))
        own = own + W["fc2"](F.gelu(block.mlp.fc1(h))) + product("mlp.fc2", h_task)
        if own.dim() == 4:
            maps.append(own.permute(0, 3, 1, 2))
        else:  # of a ViT, a class token first
            maps.append(own[:, 1:].transpose(1, 2).unflatten(2, (4, 6)))
    return maps


@pytest.mark.parametrize(
    ("family", "options"), [("swin", {}), ("swin", {"merging": True}), ("vit", {})], ids=["swin", "swin-plus", "vit"]
)
def test_equations(family, options):
    encoder, scale, task = longer(family), 0.5, 1
    method = METHODS.build({"type": "MTLoRA", "rank": 5, "task_rank": 3, "scale": scale, **options})
    expected_count = method.count(encoder, 3)
    method.attach(encoder, ["a", "b", "c"])
    disturb(encoder, method)
    encoder.eval().double()
    parameters = {name: p for name, p in encoder.named_parameters() if p.requires_grad}
    assert sum(p.numel() for p in parameters.values()) == expected_count

    maps = run(encoder, method, images("swin").double(), (2, task))
    expected = written_out(longer(family).eval().double(), encoder, task, scale)
    if family == "vit":
        expected = to_pyramid(expected, (64, 96))
    ours = [x.unflatten(0, (2, -1))[1] for x in maps]
    for one, other in zip(ours, expected, strict=True):
        close(one, other)
    found = torch.autograd.grad(score(ours), parameters.values(), allow_unused=True)
    wanted = torch.autograd.grad(score(expected), parameters.values(), allow_unused=True)
    for name, one, other in zip(parameters, found, wanted, strict=True):
        assert (one is None) == (other is None), name
        if one is not None:
            close(one, other, name)


def built(**options) -> MultiTaskModel:
    torch.manual_seed(0)
    small = SMALL_ENCODERS["swin"]
    encoder = {"type": "TimmEncoder", **small, "size": (64, 96), "options": {**small["options"], **LONGER["swin"]}}
    model = MultiTaskModel(encoder, {"type": "MTLoRA", "rank": 4}, TASKS, {"type": "AllMLP", "channels": 8}, **options)
    disturb(model.encoder)
    return model.eval()


def rows(model: nn.Module, x: Tensor) -> dict[str, int]:
    """How many rows every linear layer of the encoder itself sees, by its path in the plain model."""
    found: dict[str, int] = {}
    for path, module in model.encoder.model.named_modules():
        if isinstance(module, (nn.Linear, nn.Conv2d)):
            at = in_plain_model(path)
            module.register_forward_pre_hook(lambda m, args, at=at: found.__setitem__(at, args[0][..., 0].numel()))
    model.logits(x, list(TASKS))
    return found


@torch.no_grad()
def test_every_weight_of_the_encoder_runs_once_for_all_tasks():
    x, plain = images("swin"), built()
    plain.method = METHODS.build({"type": "DecodersOnly"})
    plain.encoder = longer("swin").eval()
    assert rows(built(), x) == rows(plain, x)


@torch.no_grad()
def test_a_task_alone_predicts_as_among_others():
    model, x = built().double(), images("swin").double()
    together = model.logits(x, list(TASKS))
    for task in TASKS:
        close(model.logits(x, [task])[task], together[task])


@torch.no_grad()
def test_graph_is_one_pass_of_the_same_function():
    """As it is traced, with the windows' masks in their traceable form."""
    model = built().double()
    graph, passes = Graph(model), []
    graph.encoder.register_forward_pre_hook(lambda module, args: passes.append(len(args[0])))
    x = 255 * torch.rand(2, 3, 96, 128, generator=torch.Generator().manual_seed(4), dtype=torch.float64)
    expected = model.logits(normalised(model, x), list(TASKS))
    for task, logits in zip(TASKS, graph(x), strict=True):
        close(logits, expected[task])
    assert passes == [2 * len(TASKS)]


def test_what_does_not_fit_is_refused():
    with pytest.raises(ValueError, match="MTLoRA runs most of the encoder once for all tasks"):
        attached("swin", {"type": "Composite", "methods": [{"type": "MTLoRA"}, {"type": "BitFit"}]})
    with pytest.raises(ValueError, match="no linear map between its stages"):
        attached("vit", {"type": "MTLoRA", "merging": True})
    for options, message in [
        ({"rank": 0}, "rank must lie between 1 and "),
        ({"rank": 4000}, "rank must lie between 1 and "),
        ({"rank": 4, "task_rank": 4000}, "task_rank must lie between 1 and "),
    ]:
        with pytest.raises(ValueError, match=f"^{message}"):
            attached("vit", {"type": "MTLoRA", **options})
    with pytest.raises(ValueError, match="no site of this encoder matches 'relative_position_bias'"):
        attached("vit", {"type": "MTLoRA", "own": ["relative_position_bias"]})
