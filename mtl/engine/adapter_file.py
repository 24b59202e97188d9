"""The adapter file: what was trained and nothing else, a few megabytes of safetensors.

Its tensors are the trained parameters and the decoders' buffers; its metadata says what they belong to:

    base     the fingerprint of the base weights
    config   the configs of encoder, method, decoder and tasks
    stacked  names of the tensors whose first axis is the tasks'
    copies   prefix of the names that go on with a task's number; "" where there are none
    digest   of the tensors, so that a damaged file is found out
    seal     the same of the other metadata: other options or another order of tasks may fit the same tensors

Reading a file never runs code from it.
"""

from __future__ import annotations

import inspect
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from mmengine.registry import Registry
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from mtl.engine.files import replacing
from mtl.engine.schema import ADAPTER, MERGED, check_metadata
from mtl.models.multitask import MultiTaskModel
from mtl.registry import ENCODERS, METHODS
from mtl.utils.files import check_regular
from mtl.utils.plain import content_digest, parse_json
from mtl.utils.text import some_of

FORMAT = "mtl-adapter-1"
JSONS = ("config", "stacked", "paths")
"""The metadata that are JSON, a merged model's ``paths`` too."""


def trained_tensors(model: MultiTaskModel) -> dict[str, Tensor]:
    """The trained parameters and the decoders' buffers, by their names in the model."""
    state = {name: p.detach() for name, p in model.named_parameters() if p.requires_grad}
    return state | {name: b for name, b in model.named_buffers() if name.startswith("decoders.")}


def trained_state(model: MultiTaskModel, state: Mapping[str, Tensor] | None = None) -> dict[str, Tensor]:
    """`trained_tensors` as a file has them.

    Args:
        state: a state dict of the model to take them from, in place of its weights as they are.
    """
    own = trained_tensors(model)
    return {name: (own if state is None else state)[name].detach().cpu().contiguous() for name in own}


def save_adapter(
    model: MultiTaskModel, path: Path, config: Mapping[str, Any], state: Mapping[str, Tensor] | None = None
) -> None:
    """Write the adapter file.

    Args:
        model: what was trained.
        path: of the file.
        config: the configs that rebuild the model (JSON values only).
        state: as `trained_state` gives it; by default the model's.
    """
    write_adapter(path, trained_state(model) if state is None else state, adapter_meta(model, config))


def adapter_meta(model: MultiTaskModel, config: Mapping[str, Any]) -> dict[str, Any]:
    """What `read_meta` gives of the model's adapter file, without format, digest and seal."""
    trained = {name for name, p in model.named_parameters() if p.requires_grad}
    stacked = sorted(model.method.task_parameters(model.encoder) & trained)
    return {"base": model.encoder.fingerprint, "config": config, "stacked": stacked, "copies": model.method.copies}


def write_adapter(path: Path, state: Mapping[str, Tensor], meta: Mapping[str, Any], form: str = FORMAT) -> None:
    """Write an adapter file of these tensors, or a file of another format; ``meta`` is as `adapter_meta` gives it."""
    with replacing(path) as part:
        save_file(dict(state), part, encoded_meta(meta, digest(state), form))


def encoded_meta(meta: Mapping[str, Any], digest: str, form: str = FORMAT) -> dict[str, str]:
    """The metadata as they are in the file."""
    texts = {key: json.dumps(value) if key in JSONS else value for key, value in meta.items()}
    encoded = {"format": form, **texts, "digest": digest}
    return {**encoded, "seal": seal(encoded)}


def seal(meta: Mapping[str, str]) -> str:
    """A hash of the metadata that a file has besides it."""
    return content_digest(dict(sorted(meta.items())))


def digest(state: Mapping[str, Tensor]) -> str:
    """A hash of the tensors, whose order in a file is its own."""
    return content_digest(dict(sorted(state.items())))


@contextmanager
def _opened(path: Path) -> Iterator[safe_open]:
    """The file to read from; `ValueError` where it is broken."""
    try:
        check_regular(path)
        with safe_open(path, "pt") as file:
            yield file
    except (SafetensorError, OSError) as error:
        raise ValueError(f"cannot read the adapter file {str(path)!r}: {str(error).splitlines()[0]}") from error


def read_meta(path: Path, formats: Sequence[str] = (FORMAT,)) -> dict[str, Any]:
    """The metadata of an adapter file, or of one of other ``formats``; `ValueError` where the file is none.

    Nothing is known of the types in its config: `mtl.engine.schema.check_parts` comes before anything is built.
    """
    with _opened(path) as file:
        meta = file.metadata() or {}
    if meta.get("format") not in formats:
        wanted = " or ".join(map(repr, formats))
        raise ValueError(f"{str(path)!r} is not an adapter file (its format is {meta.get('format')!r}, not {wanted})")
    if meta.get("seal") != seal({key: value for key, value in meta.items() if key != "seal"}):
        raise ValueError(f"the metadata of {str(path)!r} is damaged: it is not what the file was written with")
    try:
        decoded = {key: parse_json(text) if key in JSONS else text for key, text in meta.items()}
        check_metadata(decoded, ADAPTER if meta["format"] == FORMAT else MERGED)
    except ValueError as error:
        raise ValueError(f"the metadata of {str(path)!r} is damaged: {error}") from error
    return decoded


