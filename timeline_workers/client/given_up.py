"""Messages of alerts that were given up: sending them once more, by the sinks of their target.

They are dead letters as refused events are (``dead_letters`` counts and shows them), and what was sent again
is remembered in the same way. Waits for the broker, and so runs in a thread of its own.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence

from temporalio.client import Client
from temporalio.common import WorkflowIDConflictPolicy, WorkflowIDReusePolicy

from timeline_workers.alerts.sink_messages import TAKE, SinkMessage, pack_sink_batch, sink_batches, sink_id
from timeline_workers.servers.pulsar.dead_letter_topic import Letter, read_letters, replaying
from timeline_workers.settings.timeline_settings import Settings
from timeline_workers.targets.letters import letters_topic, read_letter
from workflows.catalog.stored_targets import find_target
from workflows.messages import SinkInput
from workflows.registry import SINK

from .dead_letters import broker

PARTITION = "all"
"""The partition of the sink that sends again what was given up by whichever."""


async def send_given_up_again(client: Client, name: str, *, again: bool = False) -> int:
    """Have the messages of target ``name`` that were given up sent once more, of each episode the last; how
    many. ``again``: also those that were before. Raises UnknownNameError, ReplayError, ConnectionFailedError.
    """
    await find_target(client, name)
    loop = asyncio.get_running_loop()

    def take(messages: Sequence[SinkMessage]) -> None:
        asyncio.run_coroutine_threadsafe(_hand_over(client, name, messages), loop).result()

    return await asyncio.to_thread(_send, name, take, again)


def _send(name: str, take: Callable[[Sequence[SinkMessage]], None], again: bool) -> int:
    topic = letters_topic(name)
    with broker() as (client, url):
        letters = read_letters(client, url, topic)
        if not letters:
            return 0
        with replaying(client, url, topic) as under_way:
            left = [letter for letter in letters if again or letter.place not in under_way.done]
            chosen = _last_of_each(left)
            if chosen:
                take(chosen)
                under_way.note_done(left)
            return len(chosen)


def _last_of_each(letters: Sequence[Letter]) -> list[SinkMessage]:
    last: dict[str, SinkMessage] = {}
    for letter in letters:
        told = read_letter(letter.payload)
        known = last.get(told.message.episode)
        if known is None or known.message.seq < told.message.seq:
            last[told.message.episode] = told
    return list(last.values())


async def _hand_over(client: Client, name: str, messages: Sequence[SinkMessage]) -> None:
    now = time.time_ns() // 1000
    for some in sink_batches(f"given-up-{now}", 1, messages):
        await client.start_workflow(
            SINK.type,
            args=[SinkInput(target=name, partition=PARTITION), b""],
            id=sink_id(name, PARTITION),
            task_queue=Settings.from_env().task_queue,
            id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING,
            id_reuse_policy=WorkflowIDReusePolicy.ALLOW_DUPLICATE,
            start_signal=TAKE,
            start_signal_args=[pack_sink_batch(some)],
            static_summary=f"tells {name} [{PARTITION}]",
        )
