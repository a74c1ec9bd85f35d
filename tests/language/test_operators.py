"""The table of operators: its examples run, the page lists it, and an operator is three files."""

from __future__ import annotations

import ast
import importlib.util
import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from timeline_workers import builder, evaluate
from timeline_workers.algebra.operators import event_operator, is_leaf, timeline_operator
from timeline_workers.algebra.operators.kernels import (
    EVENT_KERNELS,
    TIMELINE_KERNELS,
    over_events,
    over_timelines,
)
from timeline_workers.algebra.operators.recompute import RecomputeRequest
from timeline_workers.algebra.timeline import pieces
from timeline_workers.algebra.timeline.exact import combine, lift
from timeline_workers.algebra.timeline.timelines import Timeline
from timeline_workers.language import operator_table, tree
from timeline_workers.language.canonical import to_text
from timeline_workers.language.check import check
from timeline_workers.language.operator_table import OPERATORS, Example, Operator
from timeline_workers.language.parser import parse
from timeline_workers.metric.model import Metric, Source
from timeline_workers.plan.physical import plan

TOP = Path(__file__).parents[2]
EVENTS = [json.loads(line) for line in (TOP / "docs/events.jsonl").read_text(encoding="utf-8").splitlines()]
ROWS = pytest.mark.parametrize("row", OPERATORS.values(), ids=lambda row: row.name)


