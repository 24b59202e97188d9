"""VPT: learned prompts beside the tokens of a frozen encoder.

Paper: https://arxiv.org/abs/2203.12119, equations 4, 5 and 7; in the Polyhistor benchmark
(https://arxiv.org/abs/2210.03265, section 5.2) for each task, p = 50:

    shallow: [x₁, Z₁, E₁] = L₁([x₀, P, E₀]),  [xᵢ, Zᵢ, Eᵢ] = Lᵢ([xᵢ₋₁, Zᵢ₋₁, Eᵢ₋₁])
    deep:    [xᵢ, _, Eᵢ] = Lᵢ([xᵢ₋₁, Pᵢ₋₁, Eᵢ₋₁])

x the class token, E the patches, P the prompts. They start at U(-v, v), v = sqrt(6 / (3 * patch² + d)).

Sites: every layer from the first with prompts on; Swin's and PVT's attentions; the patch mergings and embeddings
between stages that shallow prompts pass. Swin: a copy of the prompts in every window, without relative bias and mask,
what becomes of them averaged over the windows; a merging takes a prompt's channels four times. PVT:
`mtl.methods.prompts.pvt`. Prefix: in the attentions alone, keys and values instead of the tokens that they are made
of, cheaper to run. ConvNeXt: a border of p pixels around the image (``form="border"``), on its stem. Every family: p
learned channels beside the image's (``form="concat-channel"``), with weights of their own in the patch embedding.

Trained, T tasks, layers with prompts of width d (the first, all, or those that ``layers`` says):
    prepend: T * Σ p d   prefix: T * Σ 2 p d   add: T * Σ N d, N patches   add-1: T * Σ d
    prepend-pixel: T * 3 p P², P the patch embedding's kernel   border: T * 6p (H + W + 2p)
    concat-channel: T * p (H W + d P²)
    ``shared``: 1 for p (within), one layer for all of a stage (across)
    ``project``: k for d, and for each stage T * (k d + d)

An exact start is impossible: even prompts of zeros take part in attention. Nor can prompts be merged: no weight of the
encoder stands for tokens that are not of the image.

Departures: prompts are dropped before a feature map is taken, here after every layer, which changes nothing; across
shares within a stage, since widths differ between stages; prompts that no later layer goes on with are keys and values
alone; the border's image is resized to its old size, and its part is cut out of the maps
(`mtl.methods.prompts.border`). In concat-channel the image's part of the patch embedding stays the pretrained one; the
authors' code draws the whole embedding of 3 + p channels anew and trains it. The start's d is that of the prompts' own
stage, where the authors take the first stage's, and the border starts as prompts do, not at U(0, 1) before the image's
normalisation. With ``layers``, prompts pass through the layers after them unchanged in number, as in the authors' code.
What other methods place around a whole attention does not see prompts in Swin and PVT.

Slips of the authors' code that are not followed: with more than one image shallow prompts in Swin mix the images'
windows, so that a result depends on the batch; prompts of the last n layers take the place of p patches at the first of
these layers; "add" and "add-1" give the class token a prompt too; in Swin one dropout mask serves the whole batch.
Their dropout is 0 unless a config says otherwise, and 0.1 in their demonstrations.

Left out: the paper's start from class means, as random prompts did best there (appendix B), and its choice of what is
pooled (class token, patches, prompts) to one vector for an image: dense maps are the patches.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import cast

from torch import Tensor, nn

from mtl.encoders.sites import Site
from mtl.encoders.timm_encoder import TimmEncoder
from mtl.methods.base import Method
from mtl.methods.prompts.added import Added
from mtl.methods.prompts.bank import Bank, StageShape, start_bound
from mtl.methods.prompts.border import Border, frame
from mtl.methods.prompts.concat import Channels, concat_channels
from mtl.methods.prompts.placing import (
    TOKENS,
    blocks_of,
    key_of,
    prefix,
    prefix_tokens,
    prepend,
    prepend_pixels,
    projection_of,
)
from mtl.methods.prompts.stream import Stream
from mtl.registry import METHODS, choices

DEFAULTS = {
    "prepend": 50,
    "prefix": 50,
    "prepend-pixel": 50,
    "add": None,
    "add-1": None,
    "border": 5,
    "concat-channel": 1,
}
"""Form to its number of prompts; None where it follows from the form."""

SHARED = ("within", "across", "both")


@METHODS.register_module()
class VPT(Method):
    """See the module's docstring.

    Args:
        deep: prompts of their own for every layer instead of the first alone.
        prompts: p; 50 by default, 5 pixels of a border, 1 channel; the forms that add have no choice.
        form: "prepend" tokens, "prefix" keys and values, "prepend-pixel" patches of the image, "add" one to each
            patch, "add-1" to all patches, "border" around the image (ConvNeXt), or "concat-channel" to it.
        layers: with ``deep``, n for the first n layers, -n for the last n; None for all.
        shared: the prompts of a layer are the same ("within"), those of a stage's layers are ("across"), or "both".
        project: k, the width of prompts that a linear map of their task and stage takes to the layers' width.
        dropout: of the prompts, while training.
    """

    exact_start = False
    why_not_mergeable = "no weight stands for a prompt"
    per_task = ("bank.*",)

    def __init__(
        self,
        deep: bool = False,
        prompts: int | None = None,
        form: str = "prepend",
        layers: int | None = None,
        shared: str | None = None,
        project: int | None = None,
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        if form not in DEFAULTS:
            raise ValueError(f"unknown form {form!r} of prompts; {choices(DEFAULTS, str(form))}")
        if shared is not None and shared not in SHARED:
            raise ValueError(f"prompts cannot be shared {shared!r}; {choices(SHARED, str(shared))}, or None")
        if DEFAULTS[form] is None and (prompts is not None or shared in ("within", "both")):
            raise ValueError(f"form {form!r} sets the number of prompts of a layer; leave out prompts, share across")
        if form in ("border", "concat-channel") and (deep or shared or project or layers):
            raise ValueError(
                f"form {form!r} is of the image: deep, layers, shared and project are for prompts in layers"
            )
        if form == "prepend-pixel" and (deep or project):
            raise ValueError("form 'prepend-pixel' has prompts before the first layer: deep and project are for others")
        if layers is not None and not deep:
            raise ValueError("layers chooses among deep prompts; set deep=True or leave it out")
        for name, value in {"prompts": prompts, "project": project}.items():
            if value is not None and value < 1:
                raise ValueError(f"{name} must be 1 or more, not {value}")
        if not 0 <= dropout < 1:
            raise ValueError(f"dropout must be 0 or more and below 1, not {dropout}")
        self.deep = deep
        self.prompts = prompts or DEFAULTS[form] or 1
        self.form = form
        self.layers = layers
        self.shared = shared
        self.project = project
        self.dropout = dropout

    def attach(self, encoder: TimmEncoder, tasks: Sequence[str]) -> None:
        self._check(encoder)
        patch, own = encoder.model.feature_info[0]["reduction"], self._own(encoder)
        bound = start_bound(patch, encoder.model.feature_info[0]["num_chs"])
        if self.form == "border":
            self.bank: nn.Module = Border(len(tasks), self.prompts, encoder.size, bound)
            frame(self, encoder, self.prompts, self.dropout)
            return
        if self.form == "concat-channel":
            projection = cast(nn.Conv2d, projection_of(encoder).module)
            self.bank = Channels(len(tasks), self.prompts, encoder.size, projection, bound)
            concat_channels(self, encoder, self.dropout)
            return
        self.bank = Bank(self._shapes(encoder), len(tasks), patch)
        if self.form == "prefix":
            prefix(self, encoder, own, self.prompts, self.dropout)
        elif self.form == "prepend-pixel":
            prepend_pixels(self, encoder, self.prompts, self.dropout)
        elif self.form == "prepend":
            prepend(self, encoder, own, Stream(), self.prompts, self.dropout)
        else:
            for site in own:
                adapter = Added(self.context, key_of(site), prefix_tokens(encoder, site), self.dropout)
                self.replace(encoder, site.path, adapter)

    def generate(self) -> dict[str, Tensor]:
        return self.bank()

    def count(self, encoder: TimmEncoder, num_tasks: int) -> int:
        self._check(encoder)
        if self.form == "border":
            return num_tasks * 6 * self.prompts * (sum(encoder.size) + 2 * self.prompts)
        if self.form == "concat-channel":
            weights = projection_of(encoder).module.get_parameter("weight")[:, 0].numel()
            return num_tasks * self.prompts * (math.prod(encoder.size) + weights)
        return num_tasks * sum(shape.count() for shape in self._shapes(encoder))

    def _shapes(self, encoder: TimmEncoder) -> list[StageShape]:
        if self.form == "prepend-pixel":
            site, p = projection_of(encoder), 1 if self.shared in ("within", "both") else self.prompts
            return [StageShape((key_of(site),), 1, p, site.module.get_parameter("weight")[0].numel(), None)]
        stages: dict[int, list[Site]] = {}
        for site in self._own(encoder):
            stages.setdefault(site.stage, []).append(site)
        shapes = []
        for stage, sites in stages.items():
            rows = 1 if self.shared in ("across", "both") else len(sites)
            prompts = 1 if self.shared in ("within", "both") else self.prompts
            if self.form == "add":
                stride = encoder.model.feature_info[stage]["reduction"]
                prompts = math.prod(-(-side // stride) for side in encoder.size)
            width = sites[0].dim * (2 if self.form == "prefix" else 1)
            shapes.append(StageShape(tuple(map(key_of, sites)), rows, prompts, width, self.project))
        return shapes

    def _own(self, encoder: TimmEncoder) -> list[Site]:
        """The layers that have prompts of their own."""
        blocks = blocks_of(encoder)
        if not self.deep:
            return blocks[:1]
        if self.layers is None:
            return blocks
        if not 1 <= abs(self.layers) <= len(blocks):
            raise ValueError(
                f"layers must be 1..{len(blocks)} (the first) or -1..-{len(blocks)} (the last) here, not {self.layers}"
            )
        return blocks[: self.layers] if self.layers > 0 else blocks[self.layers :]

    def _check(self, encoder: TimmEncoder) -> None:
        family = type(encoder.model).__name__
        forms = [form for form in DEFAULTS if form != "border"] if family in TOKENS else []
        if family == "ConvNeXt":
            forms = ["border", "concat-channel"]
        if self.form not in forms:
            raise ValueError(f"this encoder, {family}, takes no prompts of form {self.form!r}; {choices(forms)}")
