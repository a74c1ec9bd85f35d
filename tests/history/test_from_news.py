"""Revisions from what workers say: the history of them is that of computing, now and at any time before."""

from __future__ import annotations

import asyncio
from typing import Any

from hypothesis import given, settings, strategies as st

from tests.properties import test_alone as alone
from timeline_workers.history.computed import compute
from timeline_workers.history.from_news import revisions_of
from timeline_workers.history.model import Piece, Writer
from timeline_workers.plan.physical import worker_id
from timeline_workers.runtime.subscriber import Subscriber
from timeline_workers.wire.news import News

from .scripts import Clock
from .stores import sqlite
from .test_computed import Teed, keep

ALWAYS = -(2**60), 2**60


class Output:
    """Hears one worker, as an output does."""

    def __init__(self, heard: str) -> None:
        self._subscriber = Subscriber(f"history of {heard}", [heard])
        self.news: list[News] = []

    def receive(self, message: bytes) -> None:
        if (news := self._subscriber.take(message)) is not None:
            self.news.append(news)


def said(pieces: list[Piece]) -> list[Any]:
    return [(p.key, p.start, p.until, repr(p.value), p.slope) for p in pieces]


@settings(max_examples=50, deadline=None)
@given(st.data())
def test_stored_revisions_are_what_is_computed(data: st.DataObject) -> None:
    """Of every node of a random metric, after each batch, with late events."""
    metric = data.draw(alone._metrics())[0]
    teed = Teed()
    teed.apply(metric)
    outputs: dict[str, Output] = {}
    for node in teed.plans[metric.name].nodes:
        worker = worker_id(node.name, "p0")
        output = outputs[node.expression] = Output(worker)
        teed.workers[f"history of {worker}"] = output  # type: ignore[assignment]
        teed.workers[worker].subscribe(f"history of {worker}", "1")

    async def script() -> None:
        async with sqlite(Clock([1])) as store:
            seen = []
            for batch in range(data.draw(st.integers(1, 4))):
                teed.feed(data.draw(st.lists(alone._event, min_size=1, max_size=5)))
                await keep(store, teed)
                for name, output in outputs.items():
                    revisions = [one for news in output.news for one in revisions_of(news)]
                    mark = output.news[-1].watermark if output.news else None
                    await store.append_revisions(Writer(name, name), (batch, 0), revisions, watermark=mark)
                    output.news.clear()
                seen.append((await store.status()).seen)
            for as_of in seen:
                computed = await compute(
                    store, metric.expression, metric.source, keys=["p", "q"], as_of=as_of
                )
                for node in computed.nodes:
                    stored = await store.pieces([node.text], *ALWAYS, as_of=as_of)
                    assert said(stored) == said(computed.pieces(node.text, *ALWAYS))

    asyncio.run(script())
