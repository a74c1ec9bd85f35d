"""A sink on Temporal: what its target has in the end, whatever fails, and what is in its history."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from temporalio.client import Client, WorkflowHandle
from temporalio.common import WorkflowIDConflictPolicy

from tests.targets.receivers import SECRET, Receiver, http_receiver, parcel
from tests.workflows.cluster import TASK_QUEUE, cluster
from timeline_workers.alerts.sink_messages import SinkBatch, SinkMessage, pack_sink_batch, sink_id
from timeline_workers.client import TimelineClient
from timeline_workers.errors import QuestionError, UnknownNameError
from timeline_workers.targets.target import Target
from timeline_workers.targets.target_files import load_target
from workflows.messages import SinkInput, SinkStatus

pytestmark = pytest.mark.integration
VARIABLE = "SINK_TEST_SECRET"


@pytest.fixture
async def client(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[TimelineClient]:
    monkeypatch.setenv(VARIABLE, SECRET)
    async with cluster() as temporal:
        yield TimelineClient(temporal)


def webhook(url: str, name: str = "pager", **more: Any) -> Target:
    return load_target(
        {"kind": "target", "name": name, "what": "webhook", "url": url, "secret": {"env": VARIABLE}, **more}
    )


async def tell(
    client: TimelineClient,
    *told: SinkMessage,
    first: int = 1,
    origin: str = "alert-r.p0",
    target: str = "pager",
) -> WorkflowHandle[Any, Any]:
    """As the worker of a rule does it."""
    return await client.temporal.start_workflow(
        "Sink",
        args=[SinkInput(target=target, partition="p0"), b""],
        id=sink_id(target, "p0"),
        task_queue=TASK_QUEUE,
        id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING,
        start_signal="take",
        start_signal_args=[pack_sink_batch(SinkBatch(origin, first, told))],
    )


async def status(client: TimelineClient, target: str = "pager") -> SinkStatus:
    (found,) = (await client.describe_output(target)).sinks
    return found


async def until(check: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(60):
        while not await check():
            await asyncio.sleep(0.05)  # between two looks; the loop ends by what it sees


async def until_sent(client: TimelineClient, count: int) -> SinkStatus:
    async def is_sent() -> bool:
        return (await status(client)).sent >= count

    await until(is_sent)
    return await status(client)


async def text_of_history(temporal: Client, workflow_id: str) -> str:
    """Everything in it, with payloads as the bytes that they are."""
    found: list[str] = []

    def walk(value: Any) -> None:
        if isinstance(value, dict):
            found.extend(value)
            if isinstance(data := value.get("data"), str):
                found.append(base64.b64decode(data).decode("utf-8", "replace"))
        for one in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
            walk(one)
        found.extend([value] if isinstance(value, str) else [])

    walk(json.loads((await temporal.get_workflow_handle(workflow_id).fetch_history()).to_json()))
    return "\n".join(found)


async def test_a_message_is_sent_once_and_signed(client: TimelineClient) -> None:
    """However often a batch comes, also cut otherwise, and over runs."""
    receiver = Receiver()
    async with http_receiver(receiver) as url:
        await client.apply_target(webhook(url))
        handle = await tell(client, parcel("a").told, parcel("b").told)
        await until_sent(client, 2)
        await handle.signal("continue_as_new")
        await tell(client, parcel("a").told, parcel("b").told, parcel("c").told)
        await tell(client, parcel("b").told, first=2)
        await tell(client, parcel("d").told, origin="alert-other.p0")
        found = await until_sent(client, 4)
        assert await handle.query("taken", "alert-r.p0") == 3
    assert sorted(receiver.requests) == sorted(f"{parcel(key).name}" for key in "abcd")
    assert (found.runs, found.waiting, found.given_up, found.lost) == (1, 0, 0, 0)
    assert found.origins == {"alert-r.p0": 3, "alert-other.p0": 1}


async def test_a_long_outage_ends_with_a_message_an_episode(client: TimelineClient) -> None:
    """What came and went meanwhile is not sent; a target that says when to come again is left alone."""
    receiver = Receiver()
    receiver.answer = lambda name: (503, {"Retry-After": "3600"})
    async with http_receiver(receiver) as url:
        await client.apply_target(webhook(url))
        await tell(client, parcel("a").told)

        async def has_failed() -> bool:
            return bool((await status(client)).failures)

        await until(has_failed)
        number = 2
        for seq in range(2, 40):
            some = [parcel(key, seq, "moved").told for key in "ab"]
            gone = parcel(f"gone{seq}", 1, new=True).told, parcel(f"gone{seq}", 2, "withdraw").told
            await tell(client, *some, *gone, first=number)
            number += 4
        handle = await tell(client, parcel("b", 40, "resolve").told, first=number)
        await handle.signal("continue_as_new")
        found = await status(client)
        assert (found.waiting, found.failures, found.last_failure) == (
            2,
            1,
            "503 Service Unavailable: 503 of /",
        )
        assert found.paused_until is not None
        assert [(one.episode, one.seq) for one in found.next] == [
            (parcel("a").told.message.episode, 39),
            (parcel("b").told.message.episode, 40),
        ]
        assert receiver.requests == [parcel("a").name]
        receiver.answer = lambda name: (200, {})
        [row] = await client.outputs()
        assert (row.state, row.waiting, row.sent) == ("failing", 2, 0)
        assert await client.tell_output("pager", "retry") == 1
        await until_sent(client, 2)
    assert receiver.requests[1:] == [parcel("a", 39).name, parcel("b", 40).name]
    assert receiver.taken[parcel("a", 39).name]["data"]["page"] is True  # nobody was woken before


async def test_a_paused_target_goes_on_with_what_waits(client: TimelineClient) -> None:
    receiver = Receiver()
    async with http_receiver(receiver) as url:
        await client.apply_target(webhook(url))
        with pytest.raises(QuestionError, match="nothing was told target 'pager' yet"):
            await client.tell_output("pager", "pause")
        handle = await tell(client, parcel("a").told)
        await until_sent(client, 1)
        await client.tell_output("pager", "pause")
        await handle.signal("continue_as_new")
        await tell(client, parcel("a", 2, "resolve").told, first=2)

        async def waits() -> bool:
            found = await status(client)
            return (found.runs, found.waiting, found.paused) == (1, 1, True)

        await until(waits)
        [row] = await client.outputs()
        assert (row.state, row.waiting) == ("paused", 1)
        await client.tell_output("pager", "resume")
        await until_sent(client, 2)
    assert receiver.requests == [parcel("a").name, parcel("a", 2).name]


async def test_a_definition_that_is_mended_counts_for_what_waits(client: TimelineClient) -> None:
    """Also one that was not there when its first message came."""
    receiver = Receiver()
    async with http_receiver(receiver) as url:
        await client.apply_target(webhook("http://127.0.0.1:1", name="other"))
        await tell(client, parcel("a").told)
        with pytest.raises(UnknownNameError, match="there is no target 'pager'"):
            await client.describe_output("pager")
        assert (await client.apply_target(webhook("http://127.0.0.1:1"))).outcome == "new"

        async def has_failed() -> bool:
            return bool((await status(client)).failures)

        await until(has_failed)
        assert (await client.apply_target(webhook(url))).outcome == "replaced"
        assert (await client.apply_target(webhook(url))).outcome == "unchanged"
        await until_sent(client, 1)
    assert receiver.requests == [parcel("a").name]


async def test_no_secret_is_in_a_history(
    client: TimelineClient, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Nor in the log: not the secret, not the address that is one, whatever the target answers."""
    receiver = Receiver()
    receiver.answer = lambda name: (500, {})
    async with http_receiver(receiver) as url:
        monkeypatch.setenv("SINK_TEST_URL", f"{url}/services/T0/hunter2")
        token = tmp_path / "token"
        token.write_text("tokhunter3")
        target: dict[str, Any] = webhook(url).model_dump(exclude_defaults=True)
        target |= {"kind": "target", "what": "webhook"}
        target |= {"url": {"env": "SINK_TEST_URL"}, "token": {"file": str(token)}}
        await client.apply_target(load_target(target))
        await tell(client, parcel("a").told)

        async def has_failed() -> bool:
            return bool((await status(client)).failures)

        await until(has_failed)
        answer = await client.test_target("pager")
        assert (answer.verdict, answer.why) == ("later", "500 Internal Server Error: 500 of /***/T0/***")
        found = await status(client)
        assert found.last_failure == answer.why
        seen = [await text_of_history(client.temporal, one) for one in ("sink-pager.p0", "timeline-catalog")]
        assert all("SINK_TEST_URL" in one and answer.why in one for one in seen)
        assert "fire of a, number 1" in seen[0]
        for secret in (SECRET, "hunter2", "tokhunter3"):
            assert not any(secret in one for one in seen)
            assert secret not in caplog.text


async def test_the_test_message_says_what_it_is(client: TimelineClient) -> None:
    receiver = Receiver()
    async with http_receiver(receiver) as url:
        await client.apply_target(webhook(url))
        answer = await client.test_target("pager")
        assert (answer.verdict, answer.why) == ("taken", "200 OK: 200 of /")
        [event] = receiver.taken.values()
        assert event["data"]["rule"] == "timeline-test"
        assert event["data"]["page"] is False
        assert "Nothing has happened" in event["data"]["text"]
        with pytest.raises(UnknownNameError, match="did you mean 'pager'"):
            await client.test_target("pagr")
