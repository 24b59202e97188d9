"""SSF: scale and shift what every operation of the encoder returns.

Paper: https://arxiv.org/abs/2210.08823, equation 4, ``y = γ ⊙ x + β``, γ and β one number per channel, N(1, 0.02) and
N(0, 0.02) at the start; equation 5 folds them into the operation before: ``W' = diag(γ) W, b' = γ ⊙ b + β``.

Sites, in the groups that `groups` selects:
    embed       the projection of the patch embedding and, where there are, its norm and the one before the first layer
    norm        the norms of the blocks; PVT's norm of the reduced keys and values too
    attn        qkv, or q and kv; proj; PVT's spatial reduction
    conv_dw     ConvNeXt's depthwise convolution
    mlp         fc1, fc2; between them PVT v2's depthwise convolution
    final       the final norm, where the encoder keeps it (`final_norm` of the encoder: a classifier's); the norms at
                the end of PVT v2's stages; ConvNeXt's last map, the output of its last block
    downsample  between stages: the norm, and the convolution (Swin's merging: only its norm, of 4C channels)
By default all that the encoder has but `downsample`: the paper's text has SSF between stages too, the counts in its
tables and the authors' released code have none there. Name the group, with all the others, to add it.

Trained, T tasks: T * 2 * (the channels that the sites return); with a scalar scale T * Σ (1 + channels). L layers of
width d, C_i the stages' widths, the final norm counted:
    ViT       T * 2 * (11 L d + 2d), CLIP's T * 2 * (11 L d + 3d)
    Swin      T * 2 * (11 Σ d + 2 C_1 + C_4), with downsample T * 2 * 4 (C_1 + C_2 + C_3) more
    ConvNeXt  T * 2 * (7 Σ d + 2 C_1 + C_4), with downsample T * 2 * (C_1 + 2 C_2 + 2 C_3 + C_4) more

Merged: into the linear map, convolution or LayerNorm of each site, where a bias is made if there is none; fc2 and proj
so come before a LayerScale. Two sites have nothing to fold into, and `merge` raises where they are adapted: ConvNeXt's
last map, a residual sum (leave out "final"; the authors' code has it there too), and a norm without weights.

Departures: γ and β are each task's own. What trains is γ - 1, so that weight decay, which the paper keeps off γ and β,
draws towards the frozen encoder instead of zero. ConvNeXt's norms of maps divide by n, as timm's; in the authors' copy
by n - 1. The PVTs, which the paper does not have, follow the same rule: every operation but those between stages.
`init="identity"` starts at γ = 1, β = 0 instead: exactly at the frozen encoder.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from mtl.encoders.sites import Site
from mtl.encoders.timm_encoder import TimmEncoder
from mtl.encoders.wrappers import own_modules
from mtl.methods.base import Adapter, Method, TaskContext
from mtl.methods.channels import along_channels, channel_axis
from mtl.registry import METHODS, choices

STD = 0.02
"""Standard deviation of γ and β at the start."""

INITS = ("normal", "identity")
SCALES = ("channel", "scalar", "none")

GROUPS = {
    "patch_embed.proj": "embed",
    "norm_pre": "embed",
    "downsample.reduction": "downsample",
    "attn.qkv": "attn",
    "attn.q": "attn",
    "attn.kv": "attn",
    "attn.proj": "attn",
    "attn.sr": "attn",
    "conv_dw": "conv_dw",
    "mlp.fc1": "mlp",
    "mlp.dwconv": "mlp",
    "mlp.fc2": "mlp",
    "final_norm": "final",
}
"""Kind of a site to its group; the norms', whose kind is one, depend on where they are."""

NORMED = {"patch_embed": "embed", "downsample": "downsample"}
"""Kind of what a norm outside of blocks belongs to, to its group."""


class ScaleShift(Adapter):
    """``γ ⊙ y + β`` on the output of a module.

    Args:
        channels: that the module returns.
        axis: where it has them.
        scale: of `SCALES`.
        shift: whether there is a β.
        std: of γ and β at the start.
    """

    def __init__(
        self, context: TaskContext, num_tasks: int, channels: int, axis: int, scale: str, shift: bool, std: float
    ) -> None:
        super().__init__(context)
        self.axis = axis
        widths = {"channel": channels, "scalar": 1, "none": 0}
        self.scale = _normal(std, num_tasks, widths[scale]) if widths[scale] else None  # γ - 1
        self.shift = _normal(std, num_tasks, channels) if shift else None
        self.per_task = tuple(name for name, _ in self.named_parameters())

    def post(self, x: Tensor, y: Tensor) -> Tensor:
        y = self.context.split(y)
        if self.scale is not None:
            y = y * along_channels(1 + self.context.pick(self.scale), y, self.axis).to(y.dtype)
        if self.shift is not None:
            y = y + along_channels(self.context.pick(self.shift), y, self.axis).to(y.dtype)
        return y.flatten(0, 1)

    def merged(self, base: nn.Module, task: int) -> nn.Module:
        weight = base.get_parameter("weight")
        if base._parameters.get("bias") is None and self.shift is not None:
            base.bias = nn.Parameter(weight.new_zeros(len(weight)), requires_grad=False)
        bias = base._parameters.get("bias")
        with torch.no_grad():
            if self.scale is not None:
                # the outputs are the first axis of every weight: linear, convolution (depthwise too), LayerNorm
                scale = 1 + self.scale[task]
                weight.mul_(scale.reshape(-1, *[1] * (weight.dim() - 1)))
                if bias is not None:
                    bias.mul_(scale)
            if bias is not None and self.shift is not None:
                bias.add_(self.shift[task])
        return base