def _generator() -> Any:
    spec = importlib.util.spec_from_file_location("generate_operators", TOP / "docs/generate_operators.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@ROWS
def test_examples_have_the_values_they_say(row: Operator) -> None:
    answer = evaluate(row.example.text, EVENTS, key="id", time="t")
    value = answer.value_at(row.example.group, row.example.at).value
    assert (type(value), value) == (type(row.example.value), row.example.value)


@ROWS
def test_examples_are_of_the_kind_of_their_row(row: Operator) -> None:
    root = parse(row.example.text)
    assert operator_table.row_of(root) is row
    kind = check(root).kind
    assert kind.name == row.gives
    assert kind.exact == operator_table.is_exact(root)


@ROWS
def test_every_operator_has_a_kernel_and_a_test_file(row: Operator) -> None:
    name = "logic" if row.name in ("and", "or", "not") else row.name
    assert (TOP / f"tests/algebra/operators/test_{name}.py").exists()
    if row.name == "aggregate":
        return
    root = parse(row.example.text)
    kernel = event_operator(root) if is_leaf(root) else timeline_operator(root)
    assert kernel.lookback == operator_table.look_back(root)
    assert (kernel.layout == "linear") == operator_table.is_exact(root)
    events = {"column": True, "events": True, "condition": True}.get(row.arguments[0], False)
    assert (row.name in EVENT_KERNELS) == events
    assert (row.name in TIMELINE_KERNELS) == (row.arguments[0] not in ("column", "events"))


@ROWS
def test_every_function_can_be_built_in_python(row: Operator) -> None:
    if not row.is_function:
        return
    arguments: dict[str, Any] = {
        "column": "state",
        "events": builder.col("state") == "play",
        "condition": builder.col("state") == "play",
        "boolean": builder.latest_event_to_state("state") == "play",
        "state": builder.latest_event_to_state("state"),
        "number": builder.latest_event_to_state("bitrate"),
        "window": "5s",
    }
    made = getattr(builder, row.name)(*(arguments[kind] for kind in row.arguments))
    assert parse(str(made)) == made.expression
    assert operator_table.row_of(made.expression) is row


def test_the_page_lists_the_operators_of_today() -> None:
    """Otherwise: python docs/generate_operators.py."""
    text = (TOP / "docs/language.md").read_text(encoding="utf-8")
    assert _generator().page(text) == text


def test_no_operator_looks_ahead_yet() -> None:
    """Nodes do not give an input's watermark back by a window: a row that says so would not be obeyed."""
    assert {row.look_ahead for row in OPERATORS.values()} == {0}


@pytest.mark.parametrize("function", ["is_exact", "is_leaf", "is_predicate"])
def test_what_the_rows_say_is_written_once(function: str) -> None:
    defined = [
        path.relative_to(TOP).as_posix()
        for path in TOP.glob("timeline_workers/**/*.py")
        for part in ast.parse(path.read_text(encoding="utf-8")).body
        if isinstance(part, ast.FunctionDef) and part.name == function
    ]
    assert defined == ["timeline_workers/language/operator_table.py"]


def test_the_worked_example_of_contributing_is_three_files() -> None:
    """CONTRIBUTING shows ``abs``: it is named in these files and in no other, and they hold what it shows."""
    guide = (TOP / "CONTRIBUTING.md").read_text(encoding="utf-8")
    section = guide.partition("### An operator")[2].partition("\n### ")[0]
    listed = re.findall(r"^\d\. `([^`]+\.py)`", section, re.MULTILINE)
    named = [
        path.relative_to(TOP).as_posix()
        for folder in ("timeline_workers", "workflows", "feeder", "tests")
        for path in TOP.glob(f"{folder}/**/*.py")
        if path != Path(__file__)
        # The functions of values of streams have names of their own, of which one is the same.
        and path.parent.name != "streams"
        and path.stem != "scalar_table"
        and re.search(r'["\']abs["\']|operators\.abs|abs\(x\)', path.read_text("utf-8"))
    ]
    assert sorted(named) == sorted(listed)
    shown = re.findall(r"^```python\n(.*?)^```", section, re.MULTILINE | re.DOTALL)
    assert len(shown) == len(listed) == 3
    for name, block in zip(listed, shown, strict=True):
        text = _unindented((TOP / name).read_text(encoding="utf-8"))
        # Parts that are left out are marked, those that are there are copies.
        for part in re.split(r"^ *# …\n", block, flags=re.MULTILINE):
            assert _unindented(part).strip() in text, f"{name} does not hold\n{part}"


def _unindented(code: str) -> str:
    return "\n".join(line.strip() for line in code.splitlines() if line.strip())


class _Twice:
    layout = "linear"
    lookback = 0

    def apply(self, inputs: Sequence[Timeline], request: RecomputeRequest) -> Timeline:
        (x,) = inputs
        values = lift(x.values)  # type: ignore[arg-type]
        return pieces.compact(x.offsets, x.starts, combine(values, values, 1))


@pytest.fixture
def leaves() -> Iterator[None]:
    """Two leaves that nobody but this test knows, over a condition and over a column."""
    seen = Operator(
        name="seen", arguments=("events",), gives="boolean", doc="…", example=Example("seen(x)", 0, True)
    )
    last = Operator(
        name="last", arguments=("column",), gives="state", doc="…", example=Example("last(x)", 0, 1)
    )
    OPERATORS.update(seen=seen, last=last)
    over_events("seen", EVENT_KERNELS["has_existed"])
    over_events("last", EVENT_KERNELS["latest_event_to_state"])
    yield
    for name in ("seen", "last"):
        del OPERATORS[name], EVENT_KERNELS[name]


@pytest.mark.usefixtures("leaves")
def test_rows_and_kernels_make_leaves() -> None:
    """Events are routed to them, as a plan and the workers do it, by what their rows say."""
    text = 'seen(user == "seek") && last(state) == "play"'
    answer = evaluate(text, EVENTS, key="id", time="t").spans("a", 0, 40)
    assert [(span.start, span.value) for span in answer.spans] == [(0, False), (9, True), (30, False)]
    assert to_text(parse(text)) == text
    source = Source(topic="t", key="id", time="t")
    planned = plan(Metric(name="m", source=source, expression=text))
    assert {node.operator: node.columns for node in planned.nodes if node.is_leaf} == {
        "tl-seen": ("user",),
        "tl-last": ("state",),
    }


@pytest.fixture
def twice() -> Iterator[Operator]:
    """An operator that nobody but this test knows: a row and a kernel."""
    row = Operator(
        name="twice",
        arguments=("number",),
        gives="numeric",
        exact="always",
        doc="two times x",
        example=Example('twice(event_count(user == "seek"))', 7, 2),
    )
    OPERATORS[row.name] = row
    over_timelines(row.name, lambda node: _Twice())
    yield row
    del OPERATORS[row.name], TIMELINE_KERNELS[row.name]


def test_a_row_and_a_kernel_make_an_operator(twice: Operator) -> None:
    """It is parsed, checked, written, built and computed, under others and over others."""
    text = 'twice(duration_where(latest_event_to_state(state) == "play")) > 9'
    answer = evaluate(text, EVENTS, key="id", time="t").spans("a", 0, 40)
    assert [(span.start, span.value) for span in answer.spans] == [(0, False), (9.500001, True)]
    assert to_text(parse(f"( {text} )")) == text
    assert isinstance(parse(twice.example.text), tree.Call)
    assert evaluate(twice.example.text, EVENTS, key="id", time="t").value_at("a", 7).value == 2
    assert str(builder.twice(builder.event_count(builder.col("x")))) == "twice(event_count(x))"
    assert "`twice(x)`" in _generator().listed()
