"""Hypernetworks and shared adapters against their equations, written out for one task with the method's parameters.

Kronecker products are `torch.kron`'s, low-rank matrices sums of outer products; one task of three, in float64, outputs
and gradients. The papers leave open in which order a generated vector fills a matrix; here as there, row by row.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import pytest
import torch
import torch.nn.functional as F
from test_contract import images, run
from test_references import TASK, compare, label, prepared
from torch import Tensor, nn

Adapters = Mapping[str, Callable[[Tensor], Tensor]]
"""Path of a site in the plain model to the function of its adapter."""


def norm(h: Tensor, weight: Tensor, bias: Tensor, eps: float = 1e-5) -> Tensor:
    centred = h - h.mean(-1, keepdim=True)
    return centred / (centred.square().mean(-1, keepdim=True) + eps).sqrt() * weight + bias


def generated(generator: nn.Linear, embedding: Tensor, *shape: int) -> Tensor:
    vector = generator.weight @ embedding
    return (vector if generator.bias is None else vector + generator.bias).reshape(shape)


def projected(projection: nn.Sequential, embedding: Tensor, eps: float = 1e-5) -> Tensor:
    first, _, second, last = projection
    hidden = (first.weight @ embedding + first.bias).clamp(min=0)
    return norm(second.weight @ hidden + second.bias, last.weight, last.bias, eps)


def outer_products(pair: nn.Module, embedding: Tensor, rows: int, columns: int, rank: int) -> Tensor:
    p, q = generated(pair.p, embedding, rows, rank), generated(pair.q, embedding, columns, rank)
    return sum(torch.outer(p[:, i], q[:, i]) for i in range(rank))


def shared_adapter(method: nn.Module, widths: Mapping[str, int]) -> Adapters:
    def adapter(part: nn.Module) -> Callable[[Tensor], Tensor]:
        def f(x: Tensor) -> Tensor:
            h = norm(x, part.norm_weight[TASK], part.norm_bias[TASK])
            h = F.gelu(h @ part.down.weight[0].T + part.down_bias[0])
            return h @ part.up.weight[0].T + part.up_bias[0]

        return f

    return dict(zip(widths, map(adapter, method.adapters), strict=True))


def hyperformer(method: nn.Module, widths: Mapping[str, int]) -> Adapters:
    def adapter(path: str, d: int, parts: nn.ModuleDict) -> Callable[[Tensor], Tensor]:
        n = d // method.reduction
        if method.literal:  # equation 2
            v = method.tasks[TASK]
            down, up = generated(parts["down"], v, n, d), generated(parts["up"], v, d, n)
            return lambda y: F.gelu(y @ down.T) @ up.T
        layers = [path.rpartition(".")[0] for path in widths if path.endswith("mlp")]
        projection = method.projections[str(layers.index(path.rpartition(".")[0]))]
        v = projected(projection, method.tasks[TASK], eps=1e-6)  # that of the authors' code
        down, down_bias = generated(parts["down"], v, n, d), generated(parts["down_bias"], v, n)
        up, up_bias = generated(parts["up"], v, d, n), generated(parts["up_bias"], v, d)
        scale, shift = generated(parts["norm"], v, d), generated(parts["norm_bias"], v, d)
        return lambda y: norm(F.gelu(y @ down.T + down_bias) @ up.T + up_bias, scale, shift)

    parts = [hypernetwork.parts for hypernetwork in method.hypernetworks]
    return {path: adapter(path, d, part) for (path, d), part in zip(widths.items(), parts, strict=True)}


def one_adapter(own: nn.Module, v: Tensor, d: int, n: int, rank: int) -> dict[str, Tensor]:
    """What the hypernetwork of the tables generates."""
    return {
        "down": outer_products(own.down, v, n, d, rank),
        "down_bias": generated(own.down_bias, v, n),
        "up": outer_products(own.up, v, d, n, rank),
        "up_bias": generated(own.up_bias, v, d),
        "norm": generated(own.norm, v, d),
        "norm_bias": generated(own.norm_bias, v, d),
    }


def applied(w: Mapping[str, Tensor]) -> Callable[[Tensor], Tensor]:
    def f(x: Tensor) -> Tensor:
        h = F.gelu(norm(x, w["norm"], w["norm_bias"]) @ w["down"].T + w["down_bias"])
        return h @ w["up"].T + w["up_bias"]

    return f


def literally_applied(W: Tensor) -> Callable[[Tensor], Tensor]:
    """Equation 1 with W = [W_down; W_up^T], ``(d, 2n)``."""
    down, up_transposed = W.chunk(2, 1)
    return lambda x: F.gelu(x @ down) @ up_transposed.T


def polyhistor(method: nn.Module, widths: Mapping[str, int]) -> Adapters:
    found = {}
    for i, (path, d) in enumerate(widths.items()):
        own, n = method.hypernetworks[i], d // method.reduction
        if method.literal:  # equation 3
            W = outer_products(own, method.tasks[TASK], d, 2 * n, method.rank)
            found[path] = literally_applied(W)
        else:
            v = projected(method.projections[i], method.tasks[TASK])
            found[path] = applied(one_adapter(own, v, d, n, method.rank))
    return found


def polyhistor_lite(method: nn.Module, widths: Mapping[str, int]) -> Adapters:
    found, layers = {}, list(method.layers)
    first = min(widths.values())
    n = first // method.reduction
    for layer, (path, d) in enumerate(widths.items()):
        s = d // first
        pairs = [torch.cat([method.tasks[TASK], layers.pop(0)]) for _ in range(s)]
        if method.literal:  # equations 5 and 6
            alpha = method.kernels["both"][layer][TASK]
            templates = [outer_products(method.hypernetwork, v, first, 2 * n, method.rank) for v in pairs]
            W = sum(torch.kron(template, alpha[i]) for i, template in enumerate(templates))
            found[path] = literally_applied(W)
            continue
        pieces = [
            one_adapter(method.hypernetwork, projected(method.projection, v), first, n, method.rank) for v in pairs
        ]
        weights = {name: torch.cat([piece[name] for piece in pieces]) for name in pieces[0]}
        for name in ("down", "up"):
            alpha = method.kernels[name][layer][0]
            weights[name] = sum(torch.kron(piece[name], alpha[i]) for i, piece in enumerate(pieces))
        found[path] = applied(weights)
    assert not layers
    return found


CASES = [
    ({"type": "SharedAdapter", "reduction": 4}, shared_adapter),
    ({"type": "SharedAdapter", "reduction": 4, "placement": "sequential"}, shared_adapter),
    ({"type": "Hyperformer", "reduction": 4, "embedding": 8}, hyperformer),
    ({"type": "Hyperformer", "reduction": 4, "embedding": 8, "sites": "mlp"}, hyperformer),
    ({"type": "Hyperformer", "reduction": 4, "embedding": 8, "literal": True}, hyperformer),
    ({"type": "Polyhistor", "reduction": 4, "embedding": 8, "rank": 2}, polyhistor),
    ({"type": "Polyhistor", "reduction": 4, "embedding": 8, "rank": 2, "placement": "sequential"}, polyhistor),
    ({"type": "Polyhistor", "reduction": 4, "embedding": 8, "rank": 2, "literal": True}, polyhistor),
    ({"type": "PolyhistorLite", "reduction": 4, "embedding": 8, "rank": 2}, polyhistor_lite),
    ({"type": "PolyhistorLite", "reduction": 4, "embedding": 8, "rank": 2, "literal": True}, polyhistor_lite),
]


@pytest.mark.parametrize("family", ["swin", "vit"])
@pytest.mark.parametrize(("config", "by_hand"), CASES, ids=label)
def test_adapters_are_their_equations(family, config, by_hand):
    encoder, method, plain = prepared(family, config)
    sequential = config["type"] == "Hyperformer" or config.get("placement") == "sequential"
    kinds = ("attn", "mlp") if config["type"] == "Hyperformer" and "sites" not in config else ("mlp",)
    sites = [path for path, _ in plain.model.named_modules() if path.rpartition(".")[2] in kinds]
    widths = {path: plain.model.get_submodule(path.rpartition(".")[0]).norm2.normalized_shape[0] for path in sites}

    def hook(f: Callable[[Tensor], Tensor]) -> Callable:
        return lambda module, inputs, y: y + f(y if sequential else inputs[0])

    for path, f in by_hand(method, widths).items():
        plain.model.get_submodule(path).register_forward_hook(hook(f))
    x = images(family).double()
    compare(run(encoder, method, x, (TASK,)), plain(x), method)