def read_state(path: Path) -> dict[str, Tensor]:
    """The tensors of an adapter file; `ValueError` where it is broken."""
    with _opened(path) as file:
        state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  no mapping
        known = (file.metadata() or {}).get("digest")
    if known != digest(state):
        raise ValueError(f"{str(path)!r} is damaged: its tensors are not those that it was written with")
    return state


def load_adapter(model: MultiTaskModel, path: Path, build: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Load an adapter file into a model of the same base, method and tasks; returns its metadata.

    Args:
        build: the configs that the model was built from, to compare with the file's.
    """
    meta = read_meta(path)
    check_base(model, meta, str(path))
    state = read_state(path)
    check_build(meta["config"], build, str(path))
    load_matching(model, state, trained_tensors(model), str(path))
    return meta


def check_base(model: MultiTaskModel, meta: Mapping[str, Any], where: str) -> None:
    """Raise `ValueError` unless the model's encoder has the base weights of an adapter file's metadata."""
    if meta["base"] != model.encoder.fingerprint:
        own = meta["config"]["encoder"]
        size, here = with_defaults(own, ENCODERS).get("size"), list(model.encoder.size)
        if size != here:
            raise ValueError(
                f"{where!r} is of an encoder of size {size}, whose weights are not those of this one of size "
                f"{here}: set encoder.size={size} (images of another size need no other encoder: size of the data set "
                "or of its Resize in val_dataloader.dataset, --size of tools/predict.py)"
            )
        raise ValueError(
            f"{where!r} was trained on other base weights ({own.get('name')}, {own.get('weights')!r}, {meta['base']}) "
            f"than this encoder has ({model.encoder.name}, {model.encoder.fingerprint}): name the file of its own "
            "(encoder.weights=FILE in a config, --weights FILE)"
        )


def check_build(saved: Mapping[str, Any], own: Mapping[str, Any] | None, where: str) -> None:
    """Raise `ValueError` where weights are of another method, of other options or of tasks in another order.

    Names and shapes can agree all the same: what is stacked by task has no names.
    """
    if own is None:
        return
    if list(saved["tasks"]) != list(own["tasks"]):
        raise ValueError(
            f"{where} is of the tasks {', '.join(saved['tasks'])}, in this order; "
            f"the config has {', '.join(own['tasks'])}"
        )
    theirs, ours = (with_defaults(build["method"], METHODS) for build in (saved, own))
    for key in ["type", *ours, *theirs]:  # other options mean nothing where the method is another
        if theirs.get(key) != ours.get(key):
            named = "--method NAME or " if key == "type" else ""
            raise ValueError(
                f"{where} is of a method with {key}={theirs.get(key)!r}; the config has {ours.get(key)!r} "
                f"({named}--cfg-options method.{key}={theirs.get(key)} changes it)"
            )


def with_defaults(config: Mapping[str, Any], registry: Registry) -> dict[str, Any]:
    """A part's config with the defaults of its arguments, JSON values only."""
    # of the registry's own types alone: it would import any other name
    kind = registry.module_dict.get(config["type"]) if isinstance(config["type"], str) else config["type"]
    parameters = inspect.signature(kind).parameters.values() if kind else ()
    full = {p.name: p.default for p in parameters if p.default is not p.empty} | dict(config)
    return json.loads(json.dumps(full, default=str))  # tuples and lists alike


def load_matching(model: torch.nn.Module, state: Mapping[str, Tensor], own: Mapping[str, Tensor], where: str) -> None:
    """Load ``state`` into the model's tensors ``own``; `ValueError` unless names and shapes agree."""
    check_matching(state, own, where)
    model.load_state_dict(dict(state), strict=False)


def check_matching(state: Mapping[str, Tensor], own: Mapping[str, Tensor], where: str) -> None:
    """Raise `ValueError` unless names and shapes agree."""
    missing, extra = sorted(set(own) - set(state)), sorted(set(state) - set(own))
    shaped = [name for name in own if name in state and own[name].shape != state[name].shape]
    whole = [n for n in own if n in state and own[n].is_floating_point() != state[n].is_floating_point()]
    if whole and not (missing or extra or shaped):
        raise ValueError(f"{where}: {whole[0]!r} is {state[whole[0]].dtype}, not {own[whole[0]].dtype}")
    if missing or extra or shaped:
        wrong = missing or extra or shaped
        what = "lacks" if missing else "has no place here for" if extra else "has another shape of"
        other = "encoder (or of another encoder.size)" if wrong is shaped else "encoder"
        raise ValueError(
            f"{where} is of another {other}, method or set of tasks: it {what} {some_of(map(repr, wrong), 1)}"
        )
