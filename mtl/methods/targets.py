"""The linear maps of a transformer layer by the names that LoRA's users give them, fused or not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from mtl.encoders.sites import Site
from mtl.registry import choices

PARTS = {
    "attn.qkv": ("q", "k", "v"),
    "attn.q": ("q",),
    "attn.kv": ("k", "v"),
    "attn.proj": ("proj",),
    "mlp.fc1": ("fc1",),
    "mlp.fc2": ("fc2",),
}
"""Kind of a site to the maps that its outputs hold side by side."""


@dataclass(frozen=True)
class Target:
    """A linear layer and which of its parts are adapted.

    Attributes:
        site: of the layer.
        inputs: width of its input.
        outputs: width of one part.
        parts: how many it has.
        chosen: indices of the adapted ones.
    """

    site: Site
    inputs: int
    outputs: int
    parts: int
    chosen: tuple[int, ...]


def find_targets(sites: Sequence[Site], names: str | Sequence[str], rank: int) -> list[Target]:
    """The layers that hold the named maps; `ValueError` for a name it lacks, or a layer narrower than ``rank``."""
    names = [names] if isinstance(names, str) else names
    found: list[Target] = []
    there = {name for site in sites for name in PARTS.get(site.kind, ()) if isinstance(site.module, nn.Linear)}
    if not names:
        raise ValueError(f"no linear map is named to adapt; {choices(there)}")
    for name in names:
        if name not in there:
            raise ValueError(f"this encoder has no linear map {name!r} to adapt; {choices(there, name)}")
    for site in sites:
        parts = PARTS.get(site.kind, ())
        chosen = tuple(i for i, part in enumerate(parts) if part in names)
        if chosen and isinstance(site.module, nn.Linear):
            outputs = site.module.out_features // len(parts)
            found.append(Target(site, site.module.in_features, outputs, len(parts), chosen))
    check_rank(rank, [width for target in found for width in (target.inputs, target.outputs)])
    return found


def check_rank(rank: int, widths: Sequence[int], name: str = "rank") -> None:
    """Raise `ValueError` unless ``rank`` lies within the widths of the layers' inputs and outputs."""
    smallest = min(widths)
    if not 1 <= rank <= smallest:
        raise ValueError(f"{name} must lie between 1 and {smallest}, the smallest adapted layer's width, not {rank}")


def low_rank_product(x: Tensor, down: Tensor, up: Tensor) -> Tensor:
    """``B A x``: ``(..., tokens, inputs)`` through A ``(..., r, inputs)`` and B ``(..., outputs, r)``."""
    return x @ down.to(x.dtype).transpose(-1, -2) @ up.to(x.dtype).transpose(-1, -2)


def add_to_parts(y: Tensor, change: Tensor, parts: int, chosen: Sequence[int]) -> Tensor:
    """A layer's output ``(A*B, ..., parts * outputs)`` with ``change`` on the P chosen, ``(A, P, tokens, outputs)``."""
    pieces = list(y.chunk(parts, -1))
    for i, part in enumerate(chosen):
        pieces[part] = pieces[part] + change[:, i].reshape(pieces[part].shape)
    return pieces[0] if parts == 1 else torch.cat(pieces, -1)
