"""PVT v1, the Pyramid Vision Transformer (https://arxiv.org/abs/2102.12122), which timm lacks, as a timm model.

Parameter names are those of the published checkpoints (https://github.com/whai362/PVT, Apache 2.0). As there, the
LayerNorms of the patch embeddings and of the spatial reduction have eps 1e-5, all others 1e-6.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from timm.data import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
from timm.layers import (
    DropPath,
    Mlp,
    PatchEmbed,
    global_pool_nlc,
    resample_abs_pos_embed,
    to_2tuple,
    trunc_normal_,
)
from timm.models import build_model_with_cfg, checkpoint, generate_default_cfgs, register_model
from timm.models._features import feature_take_indices
from torch import Tensor, nn

__all__ = ["PyramidVisionTransformer"]

PATCHES = (4, 2, 2, 2)
"""Side of a patch of each stage, on the grid of the stage before it."""
STRIDES = (4, 8, 16, 32)

LayerNorm = partial(nn.LayerNorm, eps=1e-6)


class Attention(nn.Module):
    """Multi-head attention to keys and values on a grid that is ``sr_ratio`` times coarser (spatial reduction)."""

    def __init__(self, dim: int, num_heads: int, sr_ratio: int) -> None:
        super().__init__()
        if dim % num_heads:
            raise ValueError(f"num_heads must divide the width, got {num_heads} heads for {dim} channels")
        self.head_dim = dim // num_heads
        self.q = nn.Linear(dim, dim)
        self.kv = nn.Linear(dim, 2 * dim)
        self.proj = nn.Linear(dim, dim)
        self.sr = nn.Conv2d(dim, dim, sr_ratio, stride=sr_ratio) if sr_ratio > 1 else None
        self.norm = nn.LayerNorm(dim) if sr_ratio > 1 else nn.Identity()

    def forward(self, x: Tensor, feat_size: tuple[int, int]) -> Tensor:
        """``(B, N, C)`` to ``(B, N, C)``; N = H·W of ``feat_size``, and a class token only without reduction."""
        q = self.q(x).unflatten(-1, (-1, self.head_dim)).transpose(1, 2)
        if self.sr is not None:
            x = self.norm(self.sr(_to_map(x, feat_size)).flatten(2).transpose(1, 2))
        k, v = self.kv(x).unflatten(-1, (2, -1, self.head_dim)).permute(2, 0, 3, 1, 4)
        return self.proj(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))


class Block(nn.Module):
    """A pre-norm transformer layer."""

    def __init__(self, dim: int, num_heads: int, mlp_ratio: float, sr_ratio: int, drop_path: float) -> None:
        super().__init__()
        self.norm1 = LayerNorm(dim)
        self.attn = Attention(dim, num_heads, sr_ratio)
        self.drop_path1 = DropPath(drop_path)
        self.norm2 = LayerNorm(dim)
        self.mlp = Mlp(dim, int(dim * mlp_ratio))
        self.drop_path2 = DropPath(drop_path)

    def forward(self, x: Tensor, feat_size: tuple[int, int]) -> Tensor:
        """``(B, N, C)`` to ``(B, N, C)``."""
        x = x + self.drop_path1(self.attn(self.norm1(x), feat_size))
        return x + self.drop_path2(self.mlp(self.norm2(x)))


class PyramidVisionTransformer(nn.Module):
    """Four stages at strides 4, 8, 16, 32, each with a learned position embedding.

    Images of other sizes than ``img_size`` get position embeddings resampled as in the authors' code: bilinear,
    half-pixel centres, no antialiasing.

    Args:
        img_size: side or (H, W) that sets the grids of the position embeddings; multiples of 32.
        in_chans: channels of the images.
        num_classes: classes of the head, 0 for none.
        class_token: whether stage 4 has a class token; None: if ``global_pool`` is not "avg" or "". The authors'
            dense models leave it out.
        global_pool: "token", "avg" or "" (none); None: "token" if there is a class token, else "avg".
        embed_dims: width of each stage.
        depths: layers of each stage.
        num_heads: attention heads of each stage.
        mlp_ratios: width of each stage's MLPs over the stage's.
        sr_ratios: spatial reduction of each stage's keys and values.
        drop_rate: dropout before the head.
        drop_path_rate: stochastic depth of the last layer, falling linearly to 0 at the first.
    """

    def __init__(
        self,
        img_size: int | Sequence[int] = 224,
        in_chans: int = 3,
        num_classes: int = 1000,
        class_token: bool | None = None,
        global_pool: str | None = None,
        embed_dims: Sequence[int] = (64, 128, 320, 512),
        depths: Sequence[int] = (3, 4, 6, 3),
        num_heads: Sequence[int] = (1, 2, 5, 8),
        mlp_ratios: Sequence[float] = (8, 8, 4, 4),
        sr_ratios: Sequence[int] = (8, 4, 2, 1),
        drop_rate: float = 0.0,
        drop_path_rate: float = 0.0,
    ) -> None:
        super().__init__()
        if class_token is None:
            class_token = global_pool not in ("avg", "")
        height, width = _check_size(*to_2tuple(img_size))
        self.in_chans = in_chans
        self.num_features = self.head_hidden_size = embed_dims[-1]
        self.num_stages = len(STRIDES)
        self.num_prefix_tokens = int(class_token)
        self.grad_checkpointing = False
        self.grids = [(height // stride, width // stride) for stride in STRIDES]
        self.feature_info: list[dict[str, Any]] = [
            {"num_chs": dim, "reduction": stride, "module": f"block{i}"}
            for i, (dim, stride) in enumerate(zip(embed_dims, STRIDES, strict=True), start=1)
        ]
        rates = iter(torch.linspace(0, drop_path_rate, sum(depths), device="cpu").tolist())
        for i, dim in enumerate(embed_dims):
            patches = PatchEmbed(None, PATCHES[i], embed_dims[i - 1] if i else in_chans, dim, norm_layer=nn.LayerNorm)
            tokens = math.prod(self.grids[i]) + self._prefix(i)
            layers = [Block(dim, num_heads[i], mlp_ratios[i], sr_ratios[i], next(rates)) for _ in range(depths[i])]
            setattr(self, f"patch_embed{i + 1}", patches)
            setattr(self, f"pos_embed{i + 1}", nn.Parameter(torch.zeros(1, tokens, dim)))
            setattr(self, f"block{i + 1}", nn.ModuleList(layers))
        self.cls_token = nn.Parameter(torch.zeros(1, 1, embed_dims[-1])) if class_token else None
        self.norm: nn.Module = LayerNorm(embed_dims[-1])
        self.head_drop = nn.Dropout(drop_rate)
        self.global_pool = "token" if class_token else "avg"
        self.reset_classifier(num_classes, global_pool)
        for parameter in self.parameters(recurse=False):
            trunc_normal_(parameter, std=0.02)
        self.apply(_init_linear)

    @torch.jit.ignore
    def no_weight_decay(self) -> set[str]:
        return {"cls_token"}

    @torch.jit.ignore
    def group_matcher(self, coarse: bool = False) -> dict[str, Any]:
        stage = r"^(?:patch_embed|pos_embed|block)(\d)"
        layers = [(stage, None)] if coarse else [(r"^block(\d)\.(\d+)", None), (r"^(?:patch|pos)_embed(\d)", (0,))]
        token = (r"^cls_token", (4,) if coarse else (4, 0))
        return {"stem": r"^(?:patch|pos)_embed1", "blocks": [*layers, token, (r"^norm", (99999,))]}

    @torch.jit.ignore
    def set_grad_checkpointing(self, enable: bool = True) -> None:
        self.grad_checkpointing = enable

    def get_classifier(self) -> nn.Module:
        return self.head

    def reset_classifier(self, num_classes: int, global_pool: str | None = None) -> None:
        """A new head for ``num_classes`` (0: none) and, unless it is None, another pooling."""
        pool = self.global_pool if global_pool is None else global_pool
        valid = ("token", "avg", "") if self.num_prefix_tokens else ("avg", "")
        if pool not in valid:
            token = "with" if self.num_prefix_tokens else "without"
            raise ValueError(f"unknown global_pool {pool!r}; valid {token} a class token: {valid}")
        self.global_pool = pool
        self.num_classes = num_classes
        self.head = nn.Linear(self.num_features, num_classes) if num_classes > 0 else nn.Identity()
        self.head.to(next(self.parameters())).train(self.training)

    def prune_intermediate_layers(
        self, indices: int | list[int] = 1, prune_norm: bool = False, prune_head: bool = True
    ) -> list[int]:
        """Remove the stages, the final norm and the head that the maps ``indices`` do not need; returns the indices."""
        taken, last = feature_take_indices(self.num_stages, indices)
        shortened = last + 1 < self.num_stages
        for stage in range(last + 1, self.num_stages):
            for part in ("patch_embed", "pos_embed", "block"):
                delattr(self, f"{part}{stage + 1}")
        if shortened:
            self.num_stages, self.num_prefix_tokens, self.cls_token = last + 1, 0, None
            self.grids = self.grids[: last + 1]
            self.num_features = self.head_hidden_size = self.feature_info[last]["num_chs"]
        if prune_norm or shortened:
            self.norm = nn.Identity()
        if prune_head or shortened:
            self.reset_classifier(0, "")
        return taken

    def forward_intermediates(
        self,
        x: Tensor,
        indices: int | list[int] | None = None,
        norm: bool = False,
        stop_early: bool = False,
        output_fmt: str = "NCHW",
        intermediates_only: bool = False,
    ) -> list[Tensor] | tuple[Tensor, list[Tensor]]:
        """Images ``(B, 3, H, W)`` to maps ``(B, C_i, H/s_i, W/s_i)``, s = 4, 8, 16, 32, without the class token.

        Args:
            x: images.
            indices: the last n stages if an int, all if None, else the stages of these indices.
            norm: apply the final norm to the last stage's map.
            stop_early: do not run the stages after the last one asked for.
            output_fmt: "NCHW".
            intermediates_only: return only the maps; else also, before them, the result of `forward_features`, which
                ``stop_early`` may make the tokens of an earlier stage.
        """
        if output_fmt != "NCHW":
            raise ValueError(f"unknown output_fmt {output_fmt!r}; valid: 'NCHW'")
        taken, last = feature_take_indices(self.num_stages, indices)
        _check_size(*x.shape[-2:])
        maps = []
        for stage in range(last + 1 if stop_early else self.num_stages):
            tokens, feat_size = self._forward_stage(x, stage)
            x = _to_map(tokens, feat_size)
            if stage + 1 == len(STRIDES):
                tokens = self.norm(tokens)
            if stage in taken:
                maps.append(_to_map(tokens, feat_size) if norm else x)
        return maps if intermediates_only else (tokens, maps)

    def forward_features(self, x: Tensor) -> Tensor:
        """Images ``(B, 3, H, W)`` to the last stage's tokens after the final norm, ``(B, [1 +] N, C)``."""
        return self.forward_intermediates(x, indices=1)[0]

    def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        """Tokens ``(B, [1 +] N, C)`` to logits ``(B, num_classes)``; without pooling ``(B, [1 +] N, num_classes)``."""
        x = self.head_drop(global_pool_nlc(x, self.global_pool, self.num_prefix_tokens))
        return x if pre_logits else self.head(x)

    def forward(self, x: Tensor) -> Tensor:
        """Images ``(B, 3, H, W)`` to what `forward_head` gives."""
        return self.forward_head(self.forward_features(x))

    def _prefix(self, stage: int) -> int:
        return self.num_prefix_tokens if stage + 1 == len(STRIDES) else 0

    def _forward_stage(self, x: Tensor, stage: int) -> tuple[Tensor, tuple[int, int]]:
        """A map ``(B, C', H', W')`` to this stage's tokens ``(B, [1 +] N, C)`` and the (H, W) of their grid."""
        feat_size = (x.shape[-2] // PATCHES[stage], x.shape[-1] // PATCHES[stage])
        x = getattr(self, f"patch_embed{stage + 1}")(x)
        if self.cls_token is not None and stage + 1 == len(STRIDES):
            x = torch.cat([self.cls_token.expand(x.shape[0], -1, -1), x], dim=1)
        position = getattr(self, f"pos_embed{stage + 1}")
        x = x + _resample(position, self.grids[stage], feat_size, self._prefix(stage))
        for block in getattr(self, f"block{stage + 1}"):
            x = checkpoint(block, x, feat_size) if self.grad_checkpointing else block(x, feat_size)
        return x, feat_size


def _init_linear(module: nn.Module) -> None:
    if isinstance(module, nn.Linear):
        trunc_normal_(module.weight, std=0.02)
        nn.init.zeros_(module.bias)


def _check_size(height: int, width: int) -> tuple[int, int]:
    stride = STRIDES[-1]
    if height % stride or width % stride:
        raise ValueError(f"PVT takes images whose sides are multiples of {stride}, got (H, W) = ({height}, {width})")
    return height, width


def _to_map(tokens: Tensor, feat_size: tuple[int, int]) -> Tensor:
    """Tokens ``(B, [1 +] N, C)`` to a map ``(B, C, H, W)`` without the class token, a view (channels last)."""
    return tokens[:, -math.prod(feat_size) :].transpose(1, 2).unflatten(2, feat_size)


def _resample(position: Tensor, old: tuple[int, int], new: tuple[int, int], prefix: int) -> Tensor:
    """Position embeddings ``(1, prefix + H·W, C)`` from the grid ``old`` to ``new``; the same tensor if they agree."""
    return resample_abs_pos_embed(
        position, list(new), list(old), num_prefix_tokens=prefix, interpolation="bilinear", antialias=False
    )


def checkpoint_filter_fn(state_dict: Mapping[str, Any], model: PyramidVisionTransformer) -> dict[str, Tensor]:
    """The state dict of ``model`` in an authors' checkpoint.

    Takes off a wrapper ("model", "state_dict"), drops the class token and its position where ``model`` has none, and
    resamples position embeddings of another number of positions, which must be of square images (`ValueError`).
    """
    for wrapper in ("model", "state_dict"):
        state_dict = state_dict.get(wrapper, state_dict)
    state = dict(state_dict)
    if model.cls_token is None:
        state.pop("cls_token", None)
        if "pos_embed4" in state:
            # the authors' dense models keep the position of a token they have not, so counts tell, not names
            state["pos_embed4"] = state["pos_embed4"][:, -(state["pos_embed3"].shape[1] // 4) :]
    for stage, grid in enumerate(model.grids):
        key, prefix = f"pos_embed{stage + 1}", model._prefix(stage)
        positions = state[key].shape[1] - prefix if key in state else math.prod(grid)
        if positions != math.prod(grid):
            side = math.isqrt(positions)
            if side**2 != positions:
                raise ValueError(f"the checkpoint's {key} has {positions} positions, which is no square grid")
            state[key] = _resample(state[key], (side, side), grid, prefix)
    return state


def _create_pvt(variant: str, pretrained: bool, **kwargs: Any) -> PyramidVisionTransformer:
    return build_model_with_cfg(
        PyramidVisionTransformer,
        variant,
        pretrained,
        pretrained_filter_fn=checkpoint_filter_fn,
        feature_cfg={"out_indices": kwargs.pop("out_indices", (0, 1, 2, 3)), "feature_cls": "getter"},
        **kwargs,
    )


def _cfg(name: str) -> dict[str, Any]:
    return {
        "url": f"https://github.com/whai362/PVT/releases/download/v2/{name}.pth",
        "num_classes": 1000,
        "input_size": (3, 224, 224),
        "pool_size": (7, 7),
        "crop_pct": 0.9,
        "interpolation": "bicubic",
        "mean": IMAGENET_DEFAULT_MEAN,
        "std": IMAGENET_DEFAULT_STD,
        "first_conv": "patch_embed1.proj",
        "classifier": "head",
        "license": "apache-2.0",
    }


default_cfgs = generate_default_cfgs(
    {f"{name}.in1k": _cfg(name) for name in ("pvt_tiny", "pvt_small", "pvt_medium", "pvt_large")}
)


@register_model
def pvt_tiny(pretrained: bool = False, **kwargs: Any) -> PyramidVisionTransformer:
    return _create_pvt("pvt_tiny", pretrained, **{"depths": (2, 2, 2, 2), **kwargs})


@register_model
def pvt_small(pretrained: bool = False, **kwargs: Any) -> PyramidVisionTransformer:
    return _create_pvt("pvt_small", pretrained, **{"depths": (3, 4, 6, 3), **kwargs})


@register_model
def pvt_medium(pretrained: bool = False, **kwargs: Any) -> PyramidVisionTransformer:
    return _create_pvt("pvt_medium", pretrained, **{"depths": (3, 4, 18, 3), **kwargs})


@register_model
def pvt_large(pretrained: bool = False, **kwargs: Any) -> PyramidVisionTransformer:
    return _create_pvt("pvt_large", pretrained, **{"depths": (3, 8, 27, 3), **kwargs})
