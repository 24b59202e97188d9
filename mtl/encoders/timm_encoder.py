"""A frozen timm model as an encoder: create, size, load, freeze; then four feature maps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from mmengine.logging import print_log
from torch import Tensor, nn

from mtl.encoders.pyramid import STRIDES, to_pyramid
from mtl.encoders.sites import Site, family_of, find_sites
from mtl.encoders.swin import pad_first
from mtl.encoders.timm_models import check_model_arguments, create_model, size_arguments
from mtl.encoders.weights import fingerprint, load_into, locate
from mtl.registry import ENCODERS


@ENCODERS.register_module()
class TimmEncoder(nn.Module):
    """A timm vision transformer, frozen, as four maps ``(B, C_i, H/s_i, W/s_i)``, s = 4, 8, 16, 32.

    The timm model is `model`, made with `arguments`; methods replace modules inside it. Its classifier is removed, and
    so is its final norm unless it is asked for.

    Args:
        name: a timm model name of a supported family (`mtl.encoders.sites.FAMILIES`).
        size: (H, W) of the images, multiples of `divisor`. Other sizes work at run time too, with what the model has
            for this one: a Swin built for a small size does not shift the windows that cover a whole map of it.
        weights: True for timm's hub, a ``.safetensors`` or ``.pth`` file, ``mtl:NAME`` for weights that ship with
            this package, None for a random start, False where the caller loads them (a random start, unsaid).
        taps: for a plain ViT the four layers whose outputs are taken; the default is every fourth of its depth.
        options: further arguments of the timm model (``embed_dim``, ``drop_path_rate``), see
            `mtl.encoders.timm_models.check_model_arguments`.
        frozen_eval: keep the frozen part in eval mode (no drop-path, no dropout) while training.
        final_norm: keep the final norm and apply it to the last map (to every map of a plain ViT), as classifiers do.
    """

    model: Any  # timm's models have no common type

    def __init__(
        self,
        name: str,
        size: Sequence[int] = (512, 512),
        weights: str | bool | None = None,
        taps: Sequence[int] | None = None,
        options: Mapping[str, Any] | None = None,
        frozen_eval: bool = True,
        final_norm: bool = False,
    ) -> None:
        super().__init__()
        if len(size) != 2:
            raise ValueError(f"an encoder's size is (H, W), not {size!r}")
        self.name = name
        self.size = (size[0], size[1])
        self.frozen_eval = frozen_eval
        self.final_norm = final_norm
        self.trained = False
        options = options or {}
        check_model_arguments(name, options)
        self.arguments = {**size_arguments(name, self.size), **options}
        self.model = create_model(name, weights is True, self.arguments)
        pad_first(self.model)
        family = family_of(type(self.model))
        self.normed = family.normed
        self.plain = len({info["reduction"] for info in self.model.feature_info}) == 1
        depth = len(self.model.feature_info)
        self.taps = list(taps) if taps is not None else [depth * (i + 1) // 4 - 1 for i in range(4)]
        if len(self.taps) != 4 or not all(0 <= tap < depth for tap in self.taps):
            raise ValueError(f"taps must be four layers out of 0..{depth - 1}, not {self.taps}")
        self.channels = [self.model.feature_info[tap]["num_chs"] for tap in self.taps]
        patch = self.model.feature_info[0]["reduction"]
        self.divisor = patch if self.plain else STRIDES[-1]
        strides = [self.model.feature_info[tap]["reduction"] for tap in self.taps]
        if not self.plain and strides != list(STRIDES):
            raise ValueError(f"encoder.options: the maps of {name} have the strides {strides}, not {list(STRIDES)}")
        self._check_size(size)
        self.model.prune_intermediate_layers(self.taps, prune_norm=not final_norm, prune_head=True)
        for head in ("head", "head_dist"):  # ConvNeXt's keeps a norm, the distilled DeiT has a second one
            if any(True for _ in getattr(self.model, head, nn.Identity()).parameters()):
                setattr(self.model, head, nn.Identity())
        if final_norm and not any(site.kind == "final_norm" for site in self.sites()):
            raise ValueError(f"{name} has no final norm before its pooling to keep; leave out final_norm")
        config = self.model.pretrained_cfg
        self.mean, self.std = tuple(config["mean"]), tuple(config["std"])
        if isinstance(weights, str):
            load_into(self.model, locate(weights))
        elif weights is None:
            print_log(f"encoder {name}: random weights, nothing is pretrained", "current", level=30)
        self.fingerprint = fingerprint(self.model)
        self.parameter_count = sum(p.numel() for p in self.model.parameters())
        self.model.requires_grad_(False)
        self.model.eval()

    def sites(self) -> list[Site]:
        """The sites of the model as it is now; ask before attaching."""
        return find_sites(self.model)

    def unfreeze(self) -> None:
        """Make every base weight trainable and let the model follow train mode (full fine-tuning)."""
        self.trained = True
        self.model.requires_grad_(True)
        self.train(self.training)

    def train(self, mode: bool = True) -> TimmEncoder:
        super().train(mode)
        if not self.trained and self.frozen_eval:
            self.model.eval()
            for part in self.model.modules():
                if getattr(part, "is_adapter", False):
                    part.train(mode)
        return self

    def forward(self, images: Tensor) -> list[Tensor]:
        """``(B, 3, H, W)``, normalised, to four maps ``(B, C_i, ceil(H/s_i), ceil(W/s_i))``."""
        maps = self.model.forward_intermediates(
            images, indices=self.taps, norm=self.final_norm, output_fmt="NCHW", intermediates_only=True
        )
        return to_pyramid(maps, (images.shape[-2], images.shape[-1])) if self.plain else maps

    def empty_maps(self, images: Tensor) -> list[Tensor]:
        """The maps of no image, of the sizes that ``images`` would give: what a process without labels decodes."""
        H, W = images.shape[-2:]
        return [images.new_empty(0, c, -(-H // s), -(-W // s)) for c, s in zip(self.channels, STRIDES, strict=True)]

    def _check_size(self, size: Sequence[int]) -> None:
        if any(side <= 0 or side % self.divisor for side in size):
            raise ValueError(f"{self.name} takes images whose sides are multiples of {self.divisor}, not {tuple(size)}")
