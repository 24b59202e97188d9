"""Who may import whom, read from the source: the higher packages know the lower ones, never the other way."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1] / "mtl"
ALLOWED = {
    "utils": set(),
    "registry": set(),
    "version": set(),
    "structures": set(),
    "thinning": set(),
    "encoders": {"registry"},
    "methods": {"encoders", "registry"},
    "decoders": {"registry"},
    "tasks": {"structures", "thinning", "registry"},
    "transforms": {"structures", "thinning", "registry"},
    "datasets": {"tasks", "transforms", "structures", "thinning", "registry"},
    "evaluation": {"tasks", "structures", "registry"},
    "models": {"encoders", "methods", "decoders", "tasks", "structures", "registry"},
    "engine": {
        *("models", "encoders", "methods", "decoders", "tasks", "transforms", "datasets", "evaluation"),
        *("structures", "registry", "version"),
    },
    "report": {"engine", "methods", "evaluation", "registry", "version"},
}


def imports(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom):
            # `from mtl import engine` names the package in the alias
            names += [f"{node.module}.{alias.name}" for alias in node.names]
        found |= {name.split(".")[1] for name in names if name.startswith("mtl.")}
    return found


@pytest.mark.parametrize("path", sorted(ROOT.rglob("*.py")), ids=lambda p: str(p.relative_to(ROOT)))
def test_imports_go_downward(path):
    package = path.relative_to(ROOT).parts[0].removesuffix(".py")
    if package != "__init__":
        own = {package} if package == "utils" else {package, "utils"}
        assert imports(path) - own <= ALLOWED[package]
