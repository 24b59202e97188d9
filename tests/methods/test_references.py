"""Methods against other libraries and against the shortest code that does the same to a plain encoder.

Outputs and gradients of task 1 of 3. In float64, so that other orders of sums do not matter.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence

import peft
import pytest
import torch
import torch.nn.functional as F
from conftest import attached, small_encoder
from test_contract import disturb, images, run
from torch import Tensor, nn

from mtl.methods.base import Adapter
from mtl.methods.bias import TableChange
from mtl.methods.bottleneck import GeneratedBottleneck
from mtl.methods.kronecker import Kronecker, slow_matrices

TASK = 1


def prepared(family: str, config: dict) -> tuple[nn.Module, nn.Module, nn.Module]:
    """An adapted encoder away from its start and its method; and a plain encoder."""
    encoder, method = attached(family, config)
    disturb(encoder, method)
    return encoder.eval().double(), method.double(), small_encoder(family).eval().double()


def close(ours: Tensor, reference: Tensor, what: str = "") -> None:
    assert ours.shape == reference.shape, what
    assert (ours - reference).abs().max() <= 1e-9 * reference.abs().max() + 1e-12, what


def score(maps: Sequence[Tensor]) -> Tensor:
    """A number that every value of the maps has its own share in."""
    generator = torch.Generator().manual_seed(3)
    return sum((x * torch.randn(x.shape, generator=generator, dtype=x.dtype)).sum() for x in maps)


def adapters(encoder: nn.Module) -> Iterator[tuple[str, Adapter]]:
    """With the paths of their sites in the plain model."""
    for path, module in encoder.model.named_modules():
        if isinstance(module, Adapter):
            yield re.sub(r"\.base(?=\.|$)", "", path.removesuffix(".adapter")), module


class Split(nn.Module):
    """A fused linear map as the maps that it holds, which PEFT can adapt one by one."""

    def __init__(self, fused: nn.Linear, names: str) -> None:
        super().__init__()
        for i, name in enumerate(names):
            part = nn.Linear(fused.in_features, fused.out_features // len(names), dtype=fused.weight.dtype)
            part.weight.data = fused.weight.chunk(len(names))[i].data
            part.bias.data = fused.bias.chunk(len(names))[i].data
            self.add_module(name, part)

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([part(x) for part in self.children()], -1)


def split(model: nn.Module) -> None:
    for path, module in list(model.named_modules()):
        owner, _, name = path.rpartition(".")
        if name in ("qkv", "kv"):
            setattr(model.get_submodule(owner), name, Split(module, name))


@pytest.mark.parametrize("family", ["vit", "swin", "pvt", "pvt_v2"])
@pytest.mark.parametrize("targets", [("q", "v"), ("k", "proj", "fc1", "fc2")], ids=str)
@pytest.mark.parametrize(
    "config",
    [{"type": "LoRA", "bias": False}, {"type": "LoRA"}, {"type": "DoRA"}],
    ids=["LoRA", "LoRA-bias", "DoRA"],
)
def test_lora_and_dora_are_pefts(family, targets, config):
    rank, scale, dora = 3, 0.5, config["type"] == "DoRA"
    encoder, method, plain = prepared(family, {**config, "targets": targets, "rank": rank, "scale": scale})
    split(plain.model)
    places = rf".*(attn|mlp)\.((qkv|kv)\.)?({'|'.join(targets)})"
    bias = not dora and config.get("bias", True)
    settings = peft.LoraConfig(
        r=rank, lora_alpha=scale * rank, target_modules=places, use_dora=dora, lora_bias=bias, lora_dropout=0.0
    )
    peft.inject_adapter_in_model(settings, plain.model)
    pairs = []  # our parameter and its part; PEFT's and what it is multiplied with to be ours
    for path, adapter in adapters(encoder):
        name = path.rpartition(".")[2]
        for i, part in enumerate(adapter.chosen):
            layer = plain.model.get_submodule(f"{path}.{name[part]}" if name in ("qkv", "kv") else path)
            pairs.append((adapter.down, i, layer.lora_A.default.weight, 1))
            pairs.append((adapter.up, i, layer.lora_B.default.weight, 1))
            if dora:
                pairs.append((adapter.magnitude, i, layer.lora_magnitude_vector.default.weight, 1))
            elif bias:
                pairs.append((adapter.bias, i, layer.lora_B.default.bias, scale))  # scaled with the product
    assert len({id(theirs) for *_, theirs, _ in pairs}) == sum(p.requires_grad for p in plain.model.parameters())
    with torch.no_grad():
        for ours, i, theirs, factor in pairs:
            theirs.copy_(ours[TASK, i] / factor)

    x = images(family).double()
    maps, expected = run(encoder, method, x, (TASK,)), plain(x)
    for one, other in zip(maps, expected, strict=True):
        close(one, other)
    score(maps).backward()
    score(expected).backward()
    for ours, i, theirs, factor in pairs:
        close(ours.grad[TASK, i] * factor, theirs.grad)


def full(matrices: nn.Module, method: nn.Module) -> Tensor:
    return matrices.weight[TASK]


def product(matrices: nn.Module, method: nn.Module) -> Tensor:
    return matrices.p[TASK] @ matrices.q[TASK]


def krons(matrices: nn.Module, method: nn.Module) -> Tensor:
    return sum(torch.kron(A, B) for A, B in zip(method.slow, matrices.fast[TASK], strict=True))


def krons_of_products(matrices: nn.Module, method: nn.Module) -> Tensor:
    p, q = matrices.factors.p[TASK], matrices.factors.q[TASK]
    return sum(torch.kron(A, s @ t) for A, s, t in zip(method.slow, p, q, strict=True))


def label(value: object) -> str:
    return getattr(value, "__name__", str(value))  # a function's own text has its address, another in each process


@pytest.mark.parametrize("family", ["swin", "vit"])
@pytest.mark.parametrize(
    ("config", "matrix"),
    [
        ({"type": "Adapter", "reduction": 4}, full),
        ({"type": "Adapter", "reduction": 4, "placement": "sequential"}, full),
        ({"type": "AdaptFormer", "bottleneck": 8}, full),
        ({"type": "LowRankAdapter", "reduction": 4, "rank": 2}, product),
        ({"type": "PHMAdapter", "reduction": 4}, krons),
        ({"type": "PHMAdapter", "reduction": 2, "p": 4}, krons),
        ({"type": "Compacter", "reduction": 4}, krons_of_products),
        ({"type": "Compacter", "reduction": 2, "rank": 2, "p": 4}, krons_of_products),
    ],
    ids=label,
)
def test_bottlenecks_are_their_equations(family, config, matrix):
    encoder, method, plain = prepared(family, config)
    kind = config["type"]
    sequential = kind == "Compacter" or config.get("placement") == "sequential"

    def hook(part: nn.Module) -> Callable:
        def change(module, inputs, y):
            h = y if sequential else inputs[0]
            if part.norm_weight is not None:
                h = F.layer_norm(h, h.shape[-1:], part.norm_weight[TASK], part.norm_bias[TASK])
            h = h @ matrix(part.down, method).T + part.down_bias[TASK]
            h = F.relu(h) if kind == "AdaptFormer" else F.gelu(h)
            h = h @ matrix(part.up, method).T + part.up_bias[TASK]
            return y + (0.1 if kind == "AdaptFormer" else 1) * h

        return change

    paths = [path for path, adapter in adapters(encoder) if isinstance(adapter, GeneratedBottleneck)]
    places = ("attn", "mlp") if kind == "Compacter" else ("mlp",)
    assert paths == [p for p, _ in plain.model.named_modules() if p.rpartition(".")[2] in places]
    for key, part in zip(method.adapters.keys, method.adapters, strict=True):
        plain.model.get_submodule(key.replace(".base", "")).register_forward_hook(hook(part))
    compare(run(encoder, method, images(family).double(), (TASK,)), plain(images(family).double()), method)


def compare(maps: Sequence[Tensor], expected: Sequence[Tensor], method: nn.Module) -> None:
    """Both are computed from the method's parameters."""
    for one, other in zip(maps, expected, strict=True):
        close(one, other)
    names, parameters = zip(*method.named_parameters(), strict=True)
    ours = torch.autograd.grad(score(maps), parameters)
    for name, one, other in zip(names, ours, torch.autograd.grad(score(expected), parameters), strict=True):
        close(one, other, name)


