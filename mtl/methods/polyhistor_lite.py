"""Polyhistor-Lite: one pair of hypernetworks for all layers and tasks; Kronecker kernels fit it to each width.

Paper: https://arxiv.org/abs/2210.03265, sections 4.2 and 4.3, equations 5 and 6:
``W_l^t = sum_i T_l^{t,i} ⊗ α_l^i``, i = 1..s(l), s(l) = C_l / C_1, with templates of width C_1 generated from
the pair [task embedding; embedding of (l, i)].

Site: parallel to the MLP of every layer, as in `polyhistor`; n = floor(C_1/λ), r = max(1, floor(n / rank_divisor)).

Trained, T tasks, L layers:
    (k+1) * (2(C_1+n)r + n + C_1 + 2C_1)              the generators, once
    + (1024*128 + 128 + 128*k + k + 2k)               the projection of a pair of embeddings, once
    + T*512 + 512 * Σ_l s(l)                          embeddings
    + 2 * Σ_l s(l)^3                                  α: s(l) kernels (s x s) for down and as many for up

The paper does not say how biases and the LayerNorm reach a layer's width. Here (`expand`) template i supplies the
i-th of s(l) consecutive pieces of C_1 channels, which takes no further parameter and gives the tables' counts.

Departures: as in `polyhistor`, the start is exact, and the projection has another start and eps than HyperFormer's. The
kernels α_i start as the s cyclic permutations: each block of a layer's weight is then one template, at a template's
size.

`literal=True` is equations 5 and 6 to the letter: embeddings of size k/2, one pair for [down; up^T], kernels α per task
and layer, no biases, LayerNorm or projection:
    k * (C_1 + 2n) * r + (T + Σ_l s(l)) * k/2 + T * Σ_l s(l)^3     (0.155 M on Swin-T; the paper prints 0.41 M)
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn

from mtl.encoders.sites import Site
from mtl.encoders.timm_encoder import TimmEncoder
from mtl.methods.base import Method
from mtl.methods.bottleneck import (
    EMBEDDING,
    GeneratedBottleneck,
    Projection,
    bottleneck_width,
    check_embedding,
    embedding_table,
    layers_of,
    low_rank,
    prefixed,
)
from mtl.methods.polyhistor import BottleneckHypernetwork, LiteralHypernetwork
from mtl.registry import METHODS


def expand(templates: dict[str, Tensor], kernels: dict[str, Tensor]) -> dict[str, Tensor]:
    """Templates of a layer's s pieces to its adapter's tensors.

    Args:
        templates: each ``(T, s, rows, columns)`` or, biases and norm, ``(T, s, width)``.
        kernels: α of "down" and "up", ``(T or 1, s, s, s)``: piece i, then the (s x s) kernel.

    Returns:
        Matrices ``Σ_i template_i ⊗ α_i``, ``(T, s*rows, s*columns)``; vectors side by side, ``(T, s*width)``.
    """
    weights = {}
    for name, template in templates.items():
        if template.dim() == 3:
            weights[name] = template.flatten(1)
            continue
        alpha = kernels[name.partition(".")[0]].expand(len(template), -1, -1, -1)
        rows, columns = template.shape[2] * alpha.shape[2], template.shape[3] * alpha.shape[3]
        weights[name] = torch.einsum("tiac,tibd->tabcd", template, alpha).reshape(-1, rows, columns)
    return weights


def permutations(s: int) -> Tensor:
    """The s cyclic permutations of s elements as matrices, ``(s, s, s)``."""
    return torch.stack([torch.eye(s).roll(shift, dims=1) for shift in range(s)])


@METHODS.register_module()
class PolyhistorLite(Method):
    """See the module's docstring.

    Args:
        reduction: λ, the first stage's width over the template's bottleneck.
        embedding: k, the size of what the generators see.
        rank_divisor: r = max(1, floor(n / rank_divisor)).
        rank: r itself instead.
        placement: "parallel" to the MLP or "sequential".
        init: "normal" or "fan_in", as in `polyhistor`; the scale is that of the first stage's width.
        literal: equations 5 and 6 to the letter.
    """

    per_task = ("tasks", "kernels.both.*")
    why_not_mergeable = "a bottleneck with a GELU is no linear map"

    def __init__(
        self,
        reduction: float = 2,
        embedding: int = 64,
        rank_divisor: int = 4,
        rank: int | None = None,
        placement: str = "parallel",
        init: str = "normal",
        literal: bool = False,
    ) -> None:
        super().__init__()
        check_embedding(embedding)
        if literal and embedding % 2:
            raise ValueError(f"embedding must be even where the pair shares it (literal=True), not {embedding}")
        self.reduction = reduction
        self.embedding = embedding
        self.rank_divisor = rank_divisor
        self.rank = rank
        self.placement = placement
        self.init = init
        self.literal = literal

    def attach(self, encoder: TimmEncoder, tasks: Sequence[str]) -> None:
        sites, scales = self._sites(encoder)
        k, T = self.embedding, len(tasks)
        kind = LiteralHypernetwork if self.literal else BottleneckHypernetwork
        width = k // 2 if self.literal else EMBEDDING
        self.keys, self.scales = [site.path for site in sites], scales
        self.tasks = embedding_table(T, width)
        self.layers = embedding_table(sum(scales), width)
        self.projection = nn.Identity() if self.literal else Projection(2 * EMBEDDING, k)
        self.hypernetwork = kind(k, *self._size(sites), self.init)
        kernels = ("both",) if self.literal else ("down", "up")
        copies = T if self.literal else 1
        self.kernels = nn.ModuleDict(
            {name: nn.ParameterList(permutations(s).repeat(copies, 1, 1, 1) for s in scales) for name in kernels}
        )
        for site in sites:
            self.replace(encoder, site.path, GeneratedBottleneck(self.context, site.path, self.placement))

    def generate(self) -> dict[str, Tensor]:
        T, S = len(self.tasks), len(self.layers)
        pairs = torch.cat([self.tasks[:, None].expand(-1, S, -1), self.layers[None].expand(T, -1, -1)], dim=-1)
        templates = self.hypernetwork(self.projection(pairs.flatten(0, 1)))
        templates = {name: value.unflatten(0, (T, S)) for name, value in templates.items()}
        weights: dict[str, Tensor] = {}
        start = 0
        for layer, (key, s) in enumerate(zip(self.keys, self.scales, strict=True)):
            pieces = {name: value[:, start : start + s] for name, value in templates.items()}
            weights.update(prefixed(key, expand(pieces, self._kernels(layer))))
            start += s
        return weights

    def count(self, encoder: TimmEncoder, num_tasks: int) -> int:
        sites, scales = self._sites(encoder)
        k, cubes = self.embedding, sum(s**3 for s in scales)
        if self.literal:
            embeddings = (num_tasks + sum(scales)) * k // 2
            return LiteralHypernetwork.count(k, *self._size(sites)) + embeddings + num_tasks * cubes
        generators = BottleneckHypernetwork.count(k, *self._size(sites)) + Projection.count(2 * EMBEDDING, k)
        return generators + (num_tasks + sum(scales)) * EMBEDDING + 2 * cubes

    def _kernels(self, layer: int) -> dict[str, Tensor]:
        if self.literal:
            both = cast(nn.ParameterList, self.kernels["both"])[layer]
            # equation 6 is about [W_down; W_up^T], and `down` is applied as W_down^T
            return {"down": both.transpose(-1, -2), "up": both}
        return {name: cast(nn.ParameterList, kernels)[layer] for name, kernels in self.kernels.items()}

    def _sites(self, encoder: TimmEncoder) -> tuple[list[Site], list[int]]:
        """The sites and the scale s(l) of each; widths must be multiples of the first stage's."""
        sites = layers_of(encoder, "mlp")
        first = sites[0].dim
        ragged = [site.dim for site in sites if site.dim % first]
        if ragged:
            raise ValueError(
                f"Polyhistor-Lite needs widths that are multiples of the first stage's {first}: {ragged[0]}"
            )
        return sites, [site.dim // first for site in sites]

    def _size(self, sites: Sequence[Site]) -> tuple[int, int, int]:
        n = bottleneck_width(sites[0].dim, self.reduction)
        return sites[0].dim, n, low_rank(n, self.rank_divisor, self.rank)
