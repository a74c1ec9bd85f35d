"""Queues of targets: what is sent in the end is what is true, however a target fails."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given, settings, strategies as st

from tests.alerts.test_random_histories import Step, histories
from tests.alerts.told import news, seen
from timeline_workers.alerts.alert_state import AlertState
from timeline_workers.alerts.delivery_queue import DAY, SECOND, DeliveryQueue
from timeline_workers.alerts.episodes import Message
from timeline_workers.alerts.sink_messages import SinkMessage
from timeline_workers.alerts.telling import Telling
from timeline_workers.alerts.true_spans import OPEN
from timeline_workers.errors import StateError

TELLING = Telling("r", "provisional", "clock", 15)


class Target:
    """``known``: of each episode key, start and end, by the messages that came, each taken once."""

    def __init__(self) -> None:
        self.known: dict[str, tuple[str | int, int, int]] = {}
        self.seqs: dict[str, int] = {}
        self.came: list[Message] = []

    def hear(self, message: Message) -> None:
        seq = self.seqs.get(message.episode, 0)
        assert message.seq >= seq, "an older message after a newer one"
        if message.seq == seq:
            return
        self.seqs[message.episode] = message.seq
        self.came.append(message)
        if message.kind in ("withdraw", "merged"):
            self.known.pop(message.episode, None)
        else:
            end = OPEN if message.end is None else message.end
            self.known[message.episode] = (message.key, message.start, end)


def fire(key: str, start: int, seq: int = 1, page: bool = False) -> Message:
    return Message(
        kind="fire",
        rule="r",
        key=key,
        episode=f"r/{key}/{start}",
        seq=seq,
        start=start,
        as_of=start,
        page=page,
        new=seq == 1,
    )


def over(key: str, start: int, seq: int, kind: str = "resolve") -> Message:
    return Message(
        kind=kind,  # type: ignore[arg-type]
        rule="r",
        key=key,
        episode=f"r/{key}/{start}",
        seq=seq,
        start=start,
        end=start + 1,
        as_of=start + 1,
    )


def put(queue: DeliveryQueue, *messages: Message) -> None:
    queue.put([SinkMessage(one, one.episode, str(one.seq)) for one in messages])


def drain(queue: DeliveryQueue, now: int, hear: Callable[[Message], None]) -> None:
    while (told := queue.take(now)) is not None:
        assert told.text == str(told.message.seq), "a message with the text of another"
        hear(told.message)
        queue.sent(told)


@settings(max_examples=200)
@given(histories(), st.data())
def test_what_comes_in_the_end_is_the_truth(steps: list[Step], data: st.DataObject) -> None:
    """With answers that are lost after the message has come, and restarts with messages on their way."""
    state, queue, target = AlertState(TELLING), DeliveryQueue(), Target()
    now = 0
    for step in steps:
        put(queue, *state.step([news(step.changes, step.watermark)], step.clock))
        for happens in data.draw(
            st.lists(st.sampled_from(["sent", "lost", "failed", "restart"]), max_size=3)
        ):
            now = max(now, queue.next_attempt() or 0)
            told = queue.take(now)
            if told is None:
                break
            if happens != "failed":
                target.hear(told.message)
            if happens == "sent":
                queue.sent(told)
            elif happens == "restart":
                carried, queue = queue.snapshot(), DeliveryQueue()
                queue.restore(carried)
            else:
                assert queue.failed(told, now, happens) == []
    drain(queue, max(now, queue.next_attempt() or 0), target.hear)
    assert len(queue) == 0
    as_of = steps[-1].clock
    true = {(key, *span) for key, spans in steps[-1].truth.items() for span in seen(spans, as_of)}
    assert set(target.known.values()) == true


def test_a_long_outage_ends_with_one_message_each() -> None:
    """Who was to be woken is, where it goes on; what came and went meanwhile is not sent."""
    queue, came = DeliveryQueue(), list[Message]()
    put(queue, fire("a", 1, page=True))
    now = 0
    for hour in range(6):
        now = max(now, queue.next_attempt() or 0)
        assert queue.failed(attempt(queue, now), now, "refused the connection") == []
        assert queue.take(now) is None
        assert queue.last_failure == "refused the connection"
        moved = Message(kind="moved", rule="r", key="a", episode="r/a/1", seq=hour + 2, start=hour, as_of=9)
        kind = "withdraw" if hour % 2 else "resolve"
        put(queue, moved, fire("b", 10 + hour), over("b", 10 + hour, 2, kind))
    assert len(queue) == 4
    drain(queue, queue.next_attempt() or 0, came.append)
    assert sorted((one.episode, one.seq, one.page) for one in came) == [
        ("r/a/1", 7, True),
        ("r/b/10", 2, False),
        ("r/b/12", 2, False),
        ("r/b/14", 2, False),
    ]


def attempt(queue: DeliveryQueue, now: int) -> SinkMessage:
    told = queue.take(now)
    assert told is not None
    return told


def test_pauses_grow_and_the_target_is_asked_for_more() -> None:
    """Over restarts, too; a target that says how long it wants to be left alone is left alone for so long."""
    queue, pauses, now = DeliveryQueue(), [], 0
    put(queue, fire("a", 1))
    for _ in range(12):
        queue.failed(attempt(queue, now), now, "503")
        at = queue.next_attempt()
        assert at is not None
        assert queue.take(at - 1) is None
        pauses.append((at - now) // SECOND)
        now = at
        carried, queue = queue.snapshot(), DeliveryQueue()
        queue.restore(carried)
    assert pauses == [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 600, 600]
    queue.failed(attempt(queue, now), now, "429", retry_after=3_600 * SECOND)
    assert queue.next_attempt() == now + 3_600 * SECOND


def test_one_attempt_shows_whether_a_target_is_back() -> None:
    queue = DeliveryQueue()
    put(queue, fire("a", 1), fire("b", 1), fire("c", 1))
    queue.failed(attempt(queue, 0), 0, "503")
    back = attempt(queue, SECOND)
    assert queue.take(SECOND) is None
    queue.sent(back)
    assert {attempt(queue, SECOND).message.key, attempt(queue, SECOND).message.key} == {"a", "c"}


def test_what_cannot_be_sent_is_given_up() -> None:
    """After the patience; or at once where the target will never take it, and that is no failure of it."""
    queue = DeliveryQueue(patience=DAY)
    put(queue, fire("a", 1))
    first = attempt(queue, 0)
    assert queue.failed(first, 0, "503") == []
    assert [(one.told, one.reason) for one in queue.failed(attempt(queue, DAY), DAY, "503")] == [
        (first, "503")
    ]
    put(queue, fire("b", 1))
    other = attempt(queue, queue.next_attempt() or 0)
    assert [(one.told, one.reason) for one in queue.refused(other, "400")] == [(other, "400")]
    assert (queue.failures, len(queue)) == (0, 0)


def test_one_message_of_a_key_is_on_its_way() -> None:
    queue = DeliveryQueue(at_once=8)
    put(queue, fire("a", 1), fire("a", 5), fire("b", 1))
    taken = [queue.take(0), queue.take(0), queue.take(0)]
    assert [one and one.message.key for one in taken] == ["a", "b", None]
    assert taken[0] is not None
    queue.sent(taken[0])
    following = queue.take(0)
    assert following is not None
    assert following.message.episode == "r/a/5"
    with pytest.raises(ValueError, match="is not on its way"):
        queue.sent(taken[0])


def test_what_was_given_up_replaces_nothing_newer() -> None:
    queue = DeliveryQueue()
    put(queue, over("a", 1, 3), fire("a", 1, 2), fire("b", 1, 2))
    assert [one.message.seq for one in queue.waiting()] == [3, 2]
    taken = attempt(queue, 0)
    put(queue, fire("a", 1, 2))
    queue.sent(taken)
    assert [one.message.key for one in queue.waiting()] == ["b"]
    drain(queue, 0, lambda message: None)
    assert len(queue) == 0


def test_a_full_queue_gives_up_what_is_oldest() -> None:
    """What is on its way stays, and a newer message in the place of an older one takes no room."""
    queue = DeliveryQueue(most=2)
    put(queue, fire("a", 1), over("a", 1, 2), fire("b", 1))
    assert queue.overflow() == []
    on_its_way = attempt(queue, 0)
    put(queue, fire("c", 1), fire("a", 5))
    given_up = queue.overflow()
    assert [(one.told.message.episode, one.reason) for one in given_up] == [
        ("r/b/1", "2 messages wait, and no more may"),
        ("r/c/1", "2 messages wait, and no more may"),
    ]
    queue.sent(on_its_way)
    assert [one.told.message.episode for one in queue.give_up_all("removed")] == ["r/a/5"]
    assert len(queue) == 0
    with pytest.raises(StateError, match="no queue of a target"):
        queue.restore(b"x")


def test_what_is_on_its_way_together_fails_once() -> None:
    """And the longest wait that was asked for counts; whoever mended the target need not wait."""
    queue = DeliveryQueue()
    put(queue, *(fire(key, 1) for key in "abc"))
    assert queue.is_due
    sent = [attempt(queue, 0) for _ in "abc"]
    for told, after in zip(sent, (None, 7 * SECOND, None), strict=True):
        queue.failed(told, 0, "503", after)
    assert (queue.failures, queue.next_attempt(), queue.is_due) == (1, 7 * SECOND, False)
    queue.try_now()
    assert queue.is_due
    queue.failed(attempt(queue, SECOND), SECOND, "503")
    assert (queue.failures, queue.next_attempt()) == (2, 3 * SECOND)
