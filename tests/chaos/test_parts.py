"""The harness's own parts: what is drawn, what it calls right, and that it notices what is wrong."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path
from zlib import crc32

import pytest

from tests.chaos import expected
from tests.chaos.comparing import Differences, Letter, account_for
from tests.chaos.faults import KINDS
from tests.chaos.harness import Options, Rounds
from tests.chaos.judging import Judged, Message, Place, by_key, judge
from tests.chaos.metrics import LATENESS, metrics
from tests.chaos.schedule import ON_WORKFLOWS, draw, pace
from tests.chaos.stacks import Stack
from tests.chaos.stored import hole
from tests.chaos.traffic import END, Message as Sent, ends, still, traffic
from tests.oracle.oracle import timeline, without_events
from timeline_workers.answers.answer_models import Change
from timeline_workers.evaluation import evaluate
from timeline_workers.language.parser import parse
from timeline_workers.metric.model import Metric, Source

PUBLISHED = 1_790_000_000_000_000
TARGETS = ["temporal", "broker", "worker-0", "feeder-0"]
CIRR, COUNTS, BY_CDN, FUSED = metrics("chaos")


def stored(sent: list[Sent], partitions: int = 3) -> list[Message]:
    """The messages as a broker might store them: by key onto partitions, two to a batch."""
    counts = [0] * partitions
    result = []
    for message in sent:
        partition = crc32(message.key.encode()) % partitions
        entry, index = divmod(counts[partition], 2)
        counts[partition] += 1
        place = Place(partition, (7, entry, index))
        result.append(Message(place, message.key, message.payload, PUBLISHED))
    return result


def test_one_seed_draws_one_schedule_and_another_another() -> None:
    """The same seed gives the same kills and the same load, so that a run can be repeated."""
    assert draw(5, 60, 12, TARGETS) == draw(5, 60, 12, TARGETS)
    assert draw(5, 60, 12, TARGETS) != draw(6, 60, 12, TARGETS)
    assert pace(5, 1_000, 60) == pace(5, 1_000, 60)
    assert list(traffic(5, 500)) == list(traffic(5, 500))
    assert list(traffic(5, 500)) != list(traffic(6, 500))


def test_faults_of_all_kinds_are_drawn() -> None:
    """Kills alone are drawn as ever, whatever else there is; the same arguments give the same schedule."""
    workflows = ["leaf.p0", "and.p0"]
    faults = draw(5, 60, 200, TARGETS, KINDS, workflows)
    assert {fault.kind for fault in faults} == set(KINDS)
    assert {fault.target in workflows for fault in faults if fault.kind in ON_WORKFLOWS} == {True}
    assert {fault.target in TARGETS for fault in faults if fault.kind not in ON_WORKFLOWS} == {True}
    assert faults == draw(5, 60, 200, TARGETS, KINDS, workflows)
    assert [replace(fault, kind="kill", target="") for fault in faults] == [
        replace(fault, target="") for fault in draw(5, 60, 200, TARGETS)
    ]


def test_rounds_follow_one_another_in_event_time(tmp_path: Path) -> None:
    """An event of a later round is late for no metric because of an earlier one, nor the other way round."""
    rounds = Rounds(Options(3, 10.0, 400, 0), Stack(tmp_path, [], [], {}, ""))
    first, second = rounds.next(), rounds.next()
    assert first.places == second.places[:1]
    assert first.sent < second.sent
    of_first = list(traffic(first.seed, 400, first.later))
    of_second = list(traffic(second.seed, 400, second.later))
    assert {message.payload for message in of_first + of_second} | {END} == second.sent
    assert min(message.at for message in of_second) > max(message.at for message in of_first)


def test_events_that_stand_still_are_fine_and_hardly_apart() -> None:
    """They are accepted by every metric, beside a stream that has come as far."""
    messages = stored(list(still(1, 500, 60.0)))
    for metric in (CIRR, COUNTS):
        judged = judge(messages, metric.source)
        assert len(judged.accepted) == 500
        assert max(e.time for e in judged.accepted) - min(e.time for e in judged.accepted) < 1_000_000


@pytest.mark.parametrize("seed", range(20))
def test_every_target_is_killed_and_every_event_due(seed: int) -> None:
    """With kills enough nothing is spared, they lie within the run in order, and the load adds up."""
    kills = draw(seed, 60, 12, TARGETS)
    assert {kill.target for kill in kills} == set(TARGETS)
    assert [kill.at for kill in kills] == sorted(kill.at for kill in kills)
    assert all(0 < kill.at < 60 and kill.away >= 0 for kill in kills)
    points = pace(seed, 1_234, 60)
    assert points[-1] == (60, 1_234)
    assert points == sorted(points)
    assert [due for _, due in points] == sorted(due for _, due in points)


def test_the_traffic_has_every_trouble_in_it() -> None:
    """Each metric accepts most events and refuses some for every reason that its source has; copies, several
    events at one instant and keys that are ints occur; an end mark reaches every partition.
    """
    messages = stored(list(traffic(1, 40_000)))
    expected_reasons = {
        "late", "malformed-json", "missing-key", "wrong-key-type", "int-out-of-range", "missing-time",
        "bad-time", "time-too-far-ahead", "wrong-type",
    }  # fmt: skip
    late = {}
    for metric in (CIRR, COUNTS):
        judged = judge(messages, metric.source)
        assert set(judged.refused.values()) == expected_reasons
        assert len(judged.accepted) > 0.9 * len(messages)
        assert len(judged.accepted) + len(judged.refused) == len(messages)
        late[metric.name] = {place for place, reason in judged.refused.items() if reason == "late"}
    assert late["chaos-counts"] < late["chaos-cirr"]
    assert len({message.payload for message in messages}) < len(messages)
    assert any(isinstance(name, int) for _, name in by_key(judged.accepted))
    instants = [(event.key, event.time) for event in judged.accepted]
    assert len(set(instants)) < len(instants)
    assert {message.payload for message in ends()} == {END}
    assert {crc32(message.key.encode()) % 3 for message in ends()} == {0, 1, 2}


def test_watermarks_follow_each_partition_in_stored_order() -> None:
    """An event at the watermark of its partition is accepted and one a microsecond below is late; events of
    other partitions, late ones and refused ones move nothing, but for those that are refused only for a
    column's value.
    """

    def at(partition: int, entry: int, time: str, column: str = '"playerStateChange": "play"') -> Message:
        payload = f'{{"session_id": "a", "timestamp": {time}, {column}}}'.encode()
        return Message(Place(partition, (0, entry, 0)), "a", payload, PUBLISHED)

    messages = [
        at(0, 0, "1000"),
        at(1, 0, "900"),  # nothing was there before
        at(0, 1, f"{1000 - LATENESS}"),
        at(0, 2, f"{999 - LATENESS}.999999"),
        at(0, 3, "50000000000", '"playerStateChange": 5'),
        at(0, 4, f"{1000 - LATENESS}.5"),
        at(0, 5, "1001.5"),
        at(0, 6, f"{1001 - LATENESS}.499999"),
        at(0, 7, "1002", '"playerStateChange": 5'),
        at(0, 8, f"{1001 - LATENESS}.999999"),
    ]
    judged = judge(reversed(messages), CIRR.source)
    assert judged.refused == {
        Place(0, (0, 2, 0)): "late",
        Place(0, (0, 3, 0)): "time-too-far-ahead",
        Place(0, (0, 6, 0)): "late",
        Place(0, (0, 7, 0)): "wrong-type",
        Place(0, (0, 8, 0)): "late",
    }
    assert [event.time for event in judged.accepted] == [
        1_000_000_000, (1000 - LATENESS) * 1_000_000, (1000 - LATENESS) * 1_000_000 + 500_000, 1_001_500_000,
        900_000_000,
    ]  # fmt: skip
    assert judged.watermarks == {0: 1_002_000_000 - LATENESS * 1_000_000, 1: 840_000_000}
    assert judged.watermark(2) == 840_000_000
    assert judged.watermark(3) is None


@pytest.mark.parametrize(
    ("time", "micros"),
    [("1", 1_000_000), ("-3", -3_000_000), ("0.0000005", 0), ("0.0000015", 2), ("1e3", 1_000_000_000)],
)
def test_times_are_read_exactly(time: str, micros: int) -> None:
    """Seconds become whole microseconds, half to even."""
    payload = f'{{"session_id": 7, "timestamp": {time}}}'.encode()
    [event] = judge([Message(Place(0, (0, 0, 0)), "7", payload, PUBLISHED)], CIRR.source).accepted
    assert (event.key, event.time) == (7, micros)


@pytest.mark.parametrize(
    ("expression", "kind"),
    [(CIRR.expression, "numeric"), (COUNTS.expression, "numeric"),
     ('has_existed_within(userAction == "seek", 5s)', "boolean")],
)  # fmt: skip
def test_the_expected_is_what_in_process_evaluation_says(expression: str, kind: str) -> None:
    """Values, spans and changes from the oracle have the form and the content of the library's answers."""
    rng = random.Random(3)
    source = Source.model_validate({**COUNTS.source.model_dump(), "time_unit": "us"})
    judged = judge(stored(list(traffic(2, 3_000))), COUNTS.source)
    events = [
        {source.key: event.key, source.time: event.time, **event.columns}
        for event in sorted(judged.accepted, key=lambda e: e.position)
    ]
    found = evaluate(expression, events, key=source.key, time=source.time, time_unit="us")
    tree = parse(expression)
    for (_, key), own in by_key(judged.accepted).items():
        pieces = timeline(tree, own, key)
        low, high = own[0].time - 5_000_000, own[-1].time + 60_000_000
        start, end = sorted((rng.randint(low, high), rng.randint(low, high)))
        at = rng.choice([piece.start - rng.randrange(2) for piece in pieces])
        change = found.change(key, start, end)
        assert isinstance(change, Change)
        said = [found.value_at(key, at), found.spans(key, start, end), change]
        assert [answer.model_dump() for answer in said] == [
            expected.value_at(pieces, kind, key, at, None),
            expected.spans(pieces, kind, key, start, end, None),
            expected.change(pieces, kind, key, start, end, None, without_events(tree)),
        ]


