"""The arguments of a timm model that a config may give: those of its architecture.

Everything else that timm takes in the same place decides where weights come from, what is written to a cache, or what
kind of model comes out (``pretrained_cfg``, ``checkpoint_path``, ``features_only``); `TimmEncoder` decides these.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from mtl.registry import choices
from mtl.utils.plain import is_number, short

ARCHITECTURE = (
    *("depth", "depths", "embed_dim", "embed_dims", "dims", "num_heads", "head_dim", "in_chans", "patch_size"),
    *("mlp_ratio", "mlp_ratios", "sr_ratios", "window_size", "kernel_sizes", "stem_type", "linear", "reg_tokens"),
    *("qkv_bias", "qk_norm", "proj_bias", "conv_bias", "conv_mlp", "use_grn", "init_values", "ls_init_value"),
    *("class_token", "no_embed_class", "pos_embed", "pre_norm", "final_norm", "scale_attn_norm", "scale_mlp_norm"),
    *("norm_layer", "norm_eps", "act_layer", "embed_norm_layer", "attn_layer"),
    *("drop_path_rate", "drop_rate", "pos_drop_rate", "patch_drop_rate", "proj_drop_rate", "attn_drop_rate"),
    *("always_partition", "strict_img_size", "weight_init"),
)

LARGEST = 100_000
"""Of a number among the arguments."""

MOST_LAYERS = 1000


def check_architecture(name: str, arguments: Mapping[str, Any]) -> None:
    """Raise `ValueError` unless ``arguments`` are of an architecture, and of one that can be built."""
    for key, value in arguments.items():
        if key not in ARCHITECTURE:
            raise ValueError(
                f"encoder {name}: {short(repr(key))} is no argument of an architecture; "
                f"{choices(ARCHITECTURE, str(key))}"
            )
        for number in _numbers(value):
            if not is_number(number) or abs(number) > LARGEST:
                raise ValueError(f"encoder {name}: {key} is {number!r}; the limit is {LARGEST:,}")
    layers = sum(_numbers([arguments.get("depth"), arguments.get("depths")]))
    if layers > MOST_LAYERS:
        raise ValueError(f"encoder {name}: {layers} layers; the limit is {MOST_LAYERS:,}")


def _numbers(value: Any) -> Iterator[int | float]:
    """The numbers in ``value`` and in the lists in it."""
    if isinstance(value, list | tuple):
        for item in value:
            yield from _numbers(item)
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield value