@pytest.mark.parametrize("rank", [None, 2])
def test_kronecker_is_a_sum_of_torch_krons(rank):
    p, rows, columns = 4, 8, 20
    matrices, slow = Kronecker(3, rows, columns, p, rank), slow_matrices(p)
    fast = matrices.fast if rank is None else matrices.factors.p @ matrices.factors.q
    for task, ours in enumerate(matrices(slow)):
        assert ours.shape == (rows, columns)
        torch.testing.assert_close(ours, sum(torch.kron(slow[i], fast[task, i]) for i in range(p)))


@pytest.mark.parametrize(
    ("config", "family"),
    [
        *[({"type": "BitFit"}, family) for family in ("swin", "vit", "dinov2", "pvt", "pvt_v2", "convnext")],
        ({"type": "BitFit", "relative_position_bias": False}, "swin"),
        ({"type": "RelativeBias"}, "swin"),
    ],
    ids=label,
)
def test_biases_and_tables_are_edits_of_a_copy(config, family):
    encoder, method, plain = prepared(family, config)
    pairs = []
    for path, adapter in adapters(encoder):
        name = "relative_position_bias_table" if isinstance(adapter, TableChange) else "bias"
        pairs.append((adapter.change, plain.model.get_submodule(path).get_parameter(name)))
    edited = {id(parameter) for _, parameter in pairs}
    assert len(edited) == len(pairs)
    bias, table = config["type"] == "BitFit", config.get("relative_position_bias", True)
    for name, parameter in plain.model.named_parameters():
        ends = tuple(["bias"] * bias + ["relative_position_bias_table"] * table)
        assert (id(parameter) in edited) == name.endswith(ends), name
    for change, parameter in pairs:
        parameter.requires_grad_().data += change[TASK].data
    x = images(family).double()
    maps, expected = run(encoder, method, x, (TASK,)), plain(x)
    score(maps).backward()
    score(expected).backward()
    for one, other in zip(maps, expected, strict=True):
        close(one, other)
    for change, parameter in pairs:
        close(change.grad[TASK], parameter.grad)
