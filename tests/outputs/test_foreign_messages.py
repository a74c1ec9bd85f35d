"""Messages of a changelog that others wrote: whatever they say is read or refused, and stops nothing."""

from __future__ import annotations

import json
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, strategies as st

from feeder.routing.router import Messages, Router, groups_of
from timeline_workers.columns.event_batch import Positions
from timeline_workers.errors import UnknownNameError
from timeline_workers.metric.model import Metric, Source
from timeline_workers.plan.physical import partition_labels, plan, workers
from timeline_workers.runtime.node_worker import NodeWorker

PUBLISHED = 1_000_000

NUMBERS = (
    st.integers(-3, 30)
    | st.sampled_from([2**63 - 1, 2**63, -(2**63), 2**70, 10**400])
    | st.floats()
    | st.sampled_from([1e308, 5e-324])
)
EXACT = st.sampled_from(
    [
        "1/3",
        "-7",
        "1/0",
        "1e5000",
        "1e-5000",
        "1e999999999",
        "1" * 999,
        "1" * 1001,
        "1/" + "9" * 999,
        " 1",
        "nan",
        "",
    ]
)
ANYTHING: st.SearchStrategy[Any] = NUMBERS | EXACT | st.booleans() | st.none() | st.just([]) | st.just({})
FIELDS = st.fixed_dictionaries(
    {},
    optional={
        "from": ANYTHING,
        "until": ANYTHING,
        "value": ANYTHING,
        "slope": NUMBERS | st.none(),
        "exact": st.fixed_dictionaries({"value": EXACT, "slope": EXACT}),
        "before": ANYTHING,
        "kind": st.sampled_from(["", "number", "numeric", "boolean", "state", "other"]) | ANYTHING,
        "withdrawn": st.booleans(),
        "revision": ANYTHING,
        "watermark": ANYTHING,
    },
)


def routed(kind: str, fields: dict[str, Any]) -> tuple[bool, Any]:
    """Whether one message with ``fields`` was taken by a leaf, and what that answers then, also when it was
    restored from its state.
    """
    source = Source.model_validate({"topic": "o", "changelog": True})
    made = plan(Metric(name="n", source=source, expression=f"changelog({kind})"))
    [group] = groups_of([made])["o"]
    body = {
        "metric": "m",
        "key": "a",
        "from": 10,
        "until": None,
        "value": 3,
        "slope": 0,
        "revision": 1,
        **fields,
    }
    zero = np.zeros(1, np.int64)
    places = Positions(zero.astype(np.int32), zero, zero)
    found = Router(group).route(Messages([json.dumps(body).encode()], places, zero + PUBLISHED))
    if found.refused:
        assert found.refused[0].message
        return False, None
    spec = workers(made, partition_labels(made)[0])[0]
    worker = NodeWorker(spec)
    for parcels in found.parcels.values():
        for parcel in parcels:
            worker.ingest(parcel.payload)
    worker = NodeWorker.restore(spec, worker.snapshot(1 << 20))
    try:
        return True, worker.ask("change", {"key": "a", "start": 0, "end": 20})
    except UnknownNameError:  # nothing is said of it, or a watermark only
        return True, None


@given(st.sampled_from(["number", "numeric", "boolean", "state"]), FIELDS)
@example("number", {"before": "1e5000"})
@example("numeric", {"before": "1e999999999"})
@example("number", {"value": 2**70})
@example("number", {"exact": {"value": "1" * 999, "slope": "0"}})
@example("numeric", {"slope": float("nan")})
def test_no_message_of_others_stops_a_reader(kind: str, fields: dict[str, Any]) -> None:
    routed(kind, fields)


@pytest.mark.parametrize(
    "fields",
    [
        {"before": "1e5000"},
        {"before": 2**70},
        {"value": float("inf")},
        {"value": 2**63},
        {"slope": float("nan")},
        {"exact": {"value": "1e5000", "slope": "0"}},
        {"exact": {"value": "1/0", "slope": "0"}},
    ],
)
def test_numbers_beyond_what_is_computed_with_are_refused(fields: dict[str, Any]) -> None:
    assert not routed("numeric", fields)[0]


def test_a_number_too_large_for_floats_needs_numeric() -> None:
    """Only there it is computed with as it is."""
    large = {"exact": {"value": "1" * 400, "slope": "0"}}
    assert routed("numeric", large)[0]
    assert not routed("number", large)[0]
    assert not routed("number", {"before": "1" * 400})[0]


def test_what_others_write_as_it_should_be_is_read() -> None:
    taken, answer = routed("numeric", {"exact": {"value": "1/3", "slope": "0"}, "before": 0})
    assert taken
    assert Fraction(answer["change"]).limit_denominator(10) == Fraction(1, 3)