def test_a_hole_in_what_was_read_is_found() -> None:
    """Batches and entries follow one another; a new ledger begins with its first entry."""
    whole = [(3, 0, 0), (3, 0, 1), (3, 1, 0), (3, 2, 0), (5, 0, 0), (5, 1, 0), (5, 1, 1)]
    places = [Place(0, at) for at in whole] + [Place(1, (4, 0, 0))]
    assert hole(reversed(places)) is None
    for missing in (0, 2, 4, 5):  # that the last of a batch is missing cannot be told
        assert hole(places[:missing] + places[missing + 1 :]) is not None


def judged_once() -> tuple[dict[str, Judged], dict[Place, Message], list[Letter]]:
    """Judged traffic with the dead letters that are right for it."""
    messages = stored(list(traffic(4, 4_000)))
    judged = {metric.name: judge(messages, metric.source) for metric in (CIRR, COUNTS)}
    by_place = {message.place: message for message in messages}
    right = []
    for place, message in by_place.items():
        reasons = {name: one.refused[place] for name, one in judged.items() if place in one.refused}
        if reasons:
            reason = next(iter(reasons.values()))
            right.append(Letter(place, message.key, message.payload, reason, frozenset(reasons)))
    return judged, by_place, right


def account(letters: list[Letter]) -> tuple[int, dict[str, int]]:
    judged, messages, _ = judged_once()
    found = Differences()
    return account_for(letters, judged, messages, found), dict(found.count)


