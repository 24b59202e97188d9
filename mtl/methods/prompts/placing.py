"""Where the prompts of each family of token encoders are placed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mtl.encoders.sites import Site
from mtl.encoders.timm_encoder import TimmEncoder
from mtl.encoders.wrappers import innermost
from mtl.methods.base import Method
from mtl.methods.prompts import pvt, swin, vit
from mtl.methods.prompts.pixels import PixelPrompts
from mtl.methods.prompts.stream import Passed, Prompted, PromptedAround, PromptedAttention, Stream


@dataclass(frozen=True)
class Places:
    """The adapters of a family.

    Attributes:
        layer: of a layer.
        attention: of an attention.
        between: of what lies between stages; None where there are none.
        whole_layers: the layer takes prompts as further tokens, and its attention needs no adapter for that.
    """

    layer: type[Prompted]
    attention: type[PromptedAttention]
    between: type[Passed] | None = None
    whole_layers: bool = False


_VIT = Places(vit.ViTLayer, vit.ViTAttention, whole_layers=True)
_PVT = Places(pvt.PVTLayer, pvt.PVTAttention, pvt.PVTEmbedding)

TOKENS = {
    "VisionTransformer": _VIT,
    "VisionTransformerDistilled": _VIT,
    "SwinTransformer": Places(PromptedAround, swin.SwinAttention, swin.SwinMerging),
    "PyramidVisionTransformer": _PVT,
    "PyramidVisionTransformerV2": _PVT,
}
"""Families whose layers take tokens, by the class of the timm model."""


def prepend(
    method: Method, encoder: TimmEncoder, own: Sequence[Site], stream: Stream, prompts: int, dropout: float
) -> None:
    """Prompts for the layers ``own``, carried through all layers after the first of them.

    Without any, the first layer takes what an adapter before it left.
    """
    places, sites, blocks = TOKENS[type(encoder.model).__name__], encoder.sites(), blocks_of(encoder)
    with_own = {site.layer for site in own}
    if own:
        blocks = blocks[[site.layer for site in blocks].index(own[0].layer) :]
    for i, site in enumerate(blocks):
        carries = i + 1 < len(blocks) and blocks[i + 1].layer not in with_own
        if not places.whole_layers:
            _attend(method, encoder, site, places.attention(method.context, stream, carries))
        key, extra = key_of(site) if site.layer in with_own else None, prefix_tokens(encoder, site)
        layer = places.layer(method.context, stream, key, prompts, carries, extra, dropout)
        method.replace(encoder, site.path, layer)
        if carries and blocks[i + 1].stage != site.stage and places.between is not None:
            for after in sites:
                if after.path == f"stages.{site.stage}.norm":
                    method.replace(encoder, after.path, Passed(method.context, stream))
                elif after.kind == "downsample" and after.stage == site.stage + 1:
                    method.replace(encoder, after.path, places.between(method.context, stream))


def prepend_pixels(method: Method, encoder: TimmEncoder, prompts: int, dropout: float) -> None:
    """Prompts through the patch embedding and all layers."""
    # its projection and its norm are adapted: a ViT asks a patch embedding for more than a forward
    stream, projection = Stream(), projection_of(encoder)
    norm = f"{projection.path.rpartition('.')[0]}.norm"
    method.replace(encoder, projection.path, PixelPrompts(method.context, stream, key_of(projection), prompts, dropout))
    if any(site.path == norm for site in encoder.sites()):
        method.replace(encoder, norm, Passed(method.context, stream))
    prepend(method, encoder, (), stream, prompts, dropout)


def prefix(method: Method, encoder: TimmEncoder, own: Sequence[Site], prompts: int, dropout: float) -> None:
    """Keys and values for the attentions of the layers ``own``."""
    attention = TOKENS[type(encoder.model).__name__].attention
    for site in own:
        adapter = attention(method.context, Stream(), False, key_of(site), prompts, dropout)
        _attend(method, encoder, site, adapter)


def _attend(method: Method, encoder: TimmEncoder, block: Site, adapter: PromptedAttention) -> None:
    """Adapt the attention of a layer, inside of other adapters: else each would have to know of prompts."""
    site = next(s for s in encoder.sites() if s.kind == "attn" and s.layer == block.layer)
    method.replace(encoder, innermost(encoder.model, site.path), adapter)


def blocks_of(encoder: TimmEncoder) -> list[Site]:
    return [site for site in encoder.sites() if site.kind == "block"]


def projection_of(encoder: TimmEncoder) -> Site:
    return next(site for site in encoder.sites() if site.kind == "patch_embed.proj")


def key_of(site: Site) -> str:
    """Of a site's prompts in the context's generated tensors."""
    return f"{site.path}.prompts"


def prefix_tokens(encoder: TimmEncoder, site: Site) -> int:
    """Tokens before the patches' in a layer; PVT's class token joins in its last stage."""
    tokens = getattr(encoder.model, "num_prefix_tokens", 0)
    return tokens if encoder.plain or site.stage + 1 == len(encoder.channels) else 0
