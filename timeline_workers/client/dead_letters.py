"""Dead letters: the events that were not applied, which, how many and why, and sending them again.

These functions wait for the broker, and so run in a thread of their own where there is an event loop.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from datetime import datetime

import pulsar
from pydantic import BaseModel, ConfigDict
from temporalio.client import Client

from timeline_workers.errors import QuestionError
from timeline_workers.events.times import question_time
from timeline_workers.servers.pulsar.dead_letter_topic import Letter, read_letters, read_replayed, replaying
from timeline_workers.servers.pulsar.pulsar_client import connect, pulsar_url
from timeline_workers.targets.letters import target_of
from workflows.client import ask

from .forecast import forecast
from .models import DeadLetter, DeadLetterCount, Replayed, written


class Chosen(BaseModel):
    """Which dead letters are meant: those that fit every field given, all of a topic without any.

    ``since``: written since, seconds since the epoch or a ``datetime``; ``positions``: as ``DeadLetter`` has
    them.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    reasons: tuple[str, ...] = ()
    metric: str | None = None
    since: float | datetime | None = None
    positions: tuple[str, ...] = ()

    def of(self, letters: Sequence[Letter]) -> list[Letter]:
        """Those of ``letters`` that are meant; QuestionError when there is none at a given position."""
        since = None if self.since is None else question_time(self.since, "s") / 1000
        if unknown := set(self.positions) - {letter.place for letter in letters}:
            raise QuestionError(
                f"there is no dead letter of position {min(unknown)}; a position is "
                "partition:ledger:entry:index, as `timeline deadletter show` prints it"
            )
        return [
            letter
            for letter in letters
            if (not self.reasons or letter.reason in self.reasons)
            and (self.metric is None or self.metric in letter.metrics)
            and (since is None or letter.published >= since)
            and (not self.positions or letter.place in self.positions)
        ]


async def topics_of(client: Client, metric: str | None) -> list[str]:
    """The topics of the applied metrics, or of ``metric``; QuestionError when no metric is applied."""
    if metric is not None:
        return [(await ask.find_metric(client, metric)).source.topic]
    found = [entry.metric.source.topic for entry in await ask.registered(client)]
    if not found:
        raise QuestionError("no metric is applied; name a topic")
    return list(dict.fromkeys(found))


@contextmanager
def broker() -> Iterator[tuple[pulsar.Client, str]]:
    """A client of the broker meanwhile, and its URL. Raises ConnectionFailedError."""
    url = pulsar_url()
    with closing(connect(url, quiet=True)) as client:
        yield client, url


def letters_of(topics: Sequence[str], chosen: Chosen) -> list[DeadLetter]:
    """The dead letters of ``topics``, in the order of topics and positions."""
    found: list[DeadLetter] = []
    with broker() as (client, url):
        for topic in topics:
            replayed = read_replayed(client, url, topic)
            letters = chosen.of(read_letters(client, url, topic))
            found += [DeadLetter.of(letter, replayed.get(letter.place)) for letter in letters]
    return found


def counts_of(topics: Sequence[str], chosen: Chosen) -> list[DeadLetterCount]:
    """The dead letters of ``topics`` counted by topic, reason and metric; one that several metrics have
    refused counts for each of them.
    """
    rows: list[DeadLetterCount] = []
    with broker() as (client, url):
        for topic in topics:
            replayed = read_replayed(client, url, topic)
            groups: dict[tuple[str, str], list[Letter]] = defaultdict(list)
            for letter in chosen.of(read_letters(client, url, topic)):
                for refuser in letter.metrics:
                    if chosen.metric in (None, refuser):
                        groups[letter.reason, refuser].append(letter)
            rows += [
                DeadLetterCount(
                    topic=topic,
                    reason=why,
                    metric=refuser,
                    letters=len(found),
                    replayed=sum(letter.place in replayed for letter in found),
                    first=written(min(found, key=lambda letter: letter.published)),
                    last=written(max(found, key=lambda letter: letter.published)),
                )
                for (why, refuser), found in sorted(groups.items())
            ]
    return rows


Warn = Callable[[list[Letter], bytes | None], Sequence[str]]
"""What the applied metrics would make of letters, or of another payload, in words."""


def replay(
    topic: str,
    chosen: Chosen,
    *,
    warn: Warn,
    payload_for: Callable[[Sequence[Letter]], bytes | None] = lambda _: None,
    confirm: Callable[[int], object] = lambda _: None,
    again: bool = False,
    dry_run: bool = False,
) -> Replayed:
    """Send letters again; see ``TimelineClient.replay_dead_letters``.

    ``payload_for`` says what is sent in the place of the payload of the letters that are chosen (None: their
    own); ``confirm`` is told how many would be sent. What they raise ends it before anything is sent.
    QuestionError for those of a target, which has no topic of events.
    """
    if (target := target_of(topic)) is not None:
        raise QuestionError(
            f"{topic} has messages of alerts that target {target} was not sent; send them again with "
            f"`timeline outputs retry {target} --given-up`"
        )
    with broker() as (client, url):
        letters = chosen.of(read_letters(client, url, topic))
        payload = payload_for(letters)
        if dry_run:
            done = {} if again else read_replayed(client, url, topic)
            left = [letter for letter in letters if letter.place not in done]
            return _replayed(topic, left, {}, len(letters), warn(left, payload) if left else ())
        with replaying(client, url, topic) as under_way:
            left = [letter for letter in letters if again or letter.place not in under_way.done]
            warnings = warn(left, payload) if left else ()
            if left:
                confirm(len(left))
            sent = under_way.send(left, payload)
    return _replayed(topic, left, sent, len(letters), warnings)


def _replayed(
    topic: str, left: Sequence[Letter], sent: dict[str, str], chosen: int, warnings: Sequence[str]
) -> Replayed:
    return Replayed(
        topic=topic,
        letters=tuple(DeadLetter.of(letter, None) for letter in left),
        sent=sent,
        left_out=chosen - len(left),
        warnings=tuple(warnings),
    )


async def replay_now(
    client: Client, topic: str, chosen: Chosen, *, payload: bytes | None, again: bool, dry_run: bool
) -> Replayed:
    """``replay`` without asking anybody, beside an event loop."""
    loop = asyncio.get_running_loop()

    def warn(letters: list[Letter], instead: bytes | None) -> list[str]:
        asked = asyncio.run_coroutine_threadsafe(forecast(client, topic, letters, instead), loop)
        return asked.result().lines(topic)

    def payload_for(letters: Sequence[Letter]) -> bytes | None:
        if payload is not None and len(letters) != 1:
            raise QuestionError(
                f"another payload is for one letter, and {len(letters)} are chosen; name its position"
            )
        return payload

    return await asyncio.to_thread(
        replay, topic, chosen, warn=warn, payload_for=payload_for, again=again, dry_run=dry_run
    )