def _normal(std: float, *shape: int) -> nn.Parameter:
    return nn.Parameter(std * torch.randn(shape))


@METHODS.register_module()
class SSF(Method):
    """See the module's docstring.

    Args:
        groups: which of the docstring's groups are adapted; None for the paper's, all that the encoder has but
            "downsample".
        blocks: adapt the first n blocks only (what is outside of blocks stays); None for all.
        scale: a γ per "channel", one "scalar" per site, or "none".
        shift: train β.
        init: "normal", the paper's, or "identity".
    """

    mergeable = True

    def __init__(
        self,
        groups: str | Sequence[str] | None = None,
        blocks: int | None = None,
        scale: str = "channel",
        shift: bool = True,
        init: str = "normal",
    ) -> None:
        super().__init__()
        if scale not in SCALES:
            raise ValueError(f"unknown scale {scale!r}; {choices(SCALES, str(scale))}")
        if init not in INITS:
            raise ValueError(f"unknown init {init!r}; {choices(INITS, str(init))}")
        if scale == "none" and not shift:
            raise ValueError("SSF without scale and shift trains nothing; leave one of them on")
        self.groups = groups
        self.blocks = blocks
        self.scale = scale
        self.shift = shift
        self.std = STD if init == "normal" else 0.0
        self.exact_start = init == "identity"

    def attach(self, encoder: TimmEncoder, tasks: Sequence[str]) -> None:
        for group, site in self._places(encoder):
            axis = 1 if site.kind == "block" else channel_axis(site.module)
            options = (returned_channels(site), axis, self.scale, self.shift, self.std)
            self.replace(encoder, site.path, ScaleShift(self.context, len(tasks), *options))
            if site.module._parameters.get("weight") is None:
                self.mergeable = False
                self.why_not_mergeable = f"{site.path!r}, group {group!r}, has no weight to fold them into"

    def count(self, encoder: TimmEncoder, num_tasks: int) -> int:
        channels = [returned_channels(site) for _, site in self._places(encoder)]
        scales = {"channel": sum(channels), "scalar": len(channels), "none": 0}
        return num_tasks * (scales[self.scale] + self.shift * sum(channels))

    def _places(self, encoder: TimmEncoder) -> list[tuple[str, Site]]:
        found = grouped(encoder.sites())
        if self.groups is None:
            _check_all_known(encoder)
        there = {group for group, _ in found}
        default = there - {"downsample"}
        wanted = [self.groups] if isinstance(self.groups, str) else default if self.groups is None else self.groups
        for group in wanted:
            if group not in there:
                raise ValueError(f"this encoder has nothing in SSF's group {group!r}; {choices(there, str(group))}")
        depth = 1 + max(site.layer for _, site in found if site.layer is not None)
        if self.blocks is not None and self.blocks not in range(depth + 1):
            raise ValueError(f"blocks must lie between 0 and {depth}, this encoder's depth, not {self.blocks!r}")
        inside = range(depth if self.blocks is None else self.blocks)
        found = [(g, site) for g, site in found if g == "final" or site.layer is None or site.layer in inside]
        found = [(group, site) for group, site in found if group in wanted]
        if not found:
            raise ValueError(f"SSF with groups={self.groups!r} and blocks={self.blocks!r} adapts nothing")
        return found


def _check_all_known(encoder: TimmEncoder) -> None:
    """SSF follows every operation: `ValueError` where the encoder has one that is no site."""
    known = {id(site.module) for site in encoder.sites()}
    for path, module in own_modules(encoder.model):
        if module._parameters.get("weight") is not None and id(module) not in known:
            raise ValueError(
                f"SSF follows every operation, and {path!r} of {encoder.name}, {type(module).__name__}, is none that it"
                " knows; name the groups to adapt (groups=...) to leave it out"
            )


def grouped(sites: Sequence[Site]) -> list[tuple[str, Site]]:
    """The sites of SSF with their groups; inner modules before what is around them, as replacing changes paths."""
    kinds = {site.path: site.kind for site in sites}
    found = [(group, site) for site in sites if (group := _group(site, kinds)) is not None]
    if "conv_dw" in kinds.values() and "final_norm" not in kinds.values():
        found.append(("final", [site for site in sites if site.kind == "block"][-1]))
    return found


def _group(site: Site, kinds: Mapping[str, str]) -> str | None:
    if site.kind == "downsample.reduction" and isinstance(site.module, nn.Linear):
        return None  # Swin's merging
    if site.kind != "norm":
        return GROUPS.get(site.kind)
    if site.layer is not None:
        return "norm"
    owner = site.path
    while owner and kinds.get(owner) not in NORMED:
        owner = owner.rpartition(".")[0]
    return NORMED[kinds[owner]] if owner else "final"


def returned_channels(site: Site) -> int:
    """How many channels the module at a site of SSF returns."""
    module = site.module
    if isinstance(module, nn.Linear):
        return module.out_features
    if isinstance(module, nn.Conv2d):
        return module.out_channels
    return site.dim  # a norm or a block
