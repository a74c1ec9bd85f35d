"""Drawings of a plan, and the command that makes them."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

import pytest
import typer
from hypothesis import given, settings
from rich.console import Console
from typer.testing import CliRunner

from tests.language.strategies import expressions
from tests.plan.test_plan import CIRR, metric
from timeline_workers.cli.graph import graph
from timeline_workers.errors import ExpressionError, MetricError
from timeline_workers.language import tree as t
from timeline_workers.language.canonical import to_text
from timeline_workers.plan.drawing import to_dot, to_mermaid, to_svg, to_tree, worker_names
from timeline_workers.plan.physical import Plan, plan

AWKWARD = r"""has_existed(`<b>"&%s|{x}\n` == "a\\\"]; end --> \u0000 😀")"""
SVG = "{http://www.w3.org/2000/svg}"


def tree_text(made: Plan) -> str:
    console = Console(width=500, record=True, file=None, quiet=False)
    with console.capture() as captured:
        console.print(to_tree(made))
    return captured.get()


def svg_texts(made: Plan) -> tuple[list[str], list[str]]:
    """The titles of nodes, and all texts, of the SVG."""
    root = ElementTree.fromstring(to_svg(made))
    titles = [g.findtext(f"{SVG}title") or "" for g in root.iter(f"{SVG}g") if g.get("class") == "node"]
    return titles, ["".join(text.itertext()) for text in root.iter(f"{SVG}text")]


def test_every_drawing_shows_operators_expressions_and_workers() -> None:
    """Each node's operator, expression and first worker are in each drawing."""
    made = plan(metric("has_existed(x == 1) | aggregate(group_by(region), count)", partitions=2))
    dot, mermaid, tree = to_dot(made), to_mermaid(made), tree_text(made)
    titles, texts = svg_texts(made)
    for node in made.nodes:
        first = worker_names(made, node)[0]
        for drawing in (dot, mermaid, tree, "\n".join(texts)):
            assert node.operator in drawing
            assert first in drawing
        assert node.expression in tree
    assert "has_existed(x == 1)" in dot
    assert "has_existed(x == 1)" in texts
    assert set(titles) == {"source"} | {node.name for node in made.nodes}


def test_a_drawing_shows_which_nodes_share_a_worker() -> None:
    """Fused nodes stand in a box with the worker's id on it, each with its own name; leaves stand outside."""
    made = plan(metric(CIRR, partitions=2).model_copy(update={"fuse": True}))
    dot, mermaid, tree = to_dot(made), to_mermaid(made), tree_text(made)
    _, texts = svg_texts(made)
    worker = f"{made.result.name}-fused.p0"
    assert f"one worker: {worker} … .p1" in dot
    assert f"one worker: {worker} … .p1" in texts
    box = dot[dot.index("subgraph cluster") : dot.index("}")]
    boxed = mermaid[mermaid.index("subgraph") : mermaid.index("    end\n")]
    for node in made.nodes:
        inside = not node.is_leaf
        assert (node.name in box, node.name in boxed) == (inside, inside)
        assert worker_names(made, node)[0] == (worker if inside else f"{node.name}.p0")
        if inside and node is not made.result:
            assert f"{node.name} in {made.result.name}-fused\n" in tree.replace(" \n", "\n")
    assert f"{worker}, {made.result.name}-fused.p1" in tree
    apart = plan(metric(CIRR, partitions=2))
    assert not any("one worker" in drawing for drawing in (to_dot(apart), to_mermaid(apart)))


def test_the_tree_names_every_worker() -> None:
    """The terminal's tree lists the workers of all partitions."""
    made = plan(metric(CIRR, partitions=3))
    tree = tree_text(made)
    assert all(name in tree for node in made.nodes for name in worker_names(made, node))


def test_a_shared_node_is_drawn_once() -> None:
    """A node with two readers is one box; the tree refers back to it."""
    made = plan(metric("has_existed(x == 1) && has_existed_within(has_existed(x == 1), 5s)"))
    assert tree_text(made).count("topic playback: x") == 1
    assert "as above" in tree_text(made)
    titles, _ = svg_texts(made)
    assert len(titles) == len(made.nodes) + 1


