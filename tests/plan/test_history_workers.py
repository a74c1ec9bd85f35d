"""Workers of the history: one for each worker that is heard, whichever metrics want it."""

from __future__ import annotations

from typing import Any

import pytest

from timeline_workers.errors import MetricError
from timeline_workers.metric.model import History, Metric, Source
from timeline_workers.plan.history_workers import history_workers
from timeline_workers.plan.physical import Plan, all_workers, plan
from timeline_workers.playback.history_names import recorded_metric

WAITED = 'duration_where(latest_event_to_state(state) == "wait")'


def made(
    history: dict[str, Any] | None, expression: str = WAITED, *, fuse: bool = False, partitions: Any = 2
) -> Metric:
    source = Source(topic="t", key="k", time="t", partitions=partitions)
    told = None if history is None else History.model_validate(history)
    return Metric(name="m", source=source, expression=expression, fuse=fuse, history=told)


def heard(planned: Plan) -> list[str]:
    return [spec.inputs[0][0] for spec in history_workers(planned)]


def test_the_result_is_told_unless_more_is_asked() -> None:
    planned = plan(made(None))
    assert heard(planned) == heard(plan(made({}))) == [f"{planned.result.name}.p{i}" for i in (0, 1)]
    every = plan(made({"nodes": "all"}))
    assert sorted(heard(every)) == sorted(worker.worker_id for worker in all_workers(every))
    assert heard(plan(made({"nodes": "none"}))) == []


def test_metrics_that_share_a_node_share_its_history() -> None:
    """Its worker is the same to the last field, so whichever metric starts it."""
    inner = plan(made(None, 'latest_event_to_state(state) == "wait"'))
    every = plan(made({"nodes": "all"}))
    assert set(map(repr, history_workers(inner))) < set(map(repr, history_workers(every)))


def test_an_aggregate_tells_each_of_its_functions() -> None:
    planned = plan(made(None, f"{WAITED} | aggregate(group_by(cdn), count, max)"))
    found = history_workers(planned)
    assert [spec.function for spec in found] == ["count", "max"]
    assert [spec.worker_id for spec in found] == [
        f"history-{planned.result.name}-{function}.all" for function in ("count", "max")
    ]
    recorded = recorded_metric(planned.metric)
    assert [spec.node for spec in found] == [node.node for node in recorded.nodes[-2:]]


def test_fused_and_unfused_results_have_histories_apart() -> None:
    """They hear different workers, and two writers of one node would take back what the other says."""
    alone, fused = plan(made(None)), plan(made(None, fuse=True))
    assert alone.result.name == fused.result.name
    names = [history_workers(planned)[0].node for planned in (alone, fused)]
    assert names == [alone.result.name, f"{alone.result.name}-fused"]
    assert [recorded_metric(planned.metric).nodes[-1].node for planned in (alone, fused)] == names


@pytest.mark.parametrize(
    ("metric", "words"),
    [
        (made({"nodes": "all"}, fuse=True), "write 'nodes: result', or leave out fuse"),
        (made({"nodes": "result"}, partitions="per-key"), "write 'nodes: none'"),
    ],
)
def test_what_cannot_be_told_is_refused(metric: Metric, words: str) -> None:
    with pytest.raises(MetricError, match=words):
        plan(metric)


def test_keys_with_their_own_workers_store_events_only() -> None:
    assert history_workers(plan(made({"retention": "7d"}, partitions="per-key"))) == []
