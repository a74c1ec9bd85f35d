"""Told: what a receiver knows who has nothing but the messages; and revisions written by hand."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from timeline_workers.alerts.episodes import Message
from timeline_workers.alerts.true_spans import OPEN, Span
from timeline_workers.algebra.timeline.timelines import Timeline
from timeline_workers.columns.values import Flags
from timeline_workers.wire.news import News

SECOND = 1_000_000


def news(truth: Mapping[str | int, tuple[int, Sequence[Span]]], watermark: int | None = None) -> News:
    """Of each key an instant and the spans from there on, in the order of ``truth``; the suffix begins there
    with False where no span does."""
    offsets, starts, flags, froms = [0], [], [], []
    for since, spans in truth.values():
        rows: list[tuple[int, bool]] = [] if spans and spans[0][0] <= since else [(since, False)]
        for start, end in spans:
            rows.append((max(start, since), True))
            rows += [] if end == OPEN else [(end, False)]
        starts += [at for at, _ in rows]
        flags += [flag for _, flag in rows]
        offsets.append(len(starts))
        froms.append(since)
    suffix = Timeline(np.array(offsets), np.array(starts, np.int64), Flags(np.array(flags, np.bool_)))
    return News(list(truth), np.array(froms, np.int64), suffix, watermark, watermark is not None)


class Receiver:
    """``known``: of each episode its key, start and end, by its id, as the last message said."""

    def __init__(self) -> None:
        self.known: dict[str, tuple[str | int, int, int]] = {}
        self.seqs: dict[str, int] = {}
        self.messages: list[Message] = []

    def hear(self, messages: Iterable[Message]) -> None:
        """Take messages that are sent; each episode's come in order, none twice."""
        for message in messages:
            assert message.seq > self.seqs.get(message.episode, 0)
            self.seqs[message.episode] = message.seq
            self.messages.append(message)
            if message.kind in ("withdraw", "merged"):
                del self.known[message.episode]
                assert message.into is None or message.into in self.known
            else:
                if message.kind == "fire":
                    assert message.episode not in self.known
                end = OPEN if message.end is None else message.end
                self.known[message.episode] = (message.key, message.start, end)

    def of(self, key: str | int) -> list[Span]:
        """The spans of ``key``, in order."""
        return sorted((start, end) for one, start, end in self.known.values() if one == key)


def seen(spans: Iterable[Span], as_of: int) -> list[Span]:
    """How ``spans`` look at ``as_of``."""
    return [(start, end if end <= as_of else OPEN) for start, end in spans if start <= as_of]
