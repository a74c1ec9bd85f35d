"""The runtime does not ask which kind of node it runs: what differs is behind the protocol."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from timeline_workers.algebra.nodes.any_node import make_node
from timeline_workers.language.parser import parse

RUNTIME = Path(__file__).parents[2] / "timeline_workers" / "runtime"
NODES = {"EventNode", "DerivedNode", "FusedNode", "AggregateNode", "NodeOfKeys", "Node"}
NODES |= {"LeafRows", "DerivedRows", "FusedRows", "AggregateRows"}


def asked(source: str) -> list[str]:
    """The kinds of nodes and rows that a module tells apart with isinstance, type or match."""
    found = []
    for part in ast.walk(ast.parse(source)):
        kinds: list[ast.expr] = []
        if isinstance(part, ast.Call) and isinstance(part.func, ast.Name):
            kinds = part.args[1:] if part.func.id in ("isinstance", "issubclass") else []
        elif isinstance(part, ast.MatchClass):
            kinds = [part.cls]
        elif isinstance(part, ast.Compare):
            kinds = part.comparators
        names = [n for kind in kinds for n in ast.walk(kind) if isinstance(n, ast.Name | ast.Attribute)]
        found += [n.id if isinstance(n, ast.Name) else n.attr for n in names]
    return [name for name in found if name in NODES]


@pytest.mark.parametrize("module", sorted(RUNTIME.rglob("*.py")), ids=lambda path: path.name)
def test_the_runtime_asks_no_node_what_kind_it_is(module: Path) -> None:
    assert asked(module.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    "source",
    [
        "isinstance(worker.node, FusedNode)",
        "assert isinstance(node, nodes.EventNode | DerivedNode)",
        "type(node) is AggregateNode",
        "match rows:\n    case LeafRows():\n        pass",
    ],
)
def test_a_question_about_the_kind_is_found(source: str) -> None:
    assert asked(source)


@pytest.mark.parametrize(
    ("expression", "fused", "parts", "outputs"),
    [
        ("has_existed(x == 1)", False, 1, [""]),
        ("!has_existed(x == 1)", False, 1, [""]),
        ("!has_existed(x == 1) && has_existed(y == 1)", True, 2, [""]),
        ("has_existed(x == 1) | aggregate(group_by(g), count, max)", False, 1, ["count", "max"]),
    ],
)
def test_every_kind_of_node_says_what_it_computes(
    expression: str, fused: bool, parts: int, outputs: list[str]
) -> None:
    node = make_node(parse(expression), fused)
    assert len(node.parts()) == parts
    assert node.parts()[-1].expression == parse(expression)
    assert list(node.parts()[-1].outputs) == outputs
    node.put_all(node.copy_all())
    assert node.counts() == {"change_points": 0, "input_change_points": 0, "events": 0}
