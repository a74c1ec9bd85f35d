"""The workers that two metrics share, and the reason where they share none although they read one topic."""

from __future__ import annotations

from collections.abc import Iterator

from timeline_workers.language.durations import format_duration
from timeline_workers.metric.model import ColumnSpec
from timeline_workers.process.counted import counted

from .physical import Plan, all_worker_names
from .reading import ANY, reading_of

_SOURCE = ("key", "time", "time_unit", "partitions")
_SOURCE_DURATIONS = ("allowed_lateness", "clock_skew", "max_ahead", "idle_timeout")
_METRIC_DURATIONS = ("retention", "key_ttl")


def shared(one: Plan, other: Plan) -> tuple[str, ...]:
    """The nodes whose workers both metrics use, children first."""
    return tuple(name for name in all_worker_names(one) if name in all_worker_names(other))


def differences(one: Plan, other: Plan) -> list[str]:
    """What of their definitions keeps two metrics from sharing any worker, in words; nothing where only their
    expressions differ.
    """
    here, there = one.metric.source.topic, other.metric.source.topic
    if here != there:
        return [f"topic is {here} here and {there} there"]
    return [*_fields(one, other), *_judgement(one, other), *_columns(one, other)]


def sharing(one: Plan, other: Plan) -> str:
    """What the metrics ``one`` and ``other`` share, or why nothing, in a line."""
    found, name = shared(one, other), other.metric.name
    if found:
        count = f"{len(found)} of {counted(len(all_worker_names(one)), 'node')}"
        return f"{one.metric.name} shares {count} with {name}: {', '.join(found)}"
    why = differences(one, other)
    said = "; ".join(why) if why else "they have no part of the expression in common"
    return f"{one.metric.name} shares nothing with {name}: {said}"


def _fields(one: Plan, other: Plan) -> Iterator[str]:
    here, there = one.metric, other.metric
    if here.naming != there.naming:
        old = here.name if here.naming == 1 else there.name
        yield f"{old} has the names of an earlier release until it is applied again"
    for field in _SOURCE:
        yield from _differ(field, getattr(here.source, field), getattr(there.source, field))
    for field in _SOURCE_DURATIONS:
        values = getattr(here.source, field), getattr(there.source, field)
        yield from _differ(field, *map(_duration, values))
    for field in _METRIC_DURATIONS:
        yield from _differ(field, _duration(getattr(here, field)), _duration(getattr(there, field)))


def _differ(field: str, here: object, there: object) -> Iterator[str]:
    if here != there:
        yield f"{field} is {here} here and {there} there"


def _duration(micros: int | None) -> str:
    return "not set" if micros is None else format_duration(micros)


def _judgement(one: Plan, other: Plan) -> Iterator[str]:
    here, there = (reading_of(plan.metric).judgement() for plan in (one, other))
    ours, theirs = dict.fromkeys(here.accepted), dict.fromkeys(there.accepted)
    for path in sorted({path for path, _ in {*ours, *theirs}}):
        mine = " and ".join(accepts for at, accepts in ours if at == path)
        others = " and ".join(accepts for at, accepts in theirs if at == path)
        if mine != others:
            yield f"{path!r} {_must(mine)} here and {_must(others)} there, else the event is refused"
    if here.alike != there.alike:
        yield "columns are compared with one another by one of them only"


def _columns(one: Plan, other: Plan) -> Iterator[str]:
    # They refuse the same events, and read a column that both look at in different ways.
    used = [{name for node in plan.nodes if node.is_leaf for name in node.columns} for plan in (one, other)]
    for name in sorted(used[0] & used[1]):
        here, there = (_read(plan.metric.source.columns.get(name), name) for plan in (one, other))
        yield from _differ(f"column {name!r}", here, there)


def _read(spec: ColumnSpec | None, name: str) -> str:
    if spec is None:
        return "undeclared"
    missing = ", missing where it does not fit" if spec.on_bad_value == "missing" else ""
    return f"{spec.type} at {spec.path or name!r}{missing}"


def _must(accepted: str) -> str:
    known = {"": "may be anything", ANY: "must be a bool, int, float or string"}
    return known.get(accepted, f"must be of type {accepted}")
