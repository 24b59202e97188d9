"""Relative bias tuning: train the relative position bias of Swin's attention.

Paper: the Polyhistor benchmark, https://arxiv.org/abs/2210.03265, section 5.2.

Sites: the attention of every layer that has a table, ``((2 window - 1)^2, heads)``. Encoders without tables (ViT, PVT,
ConvNeXt) are not supported.

Trained, T tasks: T * Σ (2 window - 1)^2 * heads; 169 * heads a layer where the window is 7.

Departures: what trains is the difference to the pretrained table, as in `bitfit`.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from mtl.encoders.timm_encoder import TimmEncoder
from mtl.methods.base import Method
from mtl.methods.bias import TABLE, TableChange, tables
from mtl.registry import METHODS


@METHODS.register_module()
class RelativeBias(Method):
    """See the module's docstring."""

    mergeable = True

    def attach(self, encoder: TimmEncoder, tasks: Sequence[str]) -> None:
        for path, attention in self._attentions(encoder):
            self.replace(encoder, path, TableChange(self.context, attention, len(tasks)))

    def count(self, encoder: TimmEncoder, num_tasks: int) -> int:
        attentions = self._attentions(encoder)
        return num_tasks * sum(a.get_parameter(TABLE).numel() for _, a in attentions)

    def _attentions(self, encoder: TimmEncoder) -> list[tuple[str, nn.Module]]:
        found = tables(encoder.model)
        if not found:
            raise ValueError(f"this encoder, {encoder.name}, has no relative position bias to tune, as a Swin has")
        return found
