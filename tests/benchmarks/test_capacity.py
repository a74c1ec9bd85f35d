"""The simulation of the capacity model: small ones agree with it, and its parts are what they stand for."""

from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from benchmarks.capacity import java_hash, simulate, spread
from benchmarks.simulated_worker import Tally, Worker
from timeline_workers.capacity import limits
from timeline_workers.capacity.capacity_model import choose, need
from timeline_workers.capacity.costs import measured
from timeline_workers.capacity.terms import Layout, Load
from timeline_workers.capacity.traffic import Flow, run_of
from timeline_workers.metric.load import load_metric
from timeline_workers.plan.physical import Plan, partition_of, plan

TOP = Path(__file__).parents[2]


def planned(fuse: bool) -> Plan:
    return plan(load_metric(TOP / "docs/scale.yaml").model_copy(update={"fuse": fuse}))


@pytest.mark.parametrize("fuse", [False, True])
@pytest.mark.parametrize(
    ("load", "layout"),
    [
        (Load(100_000, 6_000.0), None),
        (Load(60_000, 4_000.0), Layout(8, 1, batch=5_000)),
        (Load(60_000, 40_000.0), Layout(16, 4, batch=20_000, topics=2)),
        (Load(50_000, 500.0, spread=0.0), Layout(4, 1, wait=5.0)),
    ],
)
def test_a_simulation_agrees_with_the_model(fuse: bool, load: Load, layout: Layout | None) -> None:
    metric = planned(fuse)
    result = simulate(metric, load, layout or choose(metric, load), measured(), seconds=900, seed=11)
    assert [(c.name, c.ratio) for c in result.checks if not c.holds] == []
    assert result.broken() == []
    assert result.tally.runs > 0


def test_a_simulation_passes_the_limit_that_the_model_sees() -> None:
    """More feeders than a leaf can hear, each sending a batch of two events: messages wait, and too many."""
    slow = msgspec.structs.replace(measured(), round_seconds=10.0)
    layout, load = Layout(2, 12, batch=2), Load(1_000, 50.0)
    result = simulate(planned(True), load, layout, slow, seconds=120, seed=1)
    assert any("signals that wait" in line for line in result.broken())


def test_the_hash_is_javas() -> None:
    words = ["hello", "Aa012", "zzzzz"]
    letters = np.array([list(word.encode()) for word in words], np.uint8)
    by_hand = []
    for word in words:
        value = 0
        for letter in word.encode():
            value = (31 * value + letter) % 2**32
        by_hand.append(value & 0x7FFFFFFF)
    assert java_hash(letters).tolist() == by_hand
    assert java_hash(letters)[0] == 99162322  # what Java says of "hello"


def test_every_session_is_somewhere() -> None:
    load, layout = Load(5_000, 100.0), Layout(4, 2, topics=3)
    found = spread(planned(True).metric, load, layout, seed=2)
    assert found.count.shape == (3, 2, 4)
    assert found.count.sum() == 5_000
    assert found.rate.sum() == pytest.approx(100, rel=0.1)
    assert found.count.min() > 0


def test_partitions_are_the_planners() -> None:
    layout = Layout(4, 1)
    source = planned(True).metric.source.model_copy(update={"partitions": 4})
    text = np.random.default_rng(9).bytes(50 * 16).hex()
    labels = [partition_of(text[i : i + 32], source) for i in range(0, len(text), 32)]
    found = spread(planned(True).metric, Load(50, 1.0), layout, seed=9)
    assert found.count[0, 0].tolist() == [labels.count(f"p{number}") for number in range(4)]


@given(
    st.floats(0.05, 5),
    st.floats(100, 50_000),
    st.floats(0, 8 * limits.MIB),
    st.integers(0, 2),
)
@settings(max_examples=25)
def test_a_run_is_as_long_as_the_model_says(
    rate: float, events: float, state: float, subscribers: int
) -> None:
    """A leaf with evenly spaced messages: its runs have the events, bytes and seconds of ``run_of``."""
    costs = measured()
    weights = costs.separate.bytes
    tally = Tally()
    worker = Worker(costs, costs.separate, True, subscribers, state, 0.0, tally)
    size = events * weights.leaf_per_event / costs.separate.leaves + weights.leaf_per_message
    flow = Flow(rate, rate, rate * subscribers, rate * size, state)
    expected = run_of(flow, costs)
    count = int(2.5 * expected.seconds * rate) + 2
    times = np.arange(count) * max(1 / rate, 2 * costs.round_seconds)
    worker.hear(times, np.full(count, events), np.random.default_rng(1))
    # A run ends with a task, so it has one more at most.
    one = size + (1 + 3 + subscribers) * costs.history_per_event
    assert tally.runs >= 1
    assert tally.most_bytes == pytest.approx(expected.bytes, abs=one + 1)
    assert tally.most_events == pytest.approx(expected.events, abs=1 + 3 + subscribers + 1)


def test_the_busiest_topic_is_simulated() -> None:
    """The topic that is simulated is the one with most."""
    metric, load = planned(True), Load(2_000, 200.0)
    layout = Layout(2, 1, topics=4)
    result = simulate(metric, load, layout, measured(), seconds=60, seed=4)
    found = spread(metric.metric, load, layout, seed=4)
    share = found.rate.sum(axis=(1, 2)).max() / load.events
    (signals,) = (c for c in result.checks if c.name.startswith("signals"))
    assert signals.model == pytest.approx(need(metric, load, layout).feeder_signals * share)
