"""The channel of health: a record each time that a metric is otherwise, and none else."""

from __future__ import annotations

import asyncio
import itertools

import pytest
from hypothesis import given, strategies as st

from timeline_workers.errors import ConnectionFailedError
from timeline_workers.playback.items import OpenedChannel, View
from timeline_workers.playback.memory_recording import MemoryRecording
from timeline_workers.playback.requests import HealthChannel
from timeline_workers.web.health_recording import GONE, HealthReader, HealthRecording, HealthWatch

Looks = st.lists(
    st.none() | st.dictionaries(st.sampled_from("abc"), st.sampled_from(["ok", "lagging", "down"])),
    max_size=8,
)


@given(Looks)
async def test_records_say_what_has_changed(looks: list[dict[str, str] | None]) -> None:
    """Against a plain reading: the state after each look, where None is a cluster that does not answer."""
    answers = iter(looks)

    async def states() -> list[tuple[str, str, str | None]]:
        found = next(answers)
        if found is None:
            raise ConnectionFailedError("nobody is there")
        return [(name, state, f"another cause than {watch.looked}") for name, state in found.items()]

    watch = HealthWatch(states, clock=lambda: 7_000)  # a clock that stands still
    expected, known = [], {}
    for look in looks:
        await watch.look()
        found = dict.fromkeys(known, "unreachable") if look is None else look
        for name in sorted(known.keys() | found.keys()):
            if known.get(name) != found.get(name):
                expected.append((name, found.get(name, GONE)))
        known = found
    records = watch.records
    assert sorted((one.key, one.payload["state"]) for one in records) == sorted(expected)
    assert len({one.position for one in records}) == len(records)
    assert [one.due for one in records] == sorted(one.due for one in records)
    await check_reader(watch)


async def check_reader(watch: HealthWatch) -> None:
    """Windows that follow each other have every record once; neighbours lead from one to the next."""
    reader, view = HealthReader(watch, OpenedChannel("health", "health")), View()
    dues = [record.due for record in watch.records]
    cuts = [-1, *sorted({*dues, 9}), 100]
    windows = [await reader.window(view, after, to, 1_000) for after, to in itertools.pairwise(cuts)]
    assert [item for window in windows for item in window.items] == watch.records
    assert await reader.count(view, -1, 100) == len(dues)
    for at in cuts:
        after, before = await reader.neighbour(view, at, False), await reader.neighbour(view, at, True)
        assert after == min((due for due in dues if due > at), default=None)
        assert before == max((due for due in dues if due < at), default=None)


async def test_nobody_looks_while_nobody_reads() -> None:
    looked = 0

    async def states() -> list[tuple[str, str, str | None]]:
        nonlocal looked
        looked += 1
        return [("cirr", "ok", None)]

    watch = HealthWatch(states, every=0)
    reader = watch.reader(HealthChannel(channel="health"))
    task = watch._task
    assert task is not None
    while not watch.records:
        await reader.count(View(), 0, 1)
        await asyncio.sleep(0)
    del reader
    await task  # it ends by itself
    assert looked >= 1


async def test_a_fault_of_looking_on_is_told() -> None:
    async def states() -> list[tuple[str, str, str | None]]:
        raise KeyError("a fault")

    watch = HealthWatch(states)
    recording = HealthRecording(watch, MemoryRecording())
    reader = await recording.open(HealthChannel(channel="health"), View())
    assert watch._task is not None
    await asyncio.wait([watch._task])
    with pytest.raises(KeyError, match="a fault"):
        await recording.look([reader], View(), None, None)
