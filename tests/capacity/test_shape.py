"""The shape of a graph, and what one batch makes its workers do."""

from __future__ import annotations

from typing import Any

import pytest

from timeline_workers.capacity.shape import Shape
from timeline_workers.metric.model import Metric
from timeline_workers.plan.physical import plan

EXPRESSION = (
    'duration_where(latest_event_to_state(state) == "buffer" && has_existed(state == "play")'
    ' && !has_existed_within(action == "seek", 5s))'
)


def shape(expression: str = EXPRESSION, **fields: Any) -> Shape:
    source = {"topic": "t", "key": "k", "time": "at", "partitions": 3}
    return Shape.of(
        plan(Metric.model_validate({"name": "m", "source": source, "expression": expression, **fields}))
    )


def test_a_graph_of_eight_nodes() -> None:
    found = shape()
    assert (found.nodes, found.leaves, len(found.workers), found.edges) == (8, 3, 8, 7)
    assert [len(inputs) for _, inputs in found.workers].count(2) == 2


def test_fused_it_has_a_worker_above_the_leaves() -> None:
    found = shape(fuse=True)
    assert (found.nodes, found.leaves, len(found.workers), found.edges) == (8, 3, 4, 3)


def test_an_aggregate_is_beside_the_partitions() -> None:
    found = shape("duration_where(has_existed(a == 1)) | aggregate(group_by(b), count)")
    assert found.aggregates == 1
    assert len(found.workers) == found.leaves + 1


def test_a_chain_works_once_at_every_worker() -> None:
    assert shape('duration_where(latest_event_to_state(state) == "buffer")').rounds == (1, 1, 1)


def test_what_comes_while_a_worker_works_is_taken_together() -> None:
    """Three leaves tell one worker at the same instant: it begins with the first, and takes two together."""
    assert shape(fuse=True).rounds == (1, 1, 1, 2)


def test_inputs_at_unequal_distance_arrive_one_by_one() -> None:
    # The state's comparison tells `&&` a task later than the leaf beside it does.
    """Inputs that are not equally far away are heard one by one."""
    assert shape('latest_event_to_state(state) == "a" && has_existed(state == "b")').rounds == (1, 1, 1, 2)


@pytest.mark.parametrize("fuse", [False, True])
def test_a_worker_has_no_more_tasks_than_messages(fuse: bool) -> None:
    """A worker does no more tasks than messages reach it."""
    found = shape(fuse=fuse)
    for (_, inputs), rounds in zip(found.workers, found.rounds, strict=True):
        assert 1 <= rounds <= max(1, sum(found.rounds[child] for child in inputs))
