"""Reconcilers on a real Temporal server: calls of a metric's values and of a bucket's states."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
import pytest_asyncio
from pydantic import BaseModel
from temporalio.client import Client
from typer.testing import CliRunner

from tests.oracle.events import Event
from tests.workflows.cluster import SECOND, apply, cluster, feed
from timeline_workers.cli.main import build
from timeline_workers.client.reconciler_client import Reconcilers
from timeline_workers.errors import UnknownNameError
from timeline_workers.metric.model import Metric, Source
from timeline_workers.reconcilers import Context, Level, PermanentError, reconciler
from timeline_workers.reconcilers.reconciler_status import KeySaid
from timeline_workers.reconcilers.reconciler_workers import reconciler_workers
from workflows.client import ask
from workflows.messages import KeysQuestion
from workflows.reconciling.start_reconcilers import ensure_reconcilers

pytestmark = [pytest.mark.integration, pytest.mark.asyncio(loop_scope="module")]


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def client() -> AsyncIterator[Client]:
    async with cluster() as made:
        yield made


class Card(BaseModel):
    frozen: bool | None = None


@contextlib.asynccontextmanager
async def calling(client: Client, *names: str) -> AsyncIterator[Reconcilers]:
    """A process that makes the calls of these reconcilers."""
    stop = asyncio.Event()
    reconcilers = Reconcilers(client)
    await reconcilers.register(*names)
    running = asyncio.create_task(reconcilers.run(*names, stop=stop))
    try:
        yield reconcilers
    finally:
        stop.set()
        await running


async def until(holds: Callable[[], bool]) -> None:
    while not holds():
        await asyncio.sleep(0.02)  # between two looks; the test's own time limit ends it


def risky(name: str, **source: Any) -> Metric:
    declared = {"topic": f"{name}-events", "key": "session", "time": "t", "allowed_lateness": "0s", **source}
    return Metric(
        name=name,
        source=Source.model_validate(declared),
        expression='latest_event_to_state(card) == "stolen"',
    )


def card(number: int, key: str, at: int, state: str) -> Event:
    return Event(key=key, time=at * SECOND, columns={"card": state}, position=(0, 0, number))


async def test_the_world_agrees_with_a_metric(client: Client) -> None:
    world: dict[str, bool] = {}
    tokens: dict[str, list[int]] = {}

    @reconciler("freeze", follow="stolen", cache=Card, backoff=("10ms", "100ms"))
    async def freeze(context: Context[Card], desired: Level[bool]) -> Card:
        tokens.setdefault(str(context.key), []).append(context.token)
        if len(tokens[str(context.key)]) == 1:
            raise ConnectionError("the bank does not answer")
        if context.cache.frozen != desired.value:
            world[str(context.key)] = desired.value
        return Card(frozen=desired.value)

    stolen = risky("stolen", partitions=2)
    await apply(client, stolen)
    async with calling(client, "freeze"):
        await feed(client, stolen, [card(1, "a", 1, "fine"), card(2, "b", 2, "stolen")])
        await until(lambda: world == {"a": False, "b": True})
        await feed(client, stolen, [card(3, "a", 3, "stolen")])
        await until(lambda: world == {"a": True, "b": True})
        await feed(client, stolen, [card(4, "a", 2, "late")])  # changes nothing that is so now
        await feed(client, stolen, [card(5, "b", 5, "found")])
        await until(lambda: world == {"a": True, "b": False})
    assert all(found == sorted(set(found)) for found in tokens.values())
    assert len(tokens["a"]) == 3


async def test_a_bucket_calls_the_newest_state(client: Client) -> None:
    """R1 on a server: while one call runs nine more states come, of which the last is called."""
    calls: list[int] = []
    began, go_on = asyncio.Event(), asyncio.Event()

    async def play(context: Context[Any], desired: Level[Any]) -> None:
        calls.append(desired.value["song"])
        if len(calls) == 1:
            began.set()
            await go_on.wait()

    reconcilers = Reconcilers(client)
    players = await reconcilers.open("players", partitions="per-key")
    players.register(play)
    working = asyncio.create_task(players.work())
    await players.notify("player/7", {"song": 1})
    await began.wait()
    for song in range(2, 11):
        await players.notify("player/7", {"song": song})
    handle = client.get_workflow_handle("reconciler-players.key-player-7-" + hashed("player/7"))
    found: KeySaid = await handle.query("reconciler_key", KeysQuestion(key="player/7"), result_type=KeySaid)
    assert found.desired is not None
    assert (found.desired.value, found.state) == ({"song": 10}, "Reconciling")
    go_on.set()
    await until(lambda: calls == [1, 10])
    players.close()
    await working


def hashed(key: str) -> str:
    from timeline_workers.plan.physical import label_of

    return label_of(key, "per-key").rpartition("-")[2]


async def test_r14_nothing_is_lost_while_runs_continue_as_new(client: Client) -> None:
    """2,000 states of 20 keys are told while runs end after every 100 of them."""
    called: dict[str, list[int]] = {}
    tokens: dict[str, list[int]] = {}

    @reconciler("rolling")
    async def roll(context: Context[Any], desired: Level[int]) -> None:
        called.setdefault(str(context.key), []).append(desired.value)
        tokens.setdefault(str(context.key), []).append(context.token)

    definition = roll.definition
    (spec,) = reconciler_workers(definition)
    await ensure_reconcilers(client, [spec], continue_as_new_after=100)
    async with calling(client, "rolling") as reconcilers:
        for value in range(1, 101):
            await asyncio.gather(*(reconcilers.notify("rolling", f"k{n}", value) for n in range(20)))
        await until(lambda: len(called) == 20 and all(values[-1] == 100 for values in called.values()))
    assert all(values == sorted(set(values)) for values in called.values())
    assert all(found == sorted(set(found)) for found in tokens.values())
    runs = [run async for run in client.list_workflows(f'WorkflowId = "{spec.worker_id}"')]
    assert len(runs) > 3


async def test_finalizers_stalls_pauses_and_force(client: Client) -> None:
    """What `timeline reconcilers` does and says, on one bucket."""
    left: list[str] = []
    broken = {"bank": True}

    @reconciler("undone", cache=Card, backoff=("10ms", "20ms"))
    async def do(context: Context[Card], desired: Level[str]) -> Card:
        if desired.value == "bad":
            raise PermanentError("no such card")
        return Card(frozen=True)

    @do.finalizer
    async def undo(context: Context[Card]) -> None:
        if broken["bank"]:
            raise ConnectionError("the bank is closed")
        left.append(str(context.key))

    async with calling(client, "undone") as reconcilers:

        async def key(name: str, holds: Callable[[KeySaid], bool]) -> KeySaid:
            while not holds(said := await reconcilers.describe("undone", name)):
                await asyncio.sleep(0.02)  # between two looks
            return said

        for name, value in (("a", "good"), ("b", "bad"), ("c", "good"), ("7", "good")):
            await reconcilers.notify("undone", int(name) if name.isdecimal() else name, value)
        ready = await key("a", lambda said: said.state == "Ready")
        assert (ready.cache, ready.generation, ready.observed) == ({"frozen": True}, 1, 1)
        assert (await key("7", lambda said: said.state == "Ready")).key == 7
        stalled = await key("b", lambda said: said.state == "Stalled")
        assert (stalled.error, stalled.next_try) == ("no such card", None)
        (found,) = await reconcilers.overview("undone")
        assert (found.state, found.total("keys"), found.total("ready")) == ("1 stalled", 4, 3)
        assert [one.key for one in await reconcilers.keys("undone", only="ill")] == ["b"]
        await reconcilers.pause("undone", "a")
        await key("a", lambda said: said.state == "Ready, Paused")
        await reconcilers.delete("undone", "a")
        waits = await key("a", lambda said: "fails" in said.waits)
        assert waits.waits == "its finalizer fails and is tried again: ConnectionError: the bank is closed"
        await reconcilers.delete("undone", "c", force=True)
        broken["bank"] = False
        await until(lambda: left == ["a"])
        handle = client.get_workflow_handle("reconciler-undone.p0")
        await reconcilers.delete("undone")
        await handle.result()
        assert sorted(left) == ["7", "a", "b"]
        with pytest.raises(UnknownNameError, match="there is no reconciler 'undone'"):
            await reconcilers.overview("undone")


async def test_keys_leave_and_come_back_with_the_metric(client: Client) -> None:
    world: dict[str, bool] = {}

    @reconciler("leaving", follow="leaves", cache=Card)
    async def freeze(context: Context[Card], desired: Level[bool]) -> Card:
        world[str(context.key)] = desired.value
        return Card(frozen=desired.value)

    @freeze.finalizer
    async def thaw(context: Context[Card]) -> None:
        del world[str(context.key)]

    leaves = risky("leaves")
    async with calling(client, "leaving") as reconcilers:  # before there is such a metric
        assert (await reconcilers.overview("leaving"))[0].state == "waits for metric leaves"
        await apply(client, leaves)
        await feed(client, leaves, [card(1, "a", 1, "stolen")])
        await until(lambda: world == {"a": True})
        await ask.delete(client, "leaves")
        await until(lambda: world == {})
        await apply(client, leaves)
        await feed(client, leaves, [card(1, "a", 1, "stolen"), card(2, "b", 2, "fine")])
        await until(lambda: world == {"a": True, "b": False})


async def test_the_command_shows_and_steers(client: Client) -> None:
    """`timeline reconcilers` on a key that fails, one that leaves and the whole; lines of 80 characters."""
    mended = asyncio.Event()

    @reconciler("shown", cache=Card, backoff=("1h", "1h"))
    async def do(context: Context[Card], desired: Level[str]) -> Card:
        if desired.value == "ill" and not mended.is_set():
            raise ConnectionError("the bank does not answer")
        return Card(frozen=True)

    async def timeline(*arguments: str) -> str:
        command = ["reconcilers", *arguments, "--address", client.service_client.config.target_host]
        done = await asyncio.to_thread(CliRunner().invoke, build("reconcilers"), command)
        assert done.exit_code == 0, done.output
        # The process that calls runs here, and its log goes to the same place.
        lines = [line for line in done.stdout.splitlines() if "calling reconcilers" not in line]
        assert all(len(line) <= 80 for line in lines), done.stdout
        return done.stdout

    async def shows(text: str, *arguments: str) -> str:
        while text not in (found := await timeline(*arguments)):
            await asyncio.sleep(0.05)  # between two looks
        return found

    async with calling(client, "shown") as reconcilers:
        await reconcilers.notify("shown", "a", "well")
        await reconcilers.notify("shown", "b", "ill")
        assert "1 failing" in await shows("1 failing", "get")
        listed = await timeline("get", "shown", "--ill")
        assert "ConnectionError" in listed
        described = await shows("attempt", "describe", "shown", "b")
        for said in ("ill", "1, observed 0", "next try", "workflow reconciler-shown.p0", "(BackOff)"):
            assert said in described
        await timeline("pause", "shown", "b")
        await shows("Paused", "describe", "shown", "b")
        await timeline("resume", "shown", "b")
        mended.set()
        await timeline("retry", "shown", "b")
        await shows("Ready (Succeeded)", "describe", "shown", "b")
        await timeline("delete", "shown", "a")
        assert "1 worker will end" in await timeline("delete", "shown", "--force")
