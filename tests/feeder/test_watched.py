"""Tasks of the feeder's process: none ends, or waits for ever, without anybody noticing."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Coroutine
from typing import Any, cast

import pytest
from structlog.testing import capture_logs

from feeder.delivery.retry import NeverReturnedError
from feeder.metric_catalog import Catalog
from feeder.program import Make, _feed_topics
from feeder.topic_feeder import TopicFeeder
from tests.feeder import virtual_time
from tests.feeder.network import Network, StagedSource
from tests.feeder.test_feeders import PLAYING, metric
from timeline_workers.errors import TimelineError


class Topics:
    """A catalog of these topics (see ``Catalog``)."""

    def __init__(self, *topics: str) -> None:
        self.topics = topics

    async def refresh(self) -> None: ...


async def feed(*topics: str, make: Make, beside: Coroutine[Any, Any, None] | None = None) -> None:
    stop = asyncio.Event()
    tasks = [] if beside is None else [asyncio.create_task(beside, name="looking on")]
    await _feed_topics(cast(Catalog, Topics(*topics)), make, stop, tasks)


async def nobody(topic: str) -> TopicFeeder:
    raise AssertionError(topic)


def test_a_source_that_never_returns_ends_the_feeding(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a client library that has failed nothing is to be expected; the process is started again."""

    async def never(*_: object) -> Any:
        await asyncio.Event().wait()

    monkeypatch.setattr(StagedSource, "receive", never)
    monkeypatch.setattr(StagedSource, "close", never)

    async def play() -> None:
        await Network([metric("playing", PLAYING)], random.Random(0)).feeder().task

    with pytest.raises(NeverReturnedError, match="receiving from topic events"):
        virtual_time.run(play())


@pytest.mark.parametrize("error", [None, KeyError("x")], ids=["ends", "fails"])
def test_a_task_beside_that_ends_is_told(error: Exception | None) -> None:
    async def ends() -> None:
        await asyncio.sleep(1)
        if error is not None:
            raise error

    with pytest.raises(TimelineError if error is None else KeyError, match=r"looking on has ended|x"):
        virtual_time.run(feed(make=nobody, beside=ends()))


def test_a_topic_that_was_cancelled_is_fed_again() -> None:
    made = []

    async def make(topic: str) -> TopicFeeder:
        made.append(topic)
        if len(made) == 1:
            raise asyncio.CancelledError
        raise KeyError("fed again")

    with capture_logs() as logged, pytest.raises(KeyError, match="fed again"):
        virtual_time.run(feed("t", make=make))
    assert made == ["t", "t"]
    assert [line["topic"] for line in logged if "cancelled by nobody" in line["event"]] == ["t"]
