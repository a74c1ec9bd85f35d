"""Conventions of the code that no linter checks: docstrings of modules, names of tests."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

TOP = Path(__file__).parents[2]
PACKAGES = ("timeline_workers", "workflows", "feeder", "producer", "benchmarks", "deploy", "docs", "tests")
QUESTIONS = {"What", "How", "Why", "Where", "Whether", "When", "Who", "Which"}
WORDS = 9


def modules(folder: str) -> list[Path]:
    """All modules below a folder of the repository."""
    found = sorted((TOP / folder).rglob("*.py"))
    assert found, folder
    return found


@pytest.mark.parametrize("package", PACKAGES)
def test_module_docstrings_name_the_thing(package: str) -> None:
    """Every module has one, and its first line is no question."""
    wrong = []
    for module in modules(package):
        text = ast.get_docstring(ast.parse(module.read_text(encoding="utf-8"))) or ""
        first = text.partition("\n")[0]
        if not first or first.split()[0].strip(",:") in QUESTIONS:
            wrong.append(f"{module.relative_to(TOP)}: {first or 'no docstring'}")
    assert not wrong


def test_the_room_map_names_every_room() -> None:
    """docs/architecture.md lists every package of the library, the workflows and the feeder."""
    text = (TOP / "docs/architecture.md").read_text(encoding="utf-8")
    section = text.split("## The rooms of the tree")[1].split("\n## ")[0]
    named = set(re.findall(r"`(?:[\w]+/)?(\w+)`", section))
    for top in ("timeline_workers", "workflows", "feeder"):
        rooms = {package.parent.name for package in (TOP / top).glob("*/__init__.py")}
        assert rooms <= named, rooms - named


# `client` is what workflows offer and what Python users get; the others are modules of the history, in whose
# room nothing else is meant.
TWICE = {"client", "exact", "model", "rows"}


def test_names_of_modules_are_there_once() -> None:
    """No two modules or rooms are called the same: a name in the log or in a sentence says which is meant."""
    named: dict[str, list[str]] = {}
    for package in ("timeline_workers", "workflows", "feeder", "producer"):
        for module in modules(package):
            if module.stem != "__main__":
                name = module.parent.name if module.stem == "__init__" else module.stem
                named.setdefault(name, []).append(str(module.relative_to(TOP)))
    assert {name: paths for name, paths in named.items() if len(paths) > 1 and name not in TWICE} == {}


def test_names_of_tests_are_short() -> None:
    """At most nine words after ``test_``."""
    long = []
    for module in modules("tests"):
        for node in ast.walk(ast.parse(module.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and _is_long(node.name):
                long.append(f"{module.relative_to(TOP)}: {node.name}")
    assert not long


def _is_long(name: str) -> bool:
    return name.startswith("test_") and len(name.removeprefix("test_").split("_")) > WORDS
