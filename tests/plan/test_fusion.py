"""Fusion: the nodes of a metric with `fuse: true` that share a worker, its name and its inputs."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given

from tests.language.strategies import expressions
from tests.plan.test_plan import metric
from timeline_workers.algebra.nodes.fused import FusedNode, derived_of
from timeline_workers.errors import ExpressionError, MetricError
from timeline_workers.language import tree as t
from timeline_workers.language.canonical import canonical, to_text
from timeline_workers.language.parser import parse
from timeline_workers.plan.physical import (
    MAX_WORKERS,
    Plan,
    about,
    all_worker_names,
    global_workers,
    host,
    inner_nodes,
    is_global,
    plan,
    worker_name,
    workers,
)

TWICE = """duration_where(latest_event_to_state(s) == "x")
    - duration_where(latest_event_to_state(s) == "x" && has_existed(b))"""


def fused(expression: str, **source: Any) -> Plan:
    return plan(metric(expression, **source).model_copy(update={"fuse": True}))


@given(expressions)
def test_one_worker_of_a_partition_computes_every_derived_node(expression: t.Expression) -> None:
    """Its nodes and inputs are those, in their order, that the core computes; leaves and aggregates are
    apart, and all nodes are called what they are without `fuse`."""
    try:
        text = to_text(canonical(expression))
        made, apart = fused(text), plan(metric(text))
    except (ExpressionError, MetricError):
        return
    assert made.nodes == apart.nodes
    top = host(made)
    derived = [node for node in made.nodes if not node.is_leaf and not is_global(node)]
    specs = {spec.worker_id: spec for spec in [*workers(made, "p0"), *global_workers(made)]}
    plain = {spec.worker_id: spec for spec in [*workers(apart, "p0"), *global_workers(apart)]}
    if len(derived) < 2:
        assert (top, specs) == (None, plain)
        return
    assert top == derived[-1]
    spec = specs.pop(f"{top.name}-fused.p0")
    assert [node.name for node in spec.fused] == [node.name for node in inner_nodes(made)]
    assert [parse(node.expression) for node in derived] == derived_of(parse(top.expression))
    leaves = {parse(node.expression): f"{node.name}.p0" for node in made.nodes if node.is_leaf}
    node = FusedNode(parse(top.expression))
    assert spec.inputs == tuple((leaves[leaf],) for leaf in node.leaves)
    for name, other in specs.items():
        if other.node.is_leaf:
            assert other == plain[name]
        else:
            assert other.inputs[0] == (spec.worker_id,)
    assert len(specs) == len([n for n in made.nodes if n.is_leaf or is_global(n)])


def test_a_node_with_several_readers_is_fused_too() -> None:
    """Whoever reads it is in the same worker: computed once, heard of by nobody else."""
    made = fused(TWICE)
    (spec,) = [spec for spec in workers(made, "p0") if spec.fused]
    read = [name for node in made.nodes for name in node.inputs]
    shared = [node for node in made.nodes if read.count(node.name) > 1]
    assert [node.operator for node in shared] == ["equal-to"]
    assert shared[0].name in {node.name for node in spec.fused}
    assert len(spec.inputs) == 2


def test_an_aggregate_subscribes_to_the_fused_worker() -> None:
    """In every partition, beside the leaf of the group; the worker is that of the metric without the
    aggregate."""
    below = fused(TWICE, partitions=2)
    made = fused(f"{TWICE} | aggregate(group_by(s), sum)", partitions=2)
    (spec,) = global_workers(made)
    name = f"{below.result.name}-fused"
    assert spec.inputs[0] == (f"{name}.p0", f"{name}.p1")
    assert {s.worker_id for s in workers(below, "p1")} == {s.worker_id for s in workers(made, "p1")}
    assert about(made, made.result) == {}


def test_what_a_question_must_say_besides() -> None:
    """Its node, where the worker is named for another one; nothing for leaves and for the host itself."""
    made = fused(TWICE)
    said = {node.name: about(made, node) for node in made.nodes}
    inner = {node.name for node in inner_nodes(made)}
    assert said == {node.name: {"node": node.name} if node.name in inner else {} for node in made.nodes}
    assert set(all_worker_names(made)) == {worker_name(made, node) for node in made.nodes}
    assert len(all_worker_names(made)) == 1 + sum(node.is_leaf for node in made.nodes)


def test_a_worker_of_one_node_is_described_as_ever() -> None:
    """An earlier release reads what has nothing fused in it."""
    (leaf, *_) = workers(fused(TWICE), "p0")
    assert "fused" not in leaf.model_dump()
    assert "fused" not in leaf.model_dump_json()


def test_fused_workers_count_once() -> None:
    """More partitions fit when a partition needs fewer workers; the message says how many it needs."""
    apart, together = metric(TWICE), metric(TWICE).model_copy(update={"fuse": True})
    nodes = len(plan(apart).nodes)
    many = MAX_WORKERS // nodes + 1
    source = apart.source.model_copy(update={"partitions": many})
    with pytest.raises(MetricError, match=f"{nodes} in each of {many} partitions"):
        plan(apart.model_copy(update={"source": source}))
    assert len(workers(plan(together.model_copy(update={"source": source})), "p0")) == 3
