"""The preview of applying a metric: it says of every worker what the catalog would do."""

from __future__ import annotations

from hypothesis import given, strategies as st

from timeline_workers.metric.model import Metric, Source
from timeline_workers.plan.physical import Plan, all_workers, plan
from timeline_workers.plan.preview import preview

SOURCE = Source.model_validate(
    {"topic": "t", "key": "k", "time": "t", "partitions": 2, "columns": {"a": "int", "b": "int"}}
)
PARTS = ("has_existed(a == 1)", "has_existed(b == 2)", "has_existed_within(a == 3, 5s)")
Expressions = st.lists(st.sampled_from(PARTS), min_size=1, unique=True).map(" && ".join)
Metrics = st.builds(
    lambda name, expression, fuse: Metric(name=name, source=SOURCE, expression=expression, fuse=fuse),
    st.sampled_from(["one", "two", "three"]),
    Expressions,
    st.booleans(),
)


def workers(graph: Plan) -> set[str]:
    return {spec.worker_id for spec in all_workers(graph)}


@given(Metrics, st.lists(Metrics, max_size=3, unique_by=lambda metric: metric.name))
def test_each_worker_starts_stops_or_goes_on(wanted: Metric, applied: list[Metric]) -> None:
    """What is needed before and after, by the sets of workers of all metrics."""
    graph, others = plan(wanted), [plan(metric) for metric in applied if metric.name != wanted.name]
    old = [plan(metric) for metric in applied if metric.name == wanted.name]
    found = preview(graph, [*others, *old])
    before = set().union(*map(workers, [*others, *old]))
    after = set().union(*map(workers, [*others, graph]))
    said = {change: {one.worker for one in found.workers if one.change == change} for change in CHANGES}
    assert said["start"] == after - before
    assert said["stop"] == before - after
    assert said["keep"] == workers(graph) & before
    assert (found.starts, found.stops, found.kept) == tuple(len(said[change]) for change in CHANGES)
    for one in found.workers:
        sharing = [other.metric.name for other in others if one.worker in workers(other)]
        assert list(one.shared) == sorted(sharing)
    assert found.outcome == ("new" if not old else "unchanged" if old[0].metric == wanted else "replaced")


CHANGES = ("start", "stop", "keep")
