"""An archive answers for keys that have left as their worker did, in whatever order and however often it was
told of them."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings, strategies as st

from tests.oracle.events import Event
from tests.properties.batches import batch_of
from timeline_workers.algebra.leaf_input import LeafRouter, Progress
from timeline_workers.columns.key_table import Key
from timeline_workers.errors import QuestionError, StateError, UnknownNameError
from timeline_workers.language.parser import parse
from timeline_workers.metric.model import Metric, Source
from timeline_workers.plan.physical import WorkerSpec, plan, workers
from timeline_workers.runtime import eviction
from timeline_workers.runtime.archive_segment import pack_segment, unpack_segment
from timeline_workers.runtime.key_archive import Archive, fingerprint
from timeline_workers.runtime.node_worker import NodeWorker
from timeline_workers.wire.leaf_batch import encode_leaf_batch


def _spec(key_ttl: int | None = 1) -> WorkerSpec:
    source = Source(topic="t", key="k", time="t", time_unit="us", partitions=1)
    metric = Metric(name="m", source=source, expression="latest_event_to_state(s)", key_ttl=key_ttl)
    (spec,) = workers(plan(metric), "p0")
    return spec


def _feed(worker: NodeWorker, rows: Sequence[tuple[Any, int, str]], mark: int, start: int) -> None:
    events = [Event(key, time, (0, 0, start + i), {"s": value}) for i, (key, time, value) in enumerate(rows)]
    progress = (Progress(0, 0, start + len(rows), mark),)
    leaf = LeafRouter(parse(worker.spec.node.expression))
    worker.ingest(encode_leaf_batch(leaf.batch(batch_of(events), progress)))


def _left(rows: Sequence[tuple[Any, int, str]], mark: int = 1_000) -> tuple[NodeWorker, list[bytes]]:
    worker = NodeWorker(_spec())
    _feed(worker, rows, mark, 0)
    departure = eviction.pack_idle(worker, "life")
    eviction.evict(worker, departure)
    return worker, departure.segments


def test_an_archive_answers_as_the_worker_did() -> None:
    """Value, spans and change of keys of either type, one by one and many at once; final below the watermark
    that the worker had, or that the question names."""
    rows = [("a", 10, "x"), ("a", 20, "y"), (7, 30, "z"), ("7", 40, "w")]
    stayed = NodeWorker(_spec(None))
    _feed(stayed, rows, 1_000, 0)
    worker, segments = _left(rows)
    archive = Archive(worker.spec)
    for segment in segments:
        archive.add(segment)
    assert worker.status()["keys"] == 0
    assert archive.keys({}) == {"keys": ["a", 7, "7"], "count": 3, "next": None}
    for key in ("a", 7, "7"):
        assert archive.ask("value_at", {"key": key, "at": [5, 35, 999]}) == stayed.ask(
            "value_at", {"key": key, "at": [5, 35, 999]}
        )
    for name, times in (
        ("spans", {"start": 0, "end": 50}),
        ("change", {"start": 0, "end": 50, "every": "20us"}),
    ):
        question = {"keys": [7, "a"], **times}
        assert archive.ask(name, question) == stayed.ask(name, question)
    late = {"key": "a", "at": 1_500}
    assert archive.ask("value_at", late)["final"] is False  # type: ignore[call-overload]
    assert archive.ask("value_at", {**late, "watermark": 2_000})["final"] is True  # type: ignore[call-overload]


def test_questions_to_an_archive_name_what_is_wrong() -> None:
    """An unknown key, a missing field, a watermark that is none: errors that say so."""
    worker, (segment,) = _left([("a", 10, "x"), (1, 10, "x")])
    archive = Archive(worker.spec)
    archive.add(segment)
    for unknown in ("b", True, None, 1.0, ["a"]):
        with pytest.raises(UnknownNameError, match="not among the keys that left"):
            archive.ask("value_at", {"key": unknown, "at": 1})
    with pytest.raises(QuestionError, match="at is missing"):
        archive.ask("value_at", {"key": "a"})
    with pytest.raises(QuestionError, match="watermark is a whole number"):
        archive.ask("value_at", {"key": "a", "at": 1, "watermark": "1"})
    with pytest.raises(QuestionError, match="keys is a list of keys"):
        archive.ask("value_at", {"keys": "a", "at": 1})


@settings(max_examples=settings().max_examples // 4)
@given(st.data())
def test_the_newest_of_each_key_counts_however_segments_arrive(data: st.DataObject) -> None:
    """Repeated, in any order, restored in between: of two segments with a key that of the later watermark is
    answered from, and called back; of two of the same one, that of the later stamp."""
    worker = NodeWorker(_spec())
    ages = data.draw(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=6))
    keys: list[Key] = ["a", "b", 3, "3"]
    told: list[tuple[tuple[int, int], list[Any], bytes]] = []
    for time, (mark, stamp) in enumerate(ages, 1):
        named = data.draw(st.lists(st.sampled_from(keys), min_size=1, unique=True))
        worker = NodeWorker(_spec())
        _feed(worker, [(key, time, f"at {mark, stamp}") for key in named], 1_000 + mark, 0)
        (segment,) = eviction.pack_idle(worker, "life").segments
        told.append(((mark, stamp), named, pack_segment(replace(unpack_segment(segment), stamp=stamp))))
    # Ages that are equal come of the same work, and say the same.
    told = list({age: entry for entry in told for age in [entry[0]]}.values())
    arriving = data.draw(st.lists(st.sampled_from(told), max_size=8)) + data.draw(st.permutations(told))
    archive = Archive(worker.spec)
    for _, _, segment in arriving:
        archive.add(segment)
        if data.draw(st.booleans()):
            archive = Archive.restore(worker.spec, archive.snapshot())
    for key in keys:
        best = max(
            [age for age, named, _ in told if (type(key), key) in [(type(n), n) for n in named]],
            default=None,
        )
        if best is None:
            assert key not in archive
            continue
        assert archive.ask("value_at", {"key": key, "at": 50})["value"] == f"at {best}"  # type: ignore[call-overload]
        back = NodeWorker(_spec())
        segments, rest = archive.recall([key], "life", 1)
        assert (eviction.recall(back, segments, "life"), rest) == (1, [])
        assert back.ask("value_at", {"key": key, "at": 50})["value"] == f"at {best}"  # type: ignore[call-overload]
    assert archive.status()["segments"] <= len(told)


def test_another_life_begins_with_an_empty_archive() -> None:
    """What was of an earlier life is forgotten with the first segment of the next, and not taken any more."""
    worker, (segment,) = _left([("a", 10, "x")])
    archive = Archive(worker.spec)
    archive.add(segment)
    assert archive.recall(["a"], "another life", 1_000) == ([], [])
    archive.add(pack_segment(replace(unpack_segment(segment), life="next", names=["b"])))
    archive = Archive.restore(worker.spec, archive.snapshot())
    archive.add(segment)
    assert archive.keys({})["keys"] == ["b"]


def test_what_is_called_back_fits_the_reply() -> None:
    """At least one key a time, at most about the limit, until none is left."""
    draw = random.Random(1)
    rows = [
        (f"{draw.getrandbits(64):x}", draw.randrange(900), f"{draw.getrandbits(64):x}") for _ in range(100)
    ]
    worker, segments = _left(rows)
    archive = Archive(worker.spec)
    for segment in segments:
        archive.add(segment)
    names: list[Any] = [name for name, _, _ in rows] + ["unknown"]
    rounds = 0
    while names:
        found, names = archive.recall(names, "life", 1_000)
        assert found
        assert len(found) == 1 or sum(map(len, found)) <= 1_000
        eviction.recall(worker, found, "life")
        rounds += 1
    assert rounds > 3
    assert sorted(worker.node.keys.names, key=str) == sorted((name for name, _, _ in rows), key=str)


def test_fingerprints_have_every_key() -> None:
    """No key that is here is missing among them."""
    worker, segments = _left([("a", 1, "x"), (7, 1, "x"), ("7", 1, "x"), ("é", 1, "x")])
    archive = Archive(worker.spec)
    for segment in segments:
        archive.add(segment)
    prints = archive.fingerprints()
    held = {int.from_bytes(prints[i : i + 4], "little") for i in range(0, len(prints), 4)}
    assert held == {fingerprint(name) for name in ("a", 7, "7", "é")}


@pytest.mark.parametrize("cut", [0, 10, -1])
def test_damaged_segments_are_refused_and_change_nothing(cut: int) -> None:
    """Bytes that are none, and segments of other workers, are StateErrors."""
    worker, (segment,) = _left([("a", 1, "x")])
    archive = Archive(worker.spec)
    archive.add(segment)
    for wrong in (segment[:cut], pack_segment(replace(unpack_segment(segment), worker_id="another"))):
        with pytest.raises(StateError):
            archive.add(wrong)
        with pytest.raises(StateError):
            eviction.recall(worker, [wrong], "life")
    with pytest.raises(StateError):
        eviction.recall(worker, [segment], "another life")
    with pytest.raises(StateError):
        Archive.restore(worker.spec, [])
    assert len(archive) == 1


def test_keys_stay_until_they_may_leave() -> None:
    """Not before the time is over, not without a watermark, not while a subscriber has not heard of it, and
    never from a worker without key_ttl."""
    worker = NodeWorker(_spec(100))
    worker.subscribe("parent", "1")
    _feed(worker, [("a", 10, "x")], 110, 0)
    assert not len(eviction.idle_keys(worker))
    assert list(eviction.idle_keys(worker, gone=["parent"])) == []
    _feed(worker, [], 111, 10)
    assert list(eviction.idle_keys(worker, gone=["parent"])) == [0]
    assert not len(eviction.idle_keys(worker))
    worker.outgoing("parent", 1_000)
    assert not len(eviction.idle_keys(worker))
    worker.delivered("parent")
    assert list(eviction.idle_keys(worker)) == [0]
    never = NodeWorker(_spec(None))
    _feed(never, [("a", 10, "x")], 10**9, 0)
    assert not len(eviction.idle_keys(never))