def test_right_letters_are_accepted_repeated_or_in_parts() -> None:
    """A letter may be there again, and two metrics may each have one of their own for the same event."""
    judged, _, letters = judged_once()
    assert account(letters) == (0, {})
    both = next(letter for letter in letters if len(letter.metrics) == 2)
    parts = [
        replace(both, metrics=frozenset([name]), reason=judged[name].refused[both.place])
        for name in both.metrics
    ]
    assert account([*letters[::-1], letters[0]]) == (1, {})
    assert account([letter for letter in letters if letter != both] + parts) == (1, {})


def test_wrong_letters_are_noticed() -> None:
    """A missing letter, one that is not due, one for another metric, with another reason, key or payload."""
    _, messages, letters = judged_once()
    due = {letter.place for letter in letters}
    fine = next(message for place, message in messages.items() if place not in due)
    first, rest = letters[0], letters[1:]
    assert account(rest)[1] == {"refused events have letters": 1}
    extra = Letter(fine.place, fine.key, fine.payload, "late", frozenset(["chaos-cirr"]))
    assert account([*letters, extra])[1] == {"letters are due": 1, "reasons": 1}
    odd = replace(first, metrics=first.metrics | {"another"})
    assert account([odd, *rest])[1] == {"letters are due": 1}
    for change in ({"payload": b"{}"}, {"key": "other"}):
        assert account([replace(first, **change), *rest])[1] == {"letters are whole": 1}
    assert account([replace(first, reason="gone"), *rest])[1] == {"reasons": 1}
    only = next(letter for letter in letters if len(letter.metrics) == 2)
    fewer = replace(only, metrics=frozenset(list(only.metrics)[:1]), reason=only.reason)
    others = [letter for letter in letters if letter != only]
    assert account([*others, fewer])[1]["refused events have letters"] == 1


def test_the_metrics_of_a_run_share_what_they_can() -> None:
    """All but one read the topic in the same way; the twin with fused workers differs in nothing else."""
    assert isinstance(BY_CDN, Metric)
    assert BY_CDN.source == FUSED.source == CIRR.source != COUNTS.source
    assert FUSED.model_copy(update={"fuse": False, "name": CIRR.name}) == CIRR
