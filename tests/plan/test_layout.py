"""The layout of a plan: every node and edge has its place, also when several are laid out at once."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from timeline_workers.metric.load import load_metric
from timeline_workers.plan.layout import Box, Layout, layout
from timeline_workers.plan.physical import Plan, plan

TOP = Path(__file__).parents[2]


def planned(example: str) -> Plan:
    return plan(load_metric(TOP / "examples" / example / "metric.yaml"))


ROUNDING = 0.1  # of a point


def inside(box: Box, picture: Layout) -> bool:
    left, right = box.x - box.width / 2, box.x + box.width / 2
    top, bottom = box.y - box.height / 2, box.y + box.height / 2
    return (
        min(left, top) > -ROUNDING and right < picture.width + ROUNDING and bottom < picture.height + ROUNDING
    )


@pytest.mark.parametrize("example", ["cirr", "idle-by-region", "waited-more-than-played"])
def test_every_node_and_edge_has_a_place(example: str) -> None:
    graph = planned(example)
    picture = layout(graph)
    boxes = {box.name: box for box in picture.boxes}
    assert set(boxes) == {"source", *(node.name for node in graph.nodes)}
    assert all(inside(box, picture) for box in boxes.values())
    edges = {(line.from_node, line.to_node) for line in picture.lines}
    assert edges == {(name, node.name) for node in graph.nodes for name in node.inputs or ["source"]}
    for line in picture.lines:  # events flow upwards: y grows downwards
        assert boxes[line.from_node].y > boxes[line.to_node].y
        assert len(line.points) % 3 == 1
    assert (picture.frame is not None) is graph.metric.fuse


def test_several_are_laid_out_at_once() -> None:
    """WebAssembly's memory is shared: without care this ends the process."""
    graph = planned("cirr")
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(layout, [graph] * 16))
    assert all(one == found[0] for one in found)
