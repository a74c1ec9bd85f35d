"""Conditions of a metric, put together into its health."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import cast

import pytest
from hypothesis import given, strategies as st
from temporalio.client import Client

from timeline_workers.events.incarnation import Mark
from timeline_workers.metric.model import Metric, Output, Source
from timeline_workers.plan.physical import plan
from workflows.client.conditions import (
    Applied,
    Look,
    behind,
    changelogs,
    clocks,
    feeding,
    refusals,
    unreachable_servers,
)
from workflows.client.conditions.condition import WORST_FIRST, Condition, MetricHealth, Notice, State
from workflows.client.conditions.health import health_of
from workflows.client.conditions.shortfall import places_to_ask
from workflows.client.conditions.statuses import furthest
from workflows.client.queues import Queue
from workflows.client.worker_health import Health
from workflows.messages import CatalogEntry
from workflows.worker_status import WorkerStatus

FOUND = st.lists(
    st.builds(Condition, st.sampled_from(WORST_FIRST[:-1]), st.sampled_from(["", "a", "b"]))
    | st.builds(Notice, st.sampled_from(["x", "y"])),
    max_size=6,
)


@given(FOUND)
def test_the_worst_condition_is_the_state(found: list[Condition | Notice]) -> None:
    """The state is that of the worst and nothing is said twice."""
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


ON = plan(
    Metric(
        name="m",
        source=Source.model_validate(
            {"topic": "t", "key": "k", "time": "t", "columns": {"x": {"type": "string", "path": "a.b"}}}
        ),
        expression='latest_event_to_state(x) == "on"',
    )
)
LEAF = next(node.name for node in ON.nodes if node.is_leaf)


def leaf(minor: int = 0, unseen: tuple[str, ...] = (), partition: int = 0, **noted: object) -> Health:
    progress = [{"partition": partition, "major": 0, "minor": minor, "noted": noted}]
    state = {"progress": progress, **({"unseen_columns": list(unseen)} if unseen else {})}
    return Health(worker_id=f"{LEAF}.p{partition}", state="ok", status={"state": state})


def look_at(
    *workers: Health, entries: tuple[CatalogEntry, ...] = (), **fields: object
) -> tuple[Look, Applied]:
    applied = Applied(cast(CatalogEntry, None), ON, workers)
    queue = Queue("q", (), 0, timedelta(0), None)
    return Look(cast(Client, None), queue, entries, (applied,), **fields), applied  # type: ignore[arg-type]


def published_at(worker: Health, published: int) -> Health:
    """``worker``, of whose first source partition the last message was published then."""
    assert worker.status is not None
    said = worker.status.model_dump()
    said["state"]["progress"] = [{**p} for p in said["state"]["progress"]]
    said["state"]["progress"][0]["published"] = published
    return Health(worker_id=worker.worker_id, state=worker.state, status=WorkerStatus.model_validate(said))


def ahead(worker: Health, *, published: float | None = None, partition: int = 0) -> list[str]:
    """The warnings of clocks 1000 s after the epoch, of a worker that was last fed what was ``published``."""
    assert worker.status is not None
    if published is not None:
        worker = published_at(worker, round(published * 1e6))
    return [str(one) for one in clocks.check(*look_at(worker, now=1_000.0))]


def test_clocks_ahead_are_named_by_partition() -> None:
    """Clocks that are ahead are named by partition and by the furthest."""
    noted = {"ahead": 3, "ahead_by": 120_000_000, "recent_ahead": 2}
    [said] = ahead(leaf(partition=1, **noted), published=990.0)
    assert said.startswith(
        "topic t, partition 1: 3 events had times up to 2m after they were published, more than "
        "clock_skew (1m), 2 of them in the last minute; they are applied"
    )


def test_the_warning_of_a_clock_ends() -> None:
    """By publish time: whether good events have come since, or none at all."""
    noted = {"ahead": 3, "ahead_by": 120_000_000}
    assert not ahead(leaf(**noted, recent_ahead=0), published=990.0)
    assert len(ahead(leaf(**noted, recent_ahead=1), published=941.0)) == 1
    assert not ahead(leaf(**noted, recent_ahead=1), published=939.0)


def test_an_earlier_release_counts_its_past_as_ahead() -> None:
    """A worker of an earlier release counts its whole past as ahead."""
    [said] = ahead(leaf(ahead=1, ahead_by=90_000_000), published=990.0)
    assert said.startswith("topic t, partition 0: 1 event had times up to 90s after")
    assert "last minute" not in said


@pytest.mark.parametrize(
    ("accepted", "refused", "is_refusing"), [(0, 1, True), (3, 3, True), (4, 3, False), (9, 0, False)]
)
def test_refusing_is_at_least_half_of_the_last_minute(accepted: int, refused: int, is_refusing: bool) -> None:
    noted = {"recent_accepted": accepted, "recent_refused": refused, "reason": "late: too late"}
    found = list(refusals.check(*look_at(leaf(minor=5, **noted), leaf(minor=4, recent_refused=100))))
    assert [one.state for one in found if isinstance(one, Condition)] == ["refusing"] * is_refusing
    if is_refusing:
        assert f"{refused} of {accepted + refused} events of topic t" in str(found[0])
        assert "late: too late" in str(found[0])


def test_a_column_no_leaf_has_seen_is_doubted() -> None:
    """A column is doubted when no leaf has seen it and events came."""
    unheard = leaf(unseen=("x",))
    assert not list(refusals.check(*look_at(unheard)))
    blind, other = leaf(unseen=("x",), accepted=7), leaf(unseen=("x",), partition=1, accepted=2)
    [notice] = refusals.check(*look_at(blind, other))
    assert isinstance(notice, Notice)
    assert "none of 9 events of topic t had a value at 'a.b'" in str(notice)
    assert not list(refusals.check(*look_at(blind, leaf(partition=1, accepted=2))))


@pytest.mark.parametrize("other", ["away", "silent", "incomplete"])
def test_no_column_is_doubted_that_a_leaf_may_hold(other: str) -> None:
    """Of two partitions one has had events without the column; what the other has had is not known."""
    source = ON.metric.source.model_copy(update={"partitions": 2})
    planned = plan(ON.metric.model_copy(update={"source": source}))
    name = next(node.name for node in planned.nodes if node.is_leaf)

    def of(partition: int, **status: object) -> Health:
        like = leaf(unseen=("x",), partition=partition, accepted=3)
        return like.model_copy(
            update={
                "worker_id": f"{name}.p{partition}",
                "status": WorkerStatus.model_validate({**like.status.model_dump(), **status}),
            }
        )

    def noticed(*workers: Health) -> list[Condition | Notice]:
        look, _ = look_at()
        return list(refusals.check(look, Applied(cast(CatalogEntry, None), planned, workers)))

    assert len(noticed(of(0), of(1))) == 1
    second = {
        "away": (),
        "silent": (Health(worker_id=f"{name}.p1", state="busy"),),
        "incomplete": (of(1, incomplete=True),),
    }[other]
    assert not noticed(of(0), *second)


def test_refusing_ends_a_minute_after_the_last_event() -> None:
    """A source that has gone quiet after bad events is not refusing any more."""
    bad = leaf(minor=5, recent_refused=3)
    assert bad.status is not None
    bad = published_at(bad, 1_000_000_000)
    assert [str(one)[:6] for one in refusals.check(*look_at(bad, now=1_059.0))] == ["3 of 3"]
    assert not list(refusals.check(*look_at(bad, now=1_061.0)))


def test_the_lag_of_a_silent_result_is_unknown() -> None:
    """The lag behind a result that does not answer is not known."""
    result = next(node.name for node in ON.nodes if not node.is_leaf)
    silent = Health(worker_id=f"{result}.p0", state="down")
    assert feeding.lag_of(*look_at(leaf(), silent, waiting={"t": None})) is None


def test_a_silent_broker_hides_the_lag() -> None:
    """A broker that does not answer is worse than what waits and hides the lag."""
    seen = look_at(leaf(), broker_down="no Pulsar broker answers at pulsar://h:1")
    assert list(unreachable_servers.check(*seen)) == [
        Condition("unreachable", "no Pulsar broker answers at pulsar://h:1")
    ]
    assert feeding.lag_of(*seen) is None
    [notice] = unreachable_servers.check(*look_at(leaf(), broker_unknown="no address is set for Pulsar"))
    assert "the lag behind topic t is not known: no address is set for Pulsar" in str(notice)
    assert not list(unreachable_servers.check(*look_at(leaf(), waiting={"t": None})))
    assert feeding.lag_of(*look_at(leaf(), waiting={"t": None})) == 0


RESULT = ON.result.name


def at(worker: str, *places: tuple[int, float]) -> Health:
    """A worker that has come to an entry, published at so many seconds, in each source partition."""
    told = [
        {"partition": p, "major": 1, "minor": entry, "published": round(seconds * 1e6)}
        for p, (entry, seconds) in enumerate(places)
    ]
    return Health(worker_id=worker, state="ok", status={"state": {"progress": told}})


@pytest.mark.parametrize(
    ("places", "lagging"),
    [
        ([(9, 100.0), (9, 100.0)], False),
        ([(8, 96.0), (9, 100.0)], False),
        ([(9, 100.0), (3, 94.0)], True),
        ([(3, 90.0), (3, 94.0)], True),
    ],
)
def test_without_the_broker_publish_times_count(places: list[tuple[int, float]], lagging: bool) -> None:
    """By more than five seconds in any partition; the topic may have been silent, so it is "up to" that."""
    seen = look_at(at(f"{LEAF}.p0", (9, 100.0), (9, 100.0)), at(f"{RESULT}.p0", *places), now=1e6)
    found = list(behind.check(*seen))
    assert [one.worker for one in found] == [f"{RESULT}.p0"] * lagging
    assert all("it is up to " in one.cause for one in found)
    assert feeding.lag_of(*seen) is None


@pytest.mark.parametrize(
    ("lacking", "lag", "lagging"),
    [
        ({"m": 9_000.0}, 0.3, False),  # the topic was silent for hours before what the result lacks
        ({"m": 8_940.0}, 60.3, True),
        ({"m": None}, 0.0, False),
        ({}, 0.3, False),  # the broker did not say; what the leaf came to last lacks for certain
    ],
)
def test_the_lag_is_the_age_of_what_lacks(
    lacking: dict[str, float | None], lag: float, lagging: bool
) -> None:
    """Not by the time that lies between what it has and what the leaf has."""
    published = {name: None if age is None else round(age * 1e6) for name, age in lacking.items()}
    seen = look_at(
        at(f"{LEAF}.p0", (9, 9_000.0)),
        at(f"{RESULT}.p0", (8, 5.0)),
        waiting={"t": None},
        lacking=published,
        now=9_000.3,
    )
    assert feeding.lag_of(*seen) == lag
    assert [one.worker for one in behind.check(*seen)] == [f"{RESULT}.p0"] * lagging
    assert not list(feeding.check(*seen))


def test_the_lag_counts_from_the_oldest_lacking_event() -> None:
    """In the topic, or between the workers; a result that has everything lacks nothing, however old it is."""
    ahead, result = at(f"{LEAF}.p0", (9, 100.0)), at(f"{RESULT}.p0", (8, 98.0))
    assert feeding.lag_of(*look_at(ahead, result, waiting={"t": None}, now=101.0)) == 3.0
    waiting = {"t": 90_000_000}
    assert feeding.lag_of(*look_at(ahead, result, waiting=waiting, now=101.0)) == 11.0
    seen = look_at(ahead, result, waiting=waiting, lacking={"m": 80_000_000}, now=101.0)
    assert feeding.lag_of(*seen) == 21.0
    assert "has waited for 11 s" in str(*feeding.check(*seen))
    level = at(f"{RESULT}.p0", (9, 100.0))
    assert feeding.lag_of(*look_at(ahead, level, waiting={"t": None}, now=90_000.0)) == 0
    # Nobody was fed it, and that is said already.
    unfed = look_at(ahead, result, waiting=waiting, lacking={"m": 90_000_000}, now=101.0)
    assert not list(behind.check(*unfed))


def test_a_keys_workers_answer_for_its_events_only() -> None:
    """A tree of workers is held against the events of its key only."""
    source = ON.metric.source.model_copy(update={"partitions": "per-key"})
    planned = plan(ON.metric.model_copy(update={"source": source}))
    leaf_name, result = (node.name for node in planned.nodes)

    def lag(*workers: Health) -> float | None:
        look, _ = look_at(waiting={"t": None}, now=9_000.5)
        return feeding.lag_of(look, Applied(cast(CatalogEntry, None), planned, workers))

    busy = [at(f"{name}.key-a", (9, 9_000.0)) for name in (leaf_name, result)]
    idle = [at(f"{name}.key-b", (2, 10.0)) for name in (leaf_name, result)]
    assert lag(*busy, *idle) == 0
    assert lag(*busy, idle[0], at(f"{result}.key-b", (1, 4.0))) == 8_990.5
    assert lag(busy[0], at(f"{result}.key-a", (1, 4.0)), *idle) == 0.5


def test_the_broker_is_asked_about_long_lags_only() -> None:
    """From where the result is in the partitions in which it is behind, and where all are in the others."""
    ahead = at(f"{LEAF}.p0", (9, 100.0), (7, 100.0), (4, 100.0))

    def asked(*places: tuple[int, float]) -> dict[int, Mark]:
        _, applied = look_at(ahead, at(f"{RESULT}.p0", *places))
        return places_to_ask(applied.shortfalls, furthest(applied.workers), now=101.0)

    assert asked((9, 100.0), (7, 100.0), (4, 100.0)) == {}
    assert asked((9, 100.0), (6, 99.0), (4, 100.0)) == {}
    marks = {0: Mark(1, 9, 100_000_000), 1: Mark(1, 6, 20_000_000), 2: Mark(-1, -1, None)}
    assert asked((9, 100.0), (6, 20.0)) == marks


def fed(worker: str, last_ingest: float | None, **status: object) -> Health:
    """An event processor that was last sent something then, seconds since the epoch."""
    at = {} if last_ingest is None else {"last_ingest": round(last_ingest * 1e6)}
    return Health(worker_id=worker, state="ok", status={"state": {}, **at, **status})


@pytest.mark.parametrize(
    ("waits_since", "leaves", "state"),
    [
        pytest.param(996.0, [fed(f"{LEAF}.p0", 100.0)], None, id="only a moment"),
        pytest.param(975.0, [fed(f"{LEAF}.p0", 100.0)], "lagging", id="not for long"),
        pytest.param(960.0, [fed(f"{LEAF}.p0", 980.0)], "lagging", id="fed lately"),
        pytest.param(960.0, [fed(f"{LEAF}.p0", 960.0)], "stalled", id="not fed"),
        pytest.param(960.0, [fed(f"{LEAF}.p0", 100.0), fed(f"{LEAF}.p1", 980.0)], "lagging", id="one is fed"),
        pytest.param(
            960.0, [fed(f"{LEAF}.p0", 100.0), fed("and-1.p0", None)], "stalled", id="of leaves only"
        ),
        pytest.param(960.0, [fed(f"{LEAF}.p0", 1.0, paused="too large")], "lagging", id="paused"),
        pytest.param(960.0, [fed(f"{LEAF}.p0", None)], "lagging", id="an earlier release"),
        pytest.param(960.0, [Health(worker_id=f"{LEAF}.p0", state="busy")], "lagging", id="no answer"),
        pytest.param(None, [fed(f"{LEAF}.p0", 1.0)], None, id="nothing waits"),
    ],
)
def test_a_metric_is_stalled_without_batches(
    waits_since: float | None, leaves: list[Health], state: str | None
) -> None:
    """A thousand seconds after the epoch; while something is fed, it only lags."""
    waiting = {"t": None if waits_since is None else round(waits_since * 1e6)}
    found = list(feeding.check(*look_at(*leaves, now=1_000.0, waiting=waiting)))
    assert [one.state for one in found] == ([] if state is None else [state])


def test_a_leaf_without_its_past_is_behind() -> None:
    """New ones, and those that were ended by hand; not one beside which nobody knows more."""

    def incomplete(name: str, minor: int | None) -> Health:
        progress = [] if minor is None else [{"partition": 0, "major": 0, "minor": minor}]
        status = {"incomplete": True, "state": {"progress": progress}}
        return Health(worker_id=name, state="ok", status=status)

    fed = leaf(minor=5)
    [found] = feeding.being_rebuilt([fed, incomplete("new.p0", None), incomplete("level.p0", 5)])
    assert (found.state, found.worker) == ("lagging", "new.p0")
    assert [c.worker for c in feeding.being_rebuilt([fed, incomplete("mid.p0", 2)])] == ["mid.p0"]
    assert list(feeding.being_rebuilt([incomplete("a.p0", None), incomplete("b.p0", None)])) == []


def test_the_same_cause_is_one_line() -> None:
    """With how many they are and two of their names; that seconds differ does not keep them apart."""

    def busy(worker: str, seconds: float) -> Condition:
        return Condition("busy", f"no answer in 3.5 s; its task waits since {seconds:.1f} s", worker)

    found: list[Condition | Notice] = [
        *(busy(f"w-1.p{n}", n / 10) for n in range(40)),
        Condition("down", "not started", "a.p0"),
        Condition("down", "not started", "b.p0"),
        Condition("down", "ended (terminated)", "c.p0"),
        Condition("lagging", "an event of topic t has waited for 9 s"),
        Condition("paused", "2 payloads wait", "d.p0"),
        Condition("paused", "3 payloads wait", "e.p0"),
        Condition("subscribing", "", "f.p0"),
    ]
    assert MetricHealth.of("m", found).causes == [
        "down: a.p0 and b.p0: not started",
        "down: c.p0: ended (terminated)",
        "paused: d.p0: 2 payloads wait",
        "paused: e.p0: 3 payloads wait",
        "lagging: an event of topic t has waited for 9 s",
        "busy: 40 workers, such as w-1.p0 and w-1.p1: no answer in 3.5 s; its task waits since 0.0 s",
    ]


@pytest.mark.parametrize(("state", "is_well"), [("down", False), ("busy", False), ("waiting for keys", True)])
def test_waiting_for_keys_is_well(state: State, is_well: bool) -> None:
    assert MetricHealth.of("m", [Condition(state, "")]).is_well is is_well
    assert MetricHealth.of("m", []).is_well


def test_a_changelog_that_no_metric_writes_is_noticed() -> None:
    """What reads it is well, and old for good."""
    reader = Metric(
        name="reader",
        source=Source(topic="out", changelog=True),
        expression="duration_where(changelog(boolean))",
    )
    writer = ON.metric.model_copy(update={"name": "writer", "output": Output(topic="out")})

    def said(*metrics: Metric) -> list[str]:
        entries = tuple(CatalogEntry(metric=metric, generation=1) for metric in metrics)
        look, _ = look_at()
        of = Applied(cast(CatalogEntry, None), plan(reader), ())
        return [str(one) for one in changelogs.check(replace(look, entries=entries), of)]

    assert said(reader, writer) == []
    [notice] = said(reader, ON.metric)
    assert "topic out is read as a changelog, and no registered metric writes it" in notice


def test_a_reader_is_as_its_writer_is() -> None:
    """However many metrics lie between; it is asked about alone, or with them."""
    chain = [
        ON.metric.model_copy(update={"name": "first", "output": Output(topic="one")}),
        *(
            Metric(
                name=name,
                source=Source(topic=topic, changelog=True),
                expression="changelog(boolean)",
                output=Output(topic=written) if written else None,
            )
            for name, topic, written in (("second", "one", "two"), ("third", "two", ""))
        ),
    ]
    entries = tuple(CatalogEntry(metric=metric, generation=1) for metric in chain)
    look, _ = look_at(entries=entries, waiting=dict.fromkeys(("t", "one", "two")))
    ended = Health(worker_id="leaf.p0", state="down", cause="ended")
    first, second, third = (
        Applied(entry, plan(entry.metric), (ended,) if entry is entries[0] else ()) for entry in entries
    )
    for asked, beneath in (((third,), (first, second)), ((third, second, first), ())):
        found = health_of(replace(look, applied=asked, writers=beneath))
        assert [one.state for one in found] == ["down"] * len(asked)
        assert found[0].cause == (
            "metric second, whose output it reads, is down: metric first, whose output it reads, is down: "
            "leaf.p0: ended"
        )
    [alone] = health_of(replace(look, applied=(second,), writers=(Applied(entries[0], plan(chain[0]), ()),)))
    assert alone.state == "ok"
