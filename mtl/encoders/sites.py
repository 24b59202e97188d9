"""Where methods may attach: the named sites of each encoder family.

timm names its modules uniformly, so a few patterns per family find every place that a published method adapts. A new
family is one entry of `FAMILIES`.
"""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from torch import nn

from mtl.encoders.wrappers import inside, without_wrappers
from mtl.registry import choices


@dataclass(frozen=True)
class Site:
    """A place of an encoder.

    Attributes:
        path: dotted path of the module below the timm model; of the table for `relative_position_bias`.
        kind: what it is, the same word in every family.
        dim: channels of the tokens that enter the module.
        stage: index of the stage, 0 for a plain ViT.
        layer: index of the transformer layer, counted over all stages; None outside of layers.
        module: the module; for `relative_position_bias` the attention that owns the table.
    """

    path: str
    kind: str
    dim: int
    stage: int
    layer: int | None
    module: nn.Module


_LAYER_PARTS = {
    "": "block",
    "norm1": "norm",
    "norm2": "norm",
    "attn": "attn",
    "attn.qkv": "attn.qkv",
    "attn.q": "attn.q",
    "attn.kv": "attn.kv",
    "attn.proj": "attn.proj",
    "attn.sr": "attn.sr",
    "attn.norm": "norm",
    "attn.relative_position_bias_table": "relative_position_bias",
    "mlp": "mlp",
    "mlp.fc1": "mlp.fc1",
    "mlp.fc2": "mlp.fc2",
    "mlp.dwconv": "mlp.dwconv",
    "conv_dw": "conv_dw",
    "norm": "norm",
}


@dataclass(frozen=True)
class Family:
    """What the framework has to know about a family of encoders.

    Attributes:
        layer: pattern of a transformer layer's path, with groups `stage` (optional) and `layer`.
        parts: pattern of a path outside of layers to its kind; a group `stage` where the part belongs to a stage.
        normed: whether the feature maps need a LayerNorm before a decoder, as Swin's do (a residual stream ends
            without one in pre-norm blocks; PVT's decoders in the papers take it as it is).
    """

    layer: str
    parts: dict[str, str]
    normed: bool


_VIT = Family(
    layer=r"blocks\.(?P<layer>\d+)",
    parts={
        r"patch_embed": "patch_embed",
        r"patch_embed\.proj": "patch_embed.proj",
        r"patch_embed\.norm": "norm",
        r"norm_pre": "norm_pre",  # CLIP's, between the position embedding and the first layer
        r"norm": "final_norm",
    },
    normed=True,
)

FAMILIES = {
    "SwinTransformer": Family(
        layer=r"layers\.(?P<stage>\d+)\.blocks\.(?P<layer>\d+)",
        parts={
            r"patch_embed": "patch_embed",
            r"patch_embed\.proj": "patch_embed.proj",
            r"patch_embed\.norm": "norm",
            r"layers\.(?P<stage>\d+)\.downsample": "downsample",
            r"layers\.(?P<stage>\d+)\.downsample\.norm": "norm",
            r"layers\.(?P<stage>\d+)\.downsample\.reduction": "downsample.reduction",
            r"norm": "final_norm",
        },
        normed=True,
    ),
    "PyramidVisionTransformer": Family(
        layer=r"block(?P<stage1>\d+)\.(?P<layer>\d+)",
        parts={
            r"patch_embed1": "patch_embed",
            r"patch_embed1\.proj": "patch_embed.proj",
            r"patch_embed1\.norm": "norm",
            r"patch_embed(?P<stage1>[2-4])": "downsample",
            r"patch_embed(?P<stage1>[2-4])\.norm": "norm",
            r"patch_embed(?P<stage1>[2-4])\.proj": "downsample.reduction",
            r"norm": "final_norm",
        },
        normed=False,
    ),
    "PyramidVisionTransformerV2": Family(
        layer=r"stages\.(?P<stage>\d+)\.blocks\.(?P<layer>\d+)",
        parts={
            r"patch_embed": "patch_embed",
            r"patch_embed\.proj": "patch_embed.proj",
            r"patch_embed\.norm": "norm",
            r"stages\.(?P<stage>\d+)\.norm": "norm",
            r"stages\.(?P<stage>\d+)\.downsample": "downsample",
            r"stages\.(?P<stage>\d+)\.downsample\.norm": "norm",
            r"stages\.(?P<stage>\d+)\.downsample\.proj": "downsample.reduction",
        },
        normed=False,
    ),
    "ConvNeXt": Family(
        layer=r"stages\.(?P<stage>\d+)\.blocks\.(?P<layer>\d+)",
        parts={
            r"stem": "patch_embed",
            r"stem\.0": "patch_embed.proj",
            r"stem\.1": "norm",
            r"stages\.(?P<stage>\d+)\.downsample": "downsample",
            r"stages\.(?P<stage>\d+)\.downsample\.0": "norm",
            r"stages\.(?P<stage>\d+)\.downsample\.1": "downsample.reduction",
            r"norm_pre": "final_norm",
        },
        normed=True,
    ),
    "VisionTransformer": _VIT,
    "VisionTransformerDistilled": _VIT,
}


