"""Whatever else reads a topic, in whatever order metrics are applied and removed, each answers as alone."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from feeder.routing.router import Messages, MetricGroup, Router, groups_of, progress_parcel
from tests.chaos import expected
from tests.oracle.events import Event, of_key
from tests.oracle.oracle import timeline
from timeline_workers.columns.event_batch import Positions
from timeline_workers.errors import UnknownNameError
from timeline_workers.language.parser import parse
from timeline_workers.metric.model import ColumnSpec, Metric, Source
from timeline_workers.plan.physical import Plan, WorkerSpec, plan, worker_id, workers
from timeline_workers.runtime.node_worker import NodeWorker

SECOND = 1_000_000
RANGE = {"start": -10 * SECOND, "end": 100 * SECOND}

# Expressions, and what each needs of undeclared columns by itself; a tuple of columns: one type for them.
NEEDS: dict[str, dict[str, Any]] = {
    'duration_where(latest_event_to_state(a) == "on")': {"a": "string"},
    'duration_where(latest_event_to_state(a) == "on" && !has_existed(b > 1))': {"a": "string", "b": "float"},
    'has_existed_within(a == "on", 3s)': {"a": "string"},
    "latest_event_to_state(a) > 1": {"a": "float"},
    "latest_event_to_state(a)": {"a": "any"},
    "event_count(a == b)": {"a": "any", "b": "any", "alike": ("a", "b")},
    'event_count(a == "on" || c)': {"a": "string", "c": "bool"},
    "event_count(c)": {"c": "bool"},
}
FIELDS = ("a", "b", "c", "d")
_column = st.builds(
    ColumnSpec,
    type=st.sampled_from(["string", "float", "bool", "int"]),
    path=st.sampled_from([None, None, None, *FIELDS]),
    on_bad_value=st.sampled_from([None, None, "refuse", "missing"]),
)


@st.composite
def _metrics(draw: st.DrawFn) -> list[Metric]:
    """Metrics over one topic, some with declarations that fit the expression, some with none."""
    found = []
    for number in range(draw(st.integers(2, 4))):
        expression = draw(st.sampled_from(list(NEEDS)))
        columns: dict[str, ColumnSpec] = {}
        if draw(st.booleans()):
            columns = draw(st.dictionaries(st.sampled_from(FIELDS), _column, max_size=3))
            for name, type_ in NEEDS[expression].items():
                if name != "alike":
                    spec = columns.get(name, draw(_column))
                    fits = spec if type_ == "any" else spec.model_copy(update={"type": type_})
                    columns[name] = fits.model_copy(update={"type": "string"}) if type_ == "any" else fits
        lateness = draw(st.sampled_from([0, 2 * SECOND, 60 * SECOND]))
        source = Source(topic="t", key="k", time="t", columns=columns, allowed_lateness=lateness)
        name = draw(st.sampled_from("xyz")) + str(number)
        found.append(Metric(name=name, source=source, expression=expression))
    return found


_values = st.sampled_from(["on", "off", 1, 2.5, True, None, 2**70, [1]])
_event = st.fixed_dictionaries(
    {"k": st.sampled_from(["p", "q", None]), "t": st.integers(0, 12)},
    optional=dict.fromkeys(FIELDS, _values),
)


def _fits(value: Any, type_: str) -> bool:
    number = isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 2**63
    fits = {
        "string": isinstance(value, str),
        "bool": isinstance(value, bool),
        "int": number and isinstance(value, int),
        "float": number,
    }
    return any(fits.values()) if type_ == "any" else fits[type_]


def _kind(value: Any) -> str:
    return "number" if _fits(value, "float") else type(value).__name__


def _read(event: dict[str, Any], metric: Metric) -> dict[str, Any] | None:
    """The columns of ``event`` as ``metric`` alone reads them, None if it refuses the event."""
    columns: dict[str, Any] = {}
    declared = metric.source.columns
    needs = dict(NEEDS[metric.expression])
    alike = needs.pop("alike", ())
    for name in declared or needs:
        spec = declared.get(name)
        type_ = needs[name] if spec is None else spec.type
        value = event.get(name if spec is None else spec.path or name)
        if value is None:
            continue
        if _fits(value, type_):
            columns[name] = float(value) if spec is not None and spec.type == "float" else value
        elif spec is None or spec.on_bad_value != "missing":
            return None
    kinds = {_kind(columns[name]) for name in alike if name in columns}
    return None if len(kinds) > 1 and not declared else columns


def _judged(events: Sequence[dict[str, Any]], metric: Metric) -> tuple[list[Event], int | None]:
    """What ``metric`` alone accepts, and its watermark, read one event after the other."""
    accepted, mark = [], None
    for place, event in enumerate(events):
        if event["k"] is None:
            continue
        at = event["t"] * SECOND
        columns = _read(event, metric)
        if columns is not None and (mark is None or at >= mark):
            accepted.append(Event(event["k"], at, (0, 0, place), columns))
        reached = at - metric.source.allowed_lateness
        mark = reached if mark is None else max(mark, reached)
    return accepted, mark


class Shared:
    """Workers and routers as worker processes and a feeder have them, for all registered metrics."""

    def __init__(self) -> None:
        self.plans: dict[str, Plan] = {}
        self.workers: dict[str, NodeWorker] = {}
        self._specs: dict[str, WorkerSpec] = {}
        self._routers: dict[str, Router] = {}
        self._events: list[dict[str, Any]] = []
        self._fed: set[str] = set()

    def apply(self, metric: Metric) -> None:
        """Start what does not run; what is new is given the past."""
        planned = self.plans[metric.name] = plan(metric)
        for spec in workers(planned, "p0"):
            if spec.worker_id not in self.workers:
                self._specs[spec.worker_id] = spec
                self.workers[spec.worker_id] = NodeWorker(spec)
                for slot in spec.inputs:
                    self.workers[slot[0]].subscribe(spec.worker_id, "1")
                if spec.node.is_leaf:
                    self._fed.discard(spec.node.name)
        self._update()

    def remove(self, name: str) -> None:
        """End what nobody needs any more."""
        del self.plans[name]
        needed = {s.worker_id for planned in self.plans.values() for s in workers(planned, "p0")}
        self.workers = {w: worker for w, worker in self.workers.items() if w in needed}
        for worker in self.workers.values():
            for subscriber in set(worker.subscribers()) - needed:
                worker.unsubscribe(subscriber)
        self._fed &= {w.rpartition(".")[0] for w in needed}
        self._update()

    def _update(self) -> None:
        groups = groups_of(self.plans.values()).get("t", [])
        old, self._routers = self._routers, {}
        for group in groups:
            router = old.get(group.signature)
            if router is None:
                router = self._replay(group)
            else:
                new = {n: leaf for n, leaf in group.leaves.items() if n not in self._fed}
                self._replay(replace(group, leaves=new))
                router.update(group)
            self._routers[group.signature] = router
            self._fed |= group.leaves.keys()

    def _replay(self, group: MetricGroup) -> Router:
        router = Router(group)
        if group.leaves and self._events:
            self._deliver(router, group, self._messages(0))
        return router

    def feed(self, events: Sequence[dict[str, Any]]) -> None:
        """Feed one batch to every group."""
        first = len(self._events)
        self._events += events
        for router in self._routers.values():
            self._deliver(router, router.group, self._messages(first))

    def _messages(self, first: int) -> Messages:
        payloads = [json.dumps(event).encode() for event in self._events[first:]]
        zeros = np.zeros(len(payloads), np.int64)
        minor = np.arange(first, len(self._events))
        return Messages(
            payloads, Positions(zeros.astype(np.int32), zeros, minor), np.full(len(zeros), 10**15)
        )

    def _deliver(self, router: Router, group: MetricGroup, messages: Messages) -> None:
        routed = router.route(messages)
        for name, leaf in group.leaves.items():
            worker = self.workers[worker_id(name, "p0")]
            parcels = routed.parcels.get(worker_id(name, "p0"), [])
            for parcel in [*parcels, progress_parcel(leaf, routed.progress)]:
                worker.ingest(parcel.payload)
        self._settle()

    def _settle(self) -> None:
        for name in self._specs:  # children come first
            worker = self.workers.get(name)
            for subscriber in worker.subscribers() if worker is not None else ():
                while (message := worker.outgoing(subscriber, 1 << 20)) is not None:  # type: ignore[union-attr]
                    self.workers[subscriber].receive(message)
                    worker.delivered(subscriber)  # type: ignore[union-attr]


def _assert_as_if_alone(shared: Shared, events: Sequence[dict[str, Any]]) -> None:
    for planned in shared.plans.values():
        accepted, mark = _judged(events, planned.metric)
        worker = shared.workers[worker_id(planned.result.name, "p0")]
        for key in ("p", "q"):
            own = of_key(accepted, key)
            if not own:
                with pytest.raises(UnknownNameError):
                    worker.ask("spans", {"key": key, "unit": "us", **RANGE})
                continue
            pieces = timeline(parse(planned.metric.expression), own, key)
            right = expected.spans(pieces, planned.result.kind, key, RANGE["start"], RANGE["end"], mark)
            assert worker.ask("spans", {"key": key, "unit": "us", **RANGE}) == right, planned.metric
            found = worker.ask("value_at", {"key": key, "unit": "us", "at": 5 * SECOND})
            assert found == expected.value_at(pieces, planned.result.kind, key, 5 * SECOND, mark)


@settings(max_examples=settings().max_examples * 2)
@given(st.data())
def test_every_metric_answers_as_if_it_were_alone(data: st.DataObject) -> None:
    """Random metrics, declarations, orders of applying and removing, events and batches, against a reading of
    each metric's events by itself.
    """
    metrics = data.draw(_metrics())
    shared = Shared()

    waiting = data.draw(st.permutations(metrics))
    events: list[dict[str, Any]] = []
    for _ in range(data.draw(st.integers(1, 5))):
        for _ in range(data.draw(st.integers(0, len(waiting)))):
            shared.apply(waiting.pop())
        if len(shared.plans) > 1 and data.draw(st.integers(0, 3)) == 0:
            name = data.draw(st.sampled_from(sorted(shared.plans)))
            waiting.insert(0, shared.plans[name].metric)
            shared.remove(name)
        batch = data.draw(st.lists(_event, min_size=1, max_size=4))
        events += batch
        shared.feed(batch)
        _assert_as_if_alone(shared, events)
