"""BitFit: train the biases.

Paper: https://arxiv.org/abs/2106.10199, in the form of the Polyhistor benchmark, https://arxiv.org/abs/2210.03265:
every bias of the encoder per task, those of norms and of the patch embedding included, and Swin's relative position
bias.

Sites: every module that has a bias, and the attentions that have a table.

Trained, T tasks: T * (all biases + all tables); on Swin, C_i the stages' widths, d the layers':
    T * (11 Σ d + 2 C_1 + 4 C_1 + 4 C_2 + 4 C_3 + Σ tables)

Departures: what trains is the difference to the pretrained bias, which starts at zero: the same function, an exact
start, and weight decay draws towards the pretrained value instead of zero.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from mtl.encoders.timm_encoder import TimmEncoder
from mtl.methods.base import Method
from mtl.methods.bias import TABLE, BiasChange, TableChange, biased, tables
from mtl.registry import METHODS


@METHODS.register_module()
class BitFit(Method):
    """See the module's docstring.

    Args:
        relative_position_bias: train the tables too, as the benchmark does.
    """

    mergeable = True

    def __init__(self, relative_position_bias: bool = True) -> None:
        super().__init__()
        self.relative_position_bias = relative_position_bias

    def attach(self, encoder: TimmEncoder, tasks: Sequence[str]) -> None:
        modules, attentions = self._places(encoder)
        for path, module in modules:
            self.replace(encoder, path, BiasChange(self.context, module, len(tasks)))
        for path, attention in attentions:
            self.replace(encoder, path, TableChange(self.context, attention, len(tasks)))

    def count(self, encoder: TimmEncoder, num_tasks: int) -> int:
        modules, attentions = self._places(encoder)
        parameters = [module.get_parameter("bias") for _, module in modules]
        parameters += [attention.get_parameter(TABLE) for _, attention in attentions]
        return num_tasks * sum(parameter.numel() for parameter in parameters)

    def _places(self, encoder: TimmEncoder) -> tuple[list[tuple[str, nn.Module]], list[tuple[str, nn.Module]]]:
        return biased(encoder.model), tables(encoder.model) if self.relative_position_bias else []
