"""The capacity model: what follows from its rules whatever the costs are."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from timeline_workers.capacity import capacity_model, limits
from timeline_workers.capacity.capacity_model import choose, fullest, need
from timeline_workers.capacity.costs import measured, read
from timeline_workers.capacity.terms import CLOUD, Layout, Load
from timeline_workers.metric.load import load_metric
from timeline_workers.plan.physical import MAX_WORKERS, Plan, plan

TOP = Path(__file__).parents[2]


def planned(fuse: bool = True) -> Plan:
    return plan(load_metric(TOP / "docs/scale.yaml").model_copy(update={"fuse": fuse}))


FUSED, SEPARATE = planned(True), planned(False)
layouts = st.builds(
    Layout,
    partitions=st.integers(1, 300),
    feeders=st.integers(1, 12),
    batch=st.integers(1, 50_000),
    topics=st.integers(1, 64),
    wait=st.floats(0.02, 10),
)
loads = st.builds(
    Load,
    sessions=st.integers(1, 20_000_000),
    events=st.floats(0.01, 1e6),
    session_seconds=st.floats(1, 86_400),
    queries=st.floats(0, 1_000),
    spread=st.floats(0, 3),
)
plans = st.sampled_from([FUSED, SEPARATE])


@given(plans, loads, layouts)
@settings(max_examples=60)
def test_every_need_is_a_number_and_none_is_negative(metric: Plan, load: Load, layout: Layout) -> None:
    found = need(metric, load, layout)
    for name in found.__dataclass_fields__:
        value = getattr(found, name)
        if isinstance(value, float | int):
            assert np.isfinite(value), name
            assert value >= 0, name
    assert all(np.isfinite(limit.use) and limit.use >= 0 for limit in found.limits)


@given(plans, loads, layouts)
@settings(max_examples=60)
def test_twice_the_topics_carry_twice_the_load(metric: Plan, load: Load, layout: Layout) -> None:
    one = need(metric, load, layout)
    both = need(
        metric,
        replace(load, sessions=2 * load.sessions, events=2 * load.events, queries=2 * load.queries),
        replace(layout, topics=2 * layout.topics),
    )
    for name in (
        "signals",
        "tasks",
        "history_events",
        "history_bytes",
        "runs",
        "actions",
        "state",
        "workers",
    ):
        assert getattr(both, name) == pytest.approx(2 * getattr(one, name)), name
    assert both.leaf_rate == pytest.approx(one.leaf_rate)


@given(plans, loads, layouts)
@settings(max_examples=60)
def test_a_larger_batch_makes_no_more_signals(metric: Plan, load: Load, layout: Layout) -> None:
    small, large = (need(metric, load, replace(layout, batch=batch)) for batch in (1_000, 10_000))
    # A batch that is smaller than the partitions are many reaches fewer of them.
    assert large.feeder_signals <= small.feeder_signals * 1.2
    assert large.tasks <= small.tasks * 1.2


@given(loads, layouts)
@settings(max_examples=60)
def test_histories_count_signals_messages_and_tasks(load: Load, layout: Layout) -> None:
    """Histories have an event for each signal and message and three for each task."""
    found = need(SEPARATE, load, layout)
    work = found.feeder_signals + found.edge_messages + 3 * found.tasks
    told = found.edge_messages  # each is sent by one worker and heard by another
    assert found.history_events >= work + told - 1e-9 * work


def test_a_batch_gathers_as_the_feeder_lets_it() -> None:
    """A batch gathers as long as the feeder lets it."""
    load, layout = Load(10_000, 1_000.0), Layout(16, 2, wait=2.0)
    assert need(FUSED, load, layout).batch == 1_000  # two seconds of half of the events


def test_messages_are_not_more_than_workers_can_take() -> None:
    layout = Layout(partitions=10, feeders=10, batch=100)
    found = need(SEPARATE, Load(1_000_000, 1_000_000.0), layout)
    assert found.tasks == pytest.approx(found.workers / measured().round_seconds)


@pytest.mark.parametrize("metric", [FUSED, SEPARATE])
@pytest.mark.parametrize(("sessions", "events"), [(1_000, 10.0), (100_000, 5_000.0), (10_000_000, 580_000.0)])
def test_what_is_chosen_fits(metric: Plan, sessions: int, events: float) -> None:
    load = Load(sessions, events)
    layout = choose(metric, load)
    found = need(metric, load, layout)
    assert found.fits
    assert found.fits_well
    assert all(limit.use <= 1 for limit in found.limits if limit.name != CLOUD)


@given(plans, loads)
@settings(max_examples=20)
def test_a_choice_keeps_what_was_given(metric: Plan, load: Load) -> None:
    """A choice keeps what was given and the limits on numbers."""
    layout = choose(metric, load, partitions=7, feeders=3, topics=2, batch=500)
    assert layout == Layout(7, 3, 500, 2)
    free = choose(metric, load, topics=1)
    assert need(metric, load, free).workers <= MAX_WORKERS
    assert free.feeders * limits.OUTSTANDING <= limits.BUFFERED_SIGNALS


@pytest.mark.parametrize(("balls", "bins", "spread"), [(100_000, 64, 0.0), (400_000, 500, 1.0)])
def test_the_fullest_partition_is_as_full_as_when_drawn(balls: int, bins: int, spread: float) -> None:
    drawn = np.random.default_rng(5)
    found = []
    for _ in range(20):
        weights = drawn.gamma(1 / spread**2, spread**2, balls) if spread else np.ones(balls)
        sums = np.bincount(drawn.integers(0, bins, balls), weights, bins)
        found.append(sums.max() / sums.mean())
    assert fullest(balls, bins, spread) == pytest.approx(float(np.mean(found)), abs=0.02)


def test_without_key_ttl_a_day_of_sessions_stays() -> None:
    """A metric without key ttl keeps a day of sessions."""
    load, layout = Load(1_000, 100.0), Layout(4, 1)
    metric = FUSED.metric.model_copy(update={"key_ttl": None})
    kept = need(FUSED.model_copy(update={"metric": metric}), load, layout)
    assert kept.state > need(FUSED, load, layout).state
    assert kept.archive_bytes_a_day == 0


def test_the_costs_of_the_release_are_read() -> None:
    found = measured()
    assert found.separate.edges == 7
    assert found.fused.edges == 3
    with pytest.raises(ValueError, match="missing required field"):
        read(b"{}")
    assert capacity_model.BUSY < 1