def family_of(model: type[nn.Module]) -> Family:
    """The family of a timm model's class; `ValueError` lists the supported ones."""
    name = model.__name__
    if name not in FAMILIES:
        raise ValueError(f"no sites are known for the encoder family {name!r}; {choices(FAMILIES, name)}")
    return FAMILIES[name]


def find_sites(model: nn.Module) -> list[Site]:
    """All sites of a timm model, in the order of its modules; what adapters wrap is found inside of them."""
    family = family_of(type(model))
    sites: list[Site] = []
    layers: dict[tuple[int, str], int] = {}
    seen: set[str] = set()
    for path, module in model.named_modules():
        if getattr(module, "is_adapter", False):
            continue
        name, inner = without_wrappers(model, path), inside(module)
        tables = [p for p, _ in inner.named_parameters(recurse=False) if p == "relative_position_bias_table"]
        for part in ("", *tables):
            called = ".".join(filter(None, (name, part)))
            match, kind = _match(called, family)
            if match is None or kind is None or called in seen or isinstance(inner, nn.Identity):
                continue
            seen.add(called)  # the outermost wrapper comes first and stands for what it wraps
            groups = match.groupdict()
            stage = int(groups.get("stage") or int(groups.get("stage1") or 1) - 1)
            if kind == "final_norm":
                stage = sites[-1].stage
            layer = layers.setdefault((stage, groups["layer"]), len(layers)) if "layer" in groups else None
            where = ".".join(filter(None, (path, part)))
            sites.append(Site(where, kind, _entering_channels(inner), stage, layer, inner))
    return sites


def select(sites: Iterable[Site], patterns: str | Sequence[str]) -> list[Site]:
    """The sites whose kind, or whose path by shell wildcards, is one of ``patterns``; every pattern must match."""
    sites = list(sites)
    patterns = [patterns] if isinstance(patterns, str) else list(patterns)
    for pattern in patterns:
        if not any(_selects(pattern, site) for site in sites):
            kinds = {site.kind for site in sites}
            raise ValueError(f"no site of this encoder matches {pattern!r}; {choices(kinds, pattern)}, or a path")
    return [site for site in sites if any(_selects(pattern, site) for pattern in patterns)]


def _selects(pattern: str, site: Site) -> bool:
    return pattern == site.kind or fnmatch.fnmatchcase(site.path, pattern)


def _match(path: str, family: Family) -> tuple[re.Match | None, str | None]:
    match = re.match(family.layer + r"(?:\.|$)", path)
    if match:
        return match, _LAYER_PARTS.get(path[match.end() :])
    for pattern, kind in family.parts.items():
        match = re.fullmatch(pattern, path)
        if match:
            return match, kind
    return None, None


def _entering_channels(module: nn.Module) -> int:
    if isinstance(getattr(module, "dim", None), int):  # timm's blocks, attentions and patch mergings
        return module.dim  # type: ignore[return-value]
    for part in module.modules():
        if isinstance(part, nn.Linear):
            return part.in_features
        if isinstance(part, nn.LayerNorm):
            return part.normalized_shape[0]
        if isinstance(part, nn.Conv2d):
            return part.in_channels
    raise ValueError(f"cannot tell how many channels enter a {type(module).__name__}")
