"""The encoder's own modules among what methods put around them.

An encoder knows no method: a wrapper says `is_wrapper` and has what it wraps as `base`, an adapter says `is_adapter`.
"""

from __future__ import annotations

from typing import Any

from torch import nn


def inside(module: Any) -> Any:
    """The encoder's own module inside of wrappers."""
    while getattr(module, "is_wrapper", False):
        module = module.base
    return module


def innermost(model: nn.Module, path: str) -> str:
    """The path of the encoder's own module in the wrappers at ``path``."""
    module = model.get_submodule(path)
    while getattr(module, "is_wrapper", False):
        path, module = f"{path}.base", module.base  # type: ignore[assignment]
    return path


def outermost(model: nn.Module, path: str) -> str:
    """The path of the outermost wrapper of the module at ``path``."""
    while getattr(model.get_submodule(path.rpartition(".")[0]), "is_wrapper", False):
        path = path.rpartition(".")[0]
    return path


def without_wrappers(model: nn.Module, path: str) -> str:
    """The path that a module has in the model without adapters."""
    name: list[str] = []
    module = model
    for part in path.split(".") if path else ():
        if not getattr(module, "is_wrapper", False):
            name.append(part)
        module = module.get_submodule(part)
    return ".".join(name)


def own_modules(model: nn.Module) -> list[tuple[str, nn.Module]]:
    """The modules of an encoder by path, without adapters and what is in them."""
    modules = list(model.named_modules())
    adapters = {path for path, module in modules if getattr(module, "is_adapter", False)}
    inner = tuple(f"{path}." for path in adapters)
    return [(path, module) for path, module in modules if path not in adapters and not path.startswith(inner)]
