"""Who may import whom, read from the source: the higher rooms know the lower ones, never the other way."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1] / "mtl"
RANK = {
    "registry": 0,
    "version": 0,
    "structures": 1,
    "encoders": 1,
    "methods": 2,
    "decoders": 2,
    "tasks": 2,
    "transforms": 2,
    "datasets": 2,
    "evaluation": 2,
    "models": 3,
    "engine": 3,
}
FORBIDDEN = {"methods": {"tasks", "decoders", "datasets"}, "tasks": {"methods", "encoders"}}


def imports(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        names = [node.module] if isinstance(node, ast.ImportFrom) and node.module else []
        names += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        found |= {name.split(".")[1] for name in names if name.startswith("mtl.")}
    return found


@pytest.mark.parametrize("path", sorted(ROOT.rglob("*.py")), ids=lambda p: str(p.relative_to(ROOT)))
def test_imports_go_downward(path):
    room = path.relative_to(ROOT).parts[0].removesuffix(".py")
    if room == "__init__":
        return
    for other in imports(path) - {room}:
        assert RANK[other] <= RANK[room], f"{room} imports {other}"
        assert other not in FORBIDDEN.get(room, ()), f"{room} imports {other}"
