"""How what is wrong with a metric is put together."""

from __future__ import annotations

from hypothesis import given, strategies as st

from workflows.conditions.model import WORST_FIRST, Condition, MetricHealth, Notice

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
