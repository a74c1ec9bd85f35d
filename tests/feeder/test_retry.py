"""The feeder's waits before it asks Temporal, or a worker, again."""

from __future__ import annotations

import asyncio

import pytest
from structlog.testing import capture_logs

from feeder.delivery.leaf_delivery import NotApplied
from feeder.delivery.retry import NeverReturnedError, persist
from tests.feeder import virtual_time


async def pauses_of(error: Exception, times: int, monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The pauses of a call that fails ``times`` times."""
    pauses: list[float] = []

    async def note(seconds: float) -> None:
        pauses.append(seconds)

    monkeypatch.setattr(asyncio, "sleep", note)
    left = iter(range(times))

    async def call() -> str:
        if next(left, None) is not None:
            raise error
        return "done"

    assert await persist("asking", call) == "done"
    return pauses


async def test_a_worker_that_is_behind_is_asked_again_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """What was waited for too long in vain is never more than a part of the whole wait."""
    pauses = await pauses_of(NotApplied("8 batches are not yet applied"), 12, monkeypatch)
    assert pauses[0] <= 0.02
    for number, pause in enumerate(pauses[1:], 1):
        assert pause <= 0.01 + sum(pauses[:number]) / 2 + 1e-9


async def test_a_server_that_is_away_is_given_time(monkeypatch: pytest.MonkeyPatch) -> None:
    pauses = await pauses_of(OSError("connection refused"), 12, monkeypatch)
    assert pauses[0] >= 0.05
    assert max(pauses) >= 4


@pytest.mark.parametrize("failures", [2, 4])
async def test_a_recovery_is_logged_after_warnings(failures: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first failures pass without a word."""
    with capture_logs() as lines:
        await pauses_of(OSError("connection refused"), failures, monkeypatch)
    said = [(line["log_level"], line["event"]) for line in lines]
    warned = [("warning", "asking: retrying")] * (failures - 2)
    assert said == ([*warned, ("info", "asking: recovered")] if warned else [])


def test_a_call_that_never_returns_is_given_up() -> None:
    """Who was to answer it is gone, and will not say so; one that fails by its own time-out is made again."""
    calls = 0

    async def never() -> None:
        await asyncio.Event().wait()

    async def slow() -> str:
        nonlocal calls
        calls += 1
        if calls == 1:
            raise TimeoutError
        return "done"

    assert virtual_time.run(persist("asking", slow)) == "done"
    with pytest.raises(NeverReturnedError, match="asking: no answer and no error for 90 s"):
        virtual_time.run(persist("asking", never))
