"""Finding parts: the package's own, installed plug-ins, and the modules that a config names."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Mapping
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

GROUP = "mtl.plugins"
"""Entry point group: a plug-in package names a module (or a function) there whose import registers its parts."""

_OWN = ("encoders", "methods", "decoders", "tasks", "models", "datasets", "transforms", "evaluation", "engine")


def register_all(custom_imports: Mapping[str, Any] | None = None) -> None:
    """Import everything that registers parts, so that configs can name it.

    Args:
        custom_imports: ``dict(imports=["module", ...])`` of a config; modules are also looked for in the current
            folder.
    """
    for name in _OWN:
        importlib.import_module(f"mtl.{name}")
    for plugin in entry_points(group=GROUP):
        try:
            loaded = plugin.load()
            if callable(loaded):
                loaded()
        except (Exception, SystemExit) as error:
            raise ValueError(
                f"the plug-in {plugin.name!r} ({plugin.value}) cannot be imported: {type(error).__name__}: {error}"
            ) from error
    if not custom_imports:
        return
    if not isinstance(custom_imports, Mapping):
        raise ValueError(f"custom_imports is dict(imports=[...]), not {custom_imports!r}")
    unknown = set(custom_imports) - {"imports", "allow_failed_imports"}
    if unknown:
        raise ValueError(f"custom_imports has no key {sorted(unknown)[0]!r}; valid: imports, allow_failed_imports")
    modules = custom_imports.get("imports", [])
    folder = str(Path.cwd())
    if modules and folder not in sys.path:
        sys.path.insert(0, folder)
    for name in [modules] if isinstance(modules, str) else modules:
        try:
            importlib.import_module(name)
        except (Exception, SystemExit) as error:
            if not custom_imports.get("allow_failed_imports"):
                raise ValueError(
                    f"custom_imports: {name!r} cannot be imported: {type(error).__name__}: {error}{_where(error, name)}"
                ) from error


def _where(error: BaseException, name: str) -> str:
    """Where a module was looked for, if the error is that there is no such module; else empty."""
    if not isinstance(error, ModuleNotFoundError) or error.name not in (name, name.partition(".")[0]):
        return ""
    return f" (looked for in the working directory, {Path.cwd()}, on PYTHONPATH and among installed packages)"
