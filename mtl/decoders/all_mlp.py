"""SegFormer's all-MLP head (https://arxiv.org/abs/2105.15203, section 3.2, equation 4).

A linear layer per scale, a linear fuse of the upsampled, concatenated scales, BN, ReLU, dropout, classifier. A 1x1
convolution commutes with bilinear upsampling (both are linear, the weights of the latter sum to one), so every scale
is fused at its own resolution and the upsampled results are summed: the same function without the concatenation of
all scales at the finest one.

Parameters, with c ``channels``, n scales and K ``out_channels``: Σ(C_i + 1)c + nc² + 2c + (c + 1)K;
``input_norm`` adds 2ΣC_i; ``norm_per_scale`` adds nc (two per channel of a BN, for one bias).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from mtl.registry import DECODERS


@DECODERS.register_module()
class AllMLP(nn.Module):
    """The all-MLP head of SegFormer.

    With ``norm_per_scale`` it is mmseg's `SegformerHead`. Initialised as there: linear layers Kaiming-normal (fan-out),
    classifier N(0, 0.01); but per-scale layers without a norm start as PyTorch's do, as in the paper's own code.

    Args:
        in_channels: C_i of the feature maps, finest first.
        out_channels: K, the channels of the logits.
        channels: width of the head.
        dropout: probability that `Dropout2d` drops a channel before the classifier.
        input_norm: a LayerNorm over the channels of each feature map (for Swin, whose stages end without one).
        norm_per_scale: BN and ReLU instead of a bias after each per-scale layer, as in mmseg.
    """

    def __init__(
        self,
        in_channels: Sequence[int],
        out_channels: int,
        channels: int = 256,
        dropout: float = 0.1,
        input_norm: bool = False,
        norm_per_scale: bool = False,
    ) -> None:
        super().__init__()
        if not in_channels or min(*in_channels, out_channels, channels) < 1:
            raise ValueError(
                "AllMLP needs positive channels, one for each feature map; "
                f"got in_channels={list(in_channels)}, out_channels={out_channels}, channels={channels}"
            )
        self.in_channels = tuple(in_channels)
        self.scales = nn.ModuleList(_Scale(c, channels, input_norm, norm_per_scale) for c in in_channels)
        self.norm = _norm_relu(channels)
        self.dropout = nn.Dropout2d(dropout)
        self.classifier = nn.Conv2d(channels, out_channels, 1)
        nn.init.normal_(self.classifier.weight, std=0.01)
        nn.init.zeros_(self.classifier.bias)  # type: ignore[arg-type]

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        """Feature maps ``(B, C_i, H_i, W_i)``, finest first, to logits ``(B, K, H_1, W_1)``; B may be 0."""
        channels = tuple(f.shape[1] for f in features)
        if channels != self.in_channels:
            raise ValueError(f"AllMLP takes feature maps of channels {self.in_channels}, got {channels}")
        size = features[0].shape[-2:]
        shares = [scale(feature) for scale, feature in zip(self.scales, features, strict=True)]
        fused = shares[0]
        for share in shares[1:]:
            fused = fused + F.interpolate(share, size=size, mode="bilinear", align_corners=False)
        return self.classifier(self.dropout(self.norm(fused)))


class _Scale(nn.Module):
    """One feature map ``(B, C, H, W)`` to its share of the fused map, ``(B, c, H, W)``."""

    def __init__(self, in_channels: int, channels: int, input_norm: bool, norm: bool) -> None:
        super().__init__()
        self.input_norm = nn.LayerNorm(in_channels) if input_norm else nn.Identity()
        self.linear = nn.Linear(in_channels, channels, bias=not norm)
        self.norm = _norm_relu(channels) if norm else None
        self.fuse = nn.Linear(channels, channels, bias=False)
        for linear in (self.linear, self.fuse) if norm else (self.fuse,):
            nn.init.kaiming_normal_(linear.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, feature: Tensor) -> Tensor:
        x = self.input_norm(feature.movedim(1, -1))
        if self.norm is not None:
            x = self.norm(self.linear(x).movedim(-1, 1)).movedim(1, -1)
            return self.fuse(x).movedim(-1, 1)
        # (fuse linear) x, not fuse (linear x): c² less work per pixel and one map less to keep for the backward pass
        fuse = self.fuse.weight
        return F.linear(x, fuse @ self.linear.weight, fuse @ self.linear.bias).movedim(-1, 1)


def _norm_relu(channels: int) -> nn.Sequential:
    return nn.Sequential(nn.BatchNorm2d(channels), nn.ReLU(inplace=True))
