"""Timelines of metrics in a recording, computed from its events as they are stored."""

from __future__ import annotations

from typing import Any

from timeline_workers import evaluate
from timeline_workers.language.canonical import canonical, slug, to_text
from timeline_workers.language.check import check
from timeline_workers.language.parser import parse
from timeline_workers.language.tree import Aggregate
from timeline_workers.plan.logical import logical
from timeline_workers.playback.items import NodeOfChannel, Piece
from timeline_workers.playback.memory_recording import MemoryRecording

FAR = 100_000
MILLION = 1_000_000


class Computed:
    """The metric ``name``, every node of it, over the events of ``topic``: s is the key, t the time."""

    def __init__(self, recording: MemoryRecording, name: str, expression: str, topic: str) -> None:
        self.recording, self.name, self.topic = recording, name, topic
        self._events: list[dict[str, Any]] = []
        self._known: dict[tuple[str, Any], list[Piece]] = {}
        checked = check(canonical(parse(expression)))
        self.nodes: dict[str, str] = {}
        infos = []
        for i, node in enumerate(logical(checked)):
            functions = node.expression.functions if isinstance(node.expression, Aggregate) else ("",)
            for function in functions:
                called = f"{i}-{function or slug(node.expression)}"
                self.nodes[called] = to_text(node.expression)
                infos.append(NodeOfChannel(called, called, to_text(node.expression), node.kind))
        recording.add_metric(name, infos)

    def tell(self, *events: dict[str, Any]) -> None:
        """Store events now, and what they change."""
        for event in events:
            self.recording.add_event(self.topic, round(event["t"] * MILLION), event["s"], event)
        self._events += events
        for called, text in self.nodes.items():
            result = evaluate(text, self._events, key="s", time="t")
            function = called.split("-")[1] if result.aggregates else None
            known = result.keys()
            for key in known:
                found = result.spans(key, -FAR, FAR, aggregate=function).spans
                pieces = [Piece(round(one.start * MILLION), one.value, one.slope) for one in found]  # type: ignore[operator]
                self._revise(called, key, pieces)

    def _revise(self, node: str, key: Any, pieces: list[Piece]) -> None:
        before = self._known.get((node, key), [])
        if pieces == before:
            return
        self._known[node, key] = pieces
        same = next(
            (i for i, pair in enumerate(zip(before, pieces, strict=False)) if pair[0] != pair[1]), None
        )
        first = min(len(before), len(pieces)) if same is None else same
        begins = [part[first].time for part in (before, pieces) if first < len(part)]
        start = min(begins)
        late = first < len(before)
        self.recording.revise(self.name, node, key, start, [p for p in pieces if p.time >= start], late=late)


CIRR = """duration_where(
    latest_event_to_state(playerStateChange) == "buffer" && has_existed(playerStateChange == "play")
    && !has_existed_within(userAction == "seek", 5s) && latest_event_to_state(cdnChange) == "CDN1")"""

SEEK = {"s": "s1", "t": 14, "userAction": "seek"}
SESSION = [
    {"s": "s1", "t": 0, "playerStateChange": "init"},
    {"s": "s1", "t": 1, "cdnChange": "CDN1"},
    {"s": "s1", "t": 2, "playerStateChange": "play"},
    {"s": "s1", "t": 10, "playerStateChange": "buffer"},
    SEEK,
    {"s": "s1", "t": 22, "playerStateChange": "play"},
    {"s": "s1", "t": 25, "playerStateChange": "pause"},
    {"s": "s1", "t": 30, "cdnChange": "CDN2"},
    {"s": "s1", "t": 40, "playerStateChange": "buffer"},
    {"s": "s1", "t": 45, "playerStateChange": "play"},
]


def session() -> tuple[MemoryRecording, Computed]:
    """The worked example, stored at once."""
    recording = MemoryRecording()
    cirr = Computed(recording, "cirr", CIRR, "playback-events")
    cirr.tell(*SESSION)
    return recording, cirr


def node(cirr: Computed, text: str) -> str:
    """The name of the node whose text is or begins with ``text``."""
    found = [name for name, of in cirr.nodes.items() if of == text] or [
        name for name, of in cirr.nodes.items() if of.startswith(text)
    ]
    assert found, (text, cirr.nodes)
    return found[0]
