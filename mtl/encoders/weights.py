"""Reading weights from a local file, without running code from it and without silence about what did not fit."""

from __future__ import annotations

import hashlib
import sys
import zipfile
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any

import torch
from mmengine.logging import print_log
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from mtl.registry import choices
from mtl.utils.files import check_regular
from mtl.utils.plain import check_tensor
from mtl.utils.text import some_of

PACKAGE = "mtl:"
"""Prefix of weights that ship with the package."""

_WRAPPERS = ("model", "state_dict", "model_state_dict", "model_ema")
_NOT_ENCODER = ("head.", "norm.", "fc_norm.", "classifier.", "head_dist.")
_BUFFERS = ("relative_position_index", "attn_mask")


def locate(weights: str) -> Path:
    """The file that ``weights`` names: a path, or ``mtl:NAME`` for weights that ship with the package."""
    if weights.startswith(PACKAGE):
        folder = Path(str(files("mtl") / "assets"))
        shipped = {PACKAGE + path.stem: path for path in sorted(folder.glob("*.safetensors"))}
        if weights not in shipped:
            raise ValueError(f"no weights {weights!r} ship with the package; {choices(shipped, weights)}")
        return shipped[weights]
    path = Path(weights).expanduser()
    if not path.is_file():
        raise ValueError(
            f"no weights file {str(path)!r}; give a .safetensors or .pth file, True (hub) or None (random)"
        )
    return path


def read_state_dict(path: Path) -> dict[str, Tensor]:
    """A state dict from a ``.safetensors`` file or a PyTorch file (tensors only, nothing is unpickled beyond them)."""
    loaded: Any = read_tensors(path)
    for key in _WRAPPERS:
        if isinstance(loaded, Mapping) and isinstance(loaded.get(key), Mapping):
            loaded = loaded[key]
            break
    if not isinstance(loaded, Mapping) or not all(isinstance(v, Tensor) for v in loaded.values()):
        raise ValueError(f"{str(path)!r} holds no state dict of tensors")
    try:
        for key, value in loaded.items():
            check_tensor(key, value)
    except ValueError as error:
        raise ValueError(f"{str(path)!r}: {error}") from error
    return {key.removeprefix("module."): value for key, value in loaded.items()}


def read_tensors(path: Path) -> dict[str, Any]:
    """What a file holds, tensors and plain values; `ValueError` for anything else, which would have to run code."""
    try:
        check_regular(path)
        if path.suffix == ".safetensors":
            return load_file(path)
        _check_archive(path)
        loaded = torch.load(path, map_location="cpu", weights_only=True)
    except (SafetensorError, RuntimeError, EOFError, ValueError, OSError) as error:
        raise ValueError(f"cannot read the weights in {str(path)!r}: {_first_line(error)}") from error
    except Exception as error:  # pickle.UnpicklingError and what it wraps; its text advises to load all the same
        raise ValueError(
            f"{str(path)!r} is no file of weights, or holds more than tensors and plain values, which is not loaded"
        ) from error
    if not isinstance(loaded, Mapping):
        raise ValueError(f"{str(path)!r} holds a {type(loaded).__name__}, not named tensors")
    return dict(loaded)


def _check_archive(path: Path) -> None:
    """Raise `ValueError` if a PyTorch file unpacks to more than it is; PyTorch itself compresses nothing."""
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            unpacked = sum(item.file_size for item in archive.infolist())
        if unpacked > path.stat().st_size:
            raise ValueError(f"it unpacks to {unpacked:,} bytes, more than the file has")


def load_into(model: nn.Module, path: Path) -> None:
    """Load a file into a timm model; missing and mis-shaped keys are an error, unexpected ones a warning.

    The family's own ``checkpoint_filter_fn`` runs first: it renames what the authors' files name otherwise and
    resamples position tables to the model's size. Head and final norm are not part of an encoder and are left out,
    unless the encoder keeps its final norm.
    """
    state = read_state_dict(path)
    convert = getattr(sys.modules[type(model).__module__], "checkpoint_filter_fn", None)
    if convert is not None:
        state = convert(state, model)
    own = model.state_dict()
    missing = [k for k in own if k not in state]
    shaped = [k for k in own if k in state and own[k].shape != state[k].shape]
    whole = [k for k in own if k in state and own[k].is_floating_point() and not state[k].is_floating_point()]
    if whole:
        raise ValueError(f"the weights in {str(path)!r} are not floating point: {some_of(whole, 4)}")
    unexpected = [k for k in state if k not in own and not k.startswith(_NOT_ENCODER) and not k.endswith(_BUFFERS)]
    if missing or shaped:
        parts = []
        if missing:
            parts.append(f"missing {some_of(missing, 4)}")
        if shaped:
            parts.append(
                "mis-shaped " + some_of((f"{k} {tuple(state[k].shape)} for {tuple(own[k].shape)}" for k in shaped), 4)
            )
        if unexpected:
            parts.append(f"unexpected {some_of(unexpected, 4)}")
        raise ValueError(f"the weights in {str(path)!r} are not of this encoder: {'; '.join(parts)}")
    if unexpected:
        print_log(f"{path}: keys that the encoder does not have: {some_of(unexpected, 4)}", "current", level=30)
    model.load_state_dict({k: state[k] for k in own})


def fingerprint(model: nn.Module) -> str:
    """A hash of names, shapes and values of all parameters: two encoders agree in it only if they are the same."""
    digest = hashlib.sha256()
    for name, parameter in sorted(model.named_parameters()):
        if parameter.is_meta:
            return "meta"  # names and shapes alone
        digest.update(f"{name}{tuple(parameter.shape)}".encode())
        digest.update(parameter.detach().float().contiguous().cpu().numpy().tobytes())
    return digest.hexdigest()[:16]


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
