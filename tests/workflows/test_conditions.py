"""How what is wrong with a metric is put together."""

from __future__ import annotations

from typing import cast

from hypothesis import given, strategies as st

from timeline_workers.graph.plan import plan
from timeline_workers.metric import Metric, Source
from workflows.conditions import Applied, Look, clocks
from workflows.conditions.model import WORST_FIRST, Condition, MetricHealth, Notice
from workflows.health import Health
from workflows.messages import CatalogEntry

FOUND = st.lists(
    st.builds(Condition, st.sampled_from(WORST_FIRST[:-1]), st.sampled_from(["", "a", "b"]))
    | st.builds(Notice, st.sampled_from(["x", "y"])),
    max_size=6,
)


@given(FOUND)
def test_the_state_is_that_of_the_worst_and_nothing_is_said_twice(found: list[Condition | Notice]) -> None:
    health = MetricHealth.of("m", found)
    conditions = {one for one in found if isinstance(one, Condition)}
    ranks = [WORST_FIRST.index(one.state) for one in health.conditions]
    assert set(health.conditions) == conditions
    assert len(health.conditions) == len(conditions)
    assert ranks == sorted(ranks)
    assert health.state == (WORST_FIRST[min(ranks)] if ranks else "ok")
    assert set(health.notices) == {one for one in found if isinstance(one, Notice)}


def test_a_notice_makes_no_metric_ill() -> None:
    assert MetricHealth.of("m", [Notice("a clock is ahead")]).state == "ok"


def test_the_cause_names_the_worker() -> None:
    found: list[Condition | Notice] = [Condition("subscribing", "", "w"), Condition("busy", "asleep", "v.p0")]
    assert MetricHealth.of("m", found).cause == "v.p0: asleep"


def test_clocks_that_are_ahead_are_named_by_partition_and_by_the_furthest() -> None:
    source = Source(topic="devices", key="k", time="t", clock_skew=5_000_000)
    planned = plan(Metric(name="m", source=source, expression="event_count(x == 1)"))

    def heard(worker: str, *noted: tuple[int, int, int]) -> Health:
        progress = [{"partition": p, "noted": {"ahead": ahead, "ahead_by": by}} for p, ahead, by in noted] + [
            {"partition": 7}
        ]
        return Health(worker_id=worker, state="ok", status={"state": {"progress": progress}})

    workers = (heard("a", (0, 2, 60_000_000), (1, 0, 0)), heard("b", (0, 3, 7_500_000)))
    applied = Applied(cast(CatalogEntry, None), planned, workers)
    [notice] = clocks.check(cast(Look, None), applied)
    assert notice.text.startswith(
        "topic devices, partition 0: 3 events had times up to 1m after they were published, more than "
        "clock_skew (5s)"
    )
