"""The client without ``await``: where no event loop runs, where one does, and how it ends."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from time import monotonic

import pytest

from tests.integration.stack import DEADLINE, Stack, event, running_stack
from timeline_workers import (
    ConnectionFailedError,
    SyncTimelineClient,
    TimelineClient,
    TimelineError,
    UnknownNameError,
)
from timeline_workers.client.dead_letters import Chosen
from timeline_workers.metric.model import Metric, Source

pytestmark = pytest.mark.integration

METRIC = Metric(
    name="playing",
    source=Source.model_validate(
        {"topic": "sync-playing", "key": "id", "time": "t", "columns": {"v": {"type": "string"}}}
    ),
    expression='duration_where(latest_event_to_state(v) == "play")',
)


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    directory: Path = tmp_path_factory.mktemp("sync")
    with running_stack(directory / "data") as made:
        made.start_worker()
        made.start_feeder()
        yield made


def test_everything_without_a_loop(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    """A script applies, feeds, asks, watches, looks at dead letters and sends them again."""
    monkeypatch.setenv("TIMELINE_PULSAR_URL", stack.addresses.pulsar)
    with TimelineClient.sync(stack.addresses.temporal) as client:
        assert client.apply(METRIC).outcome == "new"
        stack.send("sync-playing", [event("a", 0, v="play"), event("a", 10, v="stop"), event("b", 5, v=7)])
        with closing(client.watch("playing", ["a"], at=20, interval=0.1)) as answers:  # type: ignore[type-var]
            assert next(one.value for one in answers if one.value == 10) == 10
        assert [one.value for one in client.values("playing", 20, ["a"])] == [10]
        give_up = monotonic() + DEADLINE
        while not (letters := client.dead_letters(["sync-playing"])):
            assert monotonic() < give_up
        assert [(one.key, one.reason, one.replayed) for one in letters] == [("b", "wrong-type", None)]
        (count,) = client.count_dead_letters(chosen=Chosen(metric="playing"))
        assert (count.letters, count.replayed) == (1, 0)
        chosen = Chosen(reasons=("wrong-type",))
        tried = client.replay_dead_letters("sync-playing", chosen, dry_run=True)
        assert (len(tried.letters), tried.sent) == (1, {})
        assert any("would refuse 1 of 1 again" in warning for warning in tried.warnings)
        mended = b'{"id": "b", "t": 5, "v": "play"}'
        sent = client.replay_dead_letters("sync-playing", chosen, payload=mended)
        assert list(sent.sent) == [letters[0].position]
        (after,) = client.dead_letters(["sync-playing"])
        assert after.replayed is not None
        (health,) = client.health("playing")
        assert health.metric == "playing"
    with pytest.raises(TimelineError, match="closed"):
        client.metrics()


async def test_within_a_running_loop(stack: Stack) -> None:
    """As in a notebook: a loop runs in this thread, and the client waits beside it."""
    assert asyncio.get_running_loop().is_running()
    with SyncTimelineClient.connect(stack.addresses.temporal) as client:
        client.apply(METRIC)
        assert [one.name for one in client.metrics()] == ["playing"]
        with pytest.raises(UnknownNameError):
            client.metric("plying")


def test_nothing_is_left_without_a_connection() -> None:
    """The thread of a client ends with it, also when there is no server."""
    before = threading.active_count()
    with pytest.raises(ConnectionFailedError):
        SyncTimelineClient.connect("127.0.0.1:1")
    assert threading.active_count() == before
