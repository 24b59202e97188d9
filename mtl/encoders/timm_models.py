"""Building timm's models: arguments that are checked before anything is built, and weights from timm's hub."""

from __future__ import annotations

import inspect
import typing
from collections.abc import Iterator, Mapping
from typing import Any

import timm
from huggingface_hub import constants
from huggingface_hub.utils import get_session
from torch import nn

import mtl.encoders.pvt  # noqa: F401  registers PVT v1 with timm
from mtl.encoders.sites import FAMILIES, family_of
from mtl.registry import check_types, choices
from mtl.utils.plain import is_number
from mtl.utils.text import reason

_SET_HERE = {
    "img_size": "set size",
    "dynamic_img_size": "other sizes work at run time",
    "strict_img_size": "other sizes work at run time",
    "class_token": "maps have no place for one",
    "in_chans": "images have three channels",
    "num_classes": "the classifier is removed",
    "global_pool": "the classifier is removed",
    "fc_norm": "the classifier is removed",
    "final_norm": "set the encoder's final_norm",
    "output_stride": "maps have the strides 4, 8, 16, 32",
    "device": "the runner moves the model",
    "dtype": "parameters are float32",
}
"""Arguments of timm's models that are not the config's, and why."""

LARGEST = 100_000
"""Of a number among the arguments."""

MOST_LAYERS = 1000


def check_model_arguments(name: str, options: Mapping[str, Any]) -> None:
    """Raise `ValueError` unless ``options`` are arguments of the class of the timm model ``name`` that may be set.

    What timm's builder takes beside the class's arguments (``checkpoint_path``, ``features_only``, ``pretrained_cfg``)
    loads files or returns something else than the model, and is refused like any unknown name. Nothing is built.
    """
    if not timm.is_model(name):
        near = timm.list_models(f"*{name.split('_')[0]}*")[:8]
        raise ValueError(f"timm has no model {name!r}; near: {', '.join(near) or 'see timm.list_models()'}")
    entry = timm.model_entrypoint(timm.models.split_model_name_tag(name)[0])
    kind: Any = typing.get_type_hints(entry).get("return")
    if not isinstance(kind, type):
        raise ValueError(
            f"timm's {name} does not say its class, so that its arguments are not known; {choices(FAMILIES)}"
        )
    family_of(kind)
    # a class may hand everything on to the one behind it
    named = next(c for c in kind.__mro__ if "kwargs" not in inspect.signature(c).parameters)
    known = set(inspect.signature(named).parameters)
    for key in options:
        if key in _SET_HERE and key in known:
            raise ValueError(f"the encoder sets {key} itself ({_SET_HERE[key]}): leave it out of encoder.options")
        if key not in known:
            raise ValueError(
                f"encoder.options: {kind.__name__} has no argument {key!r}; {choices(known - _SET_HERE.keys(), key)}"
            )
    check_types(named, options, "encoder.options")
    for key, value in options.items():
        for number in _numbers(value):
            if not is_number(number) or abs(number) > LARGEST:
                raise ValueError(f"encoder.options: {key} is {number!r}; the limit is {LARGEST:,}")
    layers = sum(_numbers([options.get("depth"), options.get("depths")]))
    if layers > MOST_LAYERS:
        raise ValueError(f"encoder.options: {layers} layers; the limit is {MOST_LAYERS:,}")


def _numbers(value: Any) -> Iterator[int | float]:
    """The numbers in ``value`` and in the lists in it."""
    if isinstance(value, list | tuple):
        for item in value:
            yield from _numbers(item)
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield value


def create_model(name: str, pretrained: bool, arguments: dict[str, Any]) -> nn.Module:
    """The timm model, from timm's hub or with random weights; `ValueError` where it cannot be built or loaded."""
    try:
        return _from_hub(name, arguments) if pretrained else timm.create_model(name, **arguments)
    except (TypeError, AssertionError, AttributeError, KeyError, IndexError, ZeroDivisionError) as error:
        raise ValueError(f"encoder {name} with {arguments}: {error or type(error).__name__}") from error
    except (OSError, RuntimeError) as error:
        if not pretrained:
            raise ValueError(f"encoder {name} with {arguments}: {error}") from error
        raise ValueError(
            f"the weights of {name} cannot be had from timm's hub ({str(error).splitlines()[0]}): name a local file "
            "(encoder.weights=FILE) or start at random (encoder.weights=None)"
        ) from error


def _from_hub(name: str, arguments: dict[str, Any]) -> nn.Module:
    """timm's model with its weights, from the cache alone if the hub cannot be reached; `OSError` if it has none.

    The hub's own client would try to connect for a minute.
    """
    try:
        get_session().head(constants.ENDPOINT, timeout=_CONNECT_SECONDS)
    except Exception as error:  # of the HTTP library in use, which has changed
        if type(error).__name__ != "ReadTimeout":  # the network is slow, but there
            return _from_cache(name, arguments, error)
    return timm.create_model(name, pretrained=True, **arguments)


_CONNECT_SECONDS = 5


def _from_cache(name: str, arguments: dict[str, Any], unreachable: Exception) -> nn.Module:
    offline, constants.HF_HUB_OFFLINE = constants.HF_HUB_OFFLINE, True
    try:
        return timm.create_model(name, pretrained=True, **arguments)
    except FileNotFoundError as error:
        raise OSError(f"{constants.ENDPOINT} cannot be reached: {reason(unreachable)}") from error
    finally:
        constants.HF_HUB_OFFLINE = offline


def size_arguments(name: str, size: tuple[int, int]) -> dict[str, Any]:
    """What makes a model of each family take images of ``size`` and of other sizes at run time."""
    if name.startswith(("pvt_v2", "convnext")):
        return {}
    if name.startswith("pvt_"):
        return {"class_token": False}
    return {"img_size": size, "dynamic_img_size": True}
