"""The task that writes a topic's history: no store ends it, and what does end it is raised to who feeds."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar, cast

import pytest

from feeder.delivery.fed_group import MetricGroupFeed
from feeder.routing.router import Router
from feeder.source.memory import MemorySource, MemoryTopic
from feeder.storing.following import CatchUp, Following
from feeder.storing.history_tee import HistoryTee, _Piece
from feeder.storing.history_thread import Work
from feeder.storing.tee import Offered
from tests.feeder import network, virtual_time
from tests.feeder.test_history_tee import HistorySchedule, play
from tests.history.model_store import ModelStore
from timeline_workers.errors import HistoryError
from timeline_workers.history.model import Judged

T = TypeVar("T")


class AwayAtTimes:
    """A store that fails while ``away`` is set (see ``Stores``)."""

    def __init__(self) -> None:
        self.store, self.away = ModelStore(lambda: 0), False

    async def call(self, work: Work[T]) -> T:
        if self.away:
            raise HistoryError("the store is away", may_pass=True)
        return await work(self.store)


async def never(*_: Any) -> None:
    raise AssertionError


def tee_of(stores: AwayAtTimes) -> HistoryTee:
    return HistoryTee(MemorySource(MemoryTopic("t"), "feeders"), stores, never, patience=600, at_once=10)


def queue(tee: HistoryTee) -> Offered:
    """Have something written of another definition than any that catches up."""
    offered = Offered((), {0}, delivered=True)
    tee._offered.append(offered)
    tee._queue.append(_Piece([], [], offered, [Judged("other", (), {0: 1})]))
    tee._more.set()
    return offered


def known(monkeypatch: pytest.MonkeyPatch) -> list[HistoryTee]:
    """The tees of all feeders to come."""
    tees: list[HistoryTee] = []

    class Known(HistoryTee):
        def __init__(self, *arguments: Any, **named: Any) -> None:
            super().__init__(*arguments, **named)
            tees.append(self)

    monkeypatch.setattr(network, "HistoryTee", Known)
    return tees


async def done(tee: HistoryTee) -> list[Offered]:
    return list(tee.done())


def test_a_failed_join_ends_no_other_writing() -> None:
    """The store fails while one definition joins the feeding and a piece of another begins to be written."""
    stores = AwayAtTimes()

    async def fails() -> None:
        tee = tee_of(stores)
        offered: list[Offered] = []

        class Past:
            near = True

            async def finish(self) -> None:
                stores.away = True
                offered.append(queue(tee))
                await asyncio.sleep(1)  # virtual
                assert not offered[0].kept
                raise HistoryError("the store is away", may_pass=True)

            async def close(self) -> None: ...

        following = tee._followings["joins"] = Following("joins")
        following.take({})
        following.catching_up = CatchUp(cast(Any, Past()), cast(Router, None), frozenset())
        await tee._join(following, cast(MetricGroupFeed, None))
        assert following.lacks
        stores.away = False
        offered.append(queue(tee))
        await asyncio.sleep(60)  # virtual
        assert [one.kept for one in offered] == [True, True]
        assert list(tee.done()) == offered
        await tee.room()
        await tee.close()

    virtual_time.run(fails())


@pytest.mark.parametrize(
    "ask",
    [HistoryTee.room, done, HistoryTee.close],
    ids=["room", "done", "close"],
)
async def test_an_ended_writing_is_told(ask: Callable[[HistoryTee], Awaitable[Any]]) -> None:
    tee = tee_of(AwayAtTimes())
    tee._task.cancel()
    await asyncio.wait([tee._task])
    with pytest.raises(HistoryError, match="writing the history of topic t has ended"):
        await ask(tee)


def test_a_cancelled_feeding_ends_whatever_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    """As a loop that ends cancels all tasks, that of the tee before that of the feeding."""
    tees = known(monkeypatch)

    async def ends(schedule: HistorySchedule) -> None:
        schedule.start()
        schedule.publish()
        await asyncio.sleep(10)  # virtual
        feeding = schedule.network.processes[0].task
        tees[0]._task.cancel()
        feeding.cancel()
        await asyncio.wait([feeding], timeout=60)
        ended = feeding.cancelled()
        schedule.network.processes[0].kill()  # else its end would not come either
        assert ended

    play(7, ends)


def test_a_topic_whose_writing_ended_is_fed_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    """In the same process, with another tee; the source of the first is closed, and nothing is lost."""
    tees = known(monkeypatch)

    async def ends(schedule: HistorySchedule) -> None:
        schedule.start()
        schedule.publish()
        await asyncio.sleep(10)  # virtual, as all here
        tees[0]._task.cancel()
        for _ in range(10):
            schedule.publish()
            await asyncio.sleep(10)
        assert len(tees) == 2
        assert not any(schedule.missing().values())
        await schedule.settle()

    play(6, ends).check()
