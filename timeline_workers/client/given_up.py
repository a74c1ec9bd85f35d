"""Messages of alerts that were given up: sending them once more, by the sinks of their target.

They are dead letters as refused events are (``dead_letters`` counts and shows them), and what was sent again
is remembered in the same way. Waits for the broker, and so runs in a thread of its own.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import Final

from temporalio.client import Client
from temporalio.common import WorkflowIDConflictPolicy, WorkflowIDReusePolicy

from timeline_workers.alerts.sink_messages import TAKE, SinkMessage, pack_sink_batch, sink_batches
from timeline_workers.servers.pulsar.dead_letter_topic import Letter, read_letters, replaying
from timeline_workers.settings.timeline_settings import Settings
from timeline_workers.targets.letters import Unsent, letters_topic, read_letter
from workflows.catalog.stored_targets import find_target
from workflows.messages import SinkInput
from workflows.registry import SINK

from .dead_letters import broker

_ORIGIN: Final = "given-up"


async def send_given_up_again(client: Client, name: str, *, again: bool = False) -> int:
    """Have the messages of target ``name`` that were given up sent once more, by the sinks that gave them up:
    of each episode the last, unless a newer one was sent since. Returns how many. ``again``: also those that
    were before. Raises UnknownNameError, ReplayError, ConnectionFailedError.
    """
    await find_target(client, name)
    loop = asyncio.get_running_loop()

    def take(sink: str, messages: Sequence[SinkMessage]) -> None:
        asyncio.run_coroutine_threadsafe(_hand_over(client, name, sink, messages), loop).result()

    return await asyncio.to_thread(_send, name, take, again)


def _send(name: str, take: Callable[[str, Sequence[SinkMessage]], None], again: bool) -> int:
    topic = letters_topic(name)
    with broker() as (client, url):
        letters = read_letters(client, url, topic)
        if not letters:
            return 0
        with replaying(client, url, topic) as under_way:
            left = [letter for letter in letters if again or letter.place not in under_way.done]
            chosen = _last_of_each(left)
            for sink, messages in chosen.items():
                take(sink, messages)
            if left:
                under_way.note_done(left)
            return sum(map(len, chosen.values()))


def _last_of_each(letters: Sequence[Letter]) -> dict[str, list[SinkMessage]]:
    """The last message of each episode, by its sink."""
    last: dict[str, Unsent] = {}
    for letter in letters:
        one = read_letter(letter.payload)
        episode, seq = one.told.message.episode, one.told.message.seq
        if episode not in last or last[episode].told.message.seq < seq:
            last[episode] = one
    found: dict[str, list[SinkMessage]] = {}
    for one in last.values():
        found.setdefault(one.sink, []).append(one.told)
    return found


async def _hand_over(client: Client, name: str, sink: str, messages: Sequence[SinkMessage]) -> None:
    partition = sink.rpartition(".")[2]
    for some in sink_batches(_ORIGIN, time.time_ns() // 1000, messages):
        await client.start_workflow(
            SINK.type,
            args=[SinkInput(target=name, partition=partition), b""],
            id=sink,
            task_queue=Settings.from_env().task_queue,
            id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING,
            id_reuse_policy=WorkflowIDReusePolicy.ALLOW_DUPLICATE,
            start_signal=TAKE,
            start_signal_args=[pack_sink_batch(some)],
            static_summary=f"tells {name} [{partition}]",
        )
