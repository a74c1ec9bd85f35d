"""Our own contenders that need servers answer as `evaluate` does. Nothing here is timed."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks import bare, durable, figure9, latency, measure, recovery, stack, workloads
from benchmarks.histories import Cost
from timeline_workers.plan.physical import plan

pytestmark = pytest.mark.integration

HANGS_AFTER_SECONDS = 300
LONG = ("durable-fused", "durable-history", "signal-each", "killed", "backfill")


CASES = [
    (contender, metric)
    for contenders, metrics in (
        (figure9.CONTENDERS, figure9.METRICS),
        ((*durable.CONTENDERS, *recovery.CONTENDERS[1:]), (durable.METRIC,)),
    )
    for contender in contenders
    for metric in metrics
    if contender.peer is None and contender.module != "postgres"
]


@pytest.mark.parametrize(
    ("contender", "metric"),
    [pytest.param(c, metric, marks=[pytest.mark.long] if c.name in LONG else []) for c, metric in CASES],
    ids=[f"{contender.name}-{metric}" for contender, metric in CASES],
)
def test_a_contender_answers_as_evaluate_does(
    contender: measure.Contender, metric: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(measure, "RUN_SECONDS", HANGS_AFTER_SECONDS)
    workloads.generate(workloads.METRICS[metric], 200, 10, seed=3).write(tmp_path, lines=True)
    _, answers = measure.run(contender, tmp_path, 150, None, {})
    measure.check(contender.name, answers, workloads.expected(tmp_path, 150))


def test_the_chain_is_as_long_as_the_longest_path() -> None:
    expression = workloads.METRICS[latency.METRIC].expression
    planned = plan(stack.metric("bench", expression, ("playerStateChange", "userAction")))
    assert latency.depth(planned) == 5


def test_the_99th_percentile_is_a_value_that_was_measured() -> None:
    assert latency.p99([3.0, 1.0, 2.0]) == 3.0
    assert latency.p99([float(n) for n in range(1, 201)]) == 198.0


def test_a_cost_is_what_came_on_top() -> None:
    before = Cost(10, 100, 2, 1, {"signals": 3})
    after = Cost(15, 180, 3, 2, {"signals": 4, "timers": 1})
    more = after.minus(before)
    assert (more.events, more.bytes, more.workflow_tasks, more.local_activities) == (5, 80, 1, 1)
    assert more.by_kind == {"signals": 1, "timers": 1}
    assert more.actions == 2


def test_a_bare_tree_has_the_workers_of_the_graph() -> None:
    from benchmarks.contenders.transport import tree

    expression = workloads.METRICS[durable.METRIC].expression
    edges = tree(plan(stack.metric("bench", expression, ("playerStateChange", "userAction"))))
    assert len(edges) == 8
    assert [len(subscribers) for *_, subscribers in edges].count(0) == 1
    assert sum(inputs for _, inputs, _ in edges) - 3 == sum(len(s) for *_, s in edges)
    assert bare.BareInput(*edges[-1][1:]).subscribers == []