def test_edges_say_what_flows() -> None:
    """Leaves get their columns from the source, and slots that matter are named."""
    made = plan(metric("event_count(x == 1) - event_count(y == 2 && z)"))
    _, texts = svg_texts(made)
    assert {"x", "y, z", "left", "right"} <= set(texts)


def test_per_key_workers_are_a_pattern() -> None:
    """With a worker for each key the drawing shows how they are named."""
    made = plan(metric("has_existed(x)", partitions="per-key"))
    assert worker_names(made, made.result) == [f"{made.result.name}.key-<key>"]
    assert ".key-<key>" in "\n".join(svg_texts(made)[1])


@settings(max_examples=25)
@given(expressions)
def test_anything_that_can_be_planned_can_be_drawn(expression: t.Expression) -> None:
    """Whatever names and strings an expression holds, the SVG is well-formed and has every node."""
    made = plan(metric(to_text(expression)))
    titles, _ = svg_texts(made)
    assert set(titles) == {"source"} | {node.name for node in made.nodes}
    assert to_mermaid(made).count(":::") == len(made.nodes)
    assert made.result.name in tree_text(made)


def test_awkward_text_stays_text() -> None:
    """Quotes, backslashes, markup and arrows in an expression are shown, not read."""
    made = plan(metric(AWKWARD))
    titles, texts = svg_texts(made)
    assert titles == ["source", made.result.name]
    assert r'"a\\\"]; end --> \u0000 😀")' in " ".join(texts)
    line = next(line for line in to_mermaid(made).splitlines() if line.strip().startswith("n0["))
    label = line.split('["', 1)[1].rsplit('"]', 1)[0]
    assert not set('"[]{}|`') & set(label)


@pytest.fixture
def app() -> typer.Typer:
    made = typer.Typer()
    made.command()(graph)
    return made


METRIC = """
name: played
source: {topic: playback, key: session, time: timestamp, columns: {event: string}, partitions: 2}
expression: has_existed(event == "play")
"""


@pytest.mark.parametrize(
    ("form", "start"),
    [("dot", "digraph"), ("svg", "<?xml"), ("mermaid", "flowchart"), ("tree", "metric")],
)
def test_the_command_draws_a_metric_file(app: typer.Typer, tmp_path: Path, form: str, start: str) -> None:
    """timeline graph METRIC.yaml -o FORM prints the drawing, or writes it to --output."""
    file, drawing = tmp_path / "played.yaml", tmp_path / "drawing"
    file.write_text(METRIC)
    printed = CliRunner().invoke(app, [str(file), "-o", form])
    assert printed.exit_code == 0
    assert printed.stdout.startswith(start)
    written = CliRunner().invoke(app, [str(file), "-o", form, "--output", str(drawing)])
    assert written.exit_code == 0
    assert written.stdout == ""
    assert drawing.read_text(encoding="utf-8").startswith(start)
    # An SVG writes its hyphens as character codes.
    assert "tl-has-existed" in drawing.read_text(encoding="utf-8").replace("&#45;", "-")


def test_the_command_draws_an_expression(app: typer.Typer, tmp_path: Path) -> None:
    """timeline graph takes an expression, or @FILE with one."""
    (tmp_path / "cirr.txt").write_text(CIRR)
    direct = CliRunner().invoke(app, [CIRR, "-o", "dot"])
    from_file = CliRunner().invoke(app, [f"@{tmp_path / 'cirr.txt'}", "-o", "dot"])
    assert direct.exit_code == 0
    assert direct.stdout == from_file.stdout


def test_the_command_passes_on_mistakes(app: typer.Typer, tmp_path: Path) -> None:
    """A wrong expression and a missing file are the library's own errors."""
    assert isinstance(CliRunner().invoke(app, ["has_existed("]).exception, ExpressionError)
    assert isinstance(CliRunner().invoke(app, [""]).exception, ExpressionError)
    assert isinstance(CliRunner().invoke(app, [str(tmp_path / "none.yaml")]).exception, MetricError)
    assert isinstance(CliRunner().invoke(app, [f"@{tmp_path / 'none'}"]).exception, MetricError)
