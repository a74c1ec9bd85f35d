"""Upkeep of a history by hand: forgetting, and having the feeder read again.

Everything, or what is stored of some metrics: also where others share their source definition and nodes.
"""

from __future__ import annotations

from collections.abc import Sequence

from timeline_workers.metric.model import Metric

from .forgetting_due import scope_of
from .model import Forgotten, Scope
from .store import HistoryStore


async def forget_before(store: HistoryStore, before: int, metrics: Sequence[Metric] | None) -> Forgotten:
    """Forget what lies below this event time; ``metrics``: only what is stored of these, None: everything."""
    scopes: list[Scope | None] = [None] if metrics is None else [scope_of(metric) for metric in metrics]
    return await _forget(store, [(before, scope) for scope in scopes])


async def forget_older(store: HistoryStore, age: int, metrics: Sequence[Metric] | None) -> Forgotten:
    """Forget what lies ``age`` microseconds below the watermark of each definition and node."""
    found = await store.status()
    scopes = None if metrics is None else [scope_of(metric) for metric in metrics]
    definitions = None if scopes is None else {name for scope in scopes for name in scope.definitions}
    nodes = None if scopes is None else {name for scope in scopes for name in scope.nodes}
    bounds: list[tuple[int, Scope | None]] = [
        (one.watermark - age, Scope(definitions=[one.definition]))
        for one in found.definitions
        if one.watermark is not None and (definitions is None or one.definition in definitions)
    ]
    bounds += [
        (node.watermark - age, Scope(nodes=[node.node]))
        for node in found.nodes
        if node.watermark is not None and (nodes is None or node.node in nodes)
    ]
    return await _forget(store, bounds)


async def _forget(store: HistoryStore, bounds: Sequence[tuple[int, Scope | None]]) -> Forgotten:
    gone = Forgotten(0, 0, 0)
    for before, scope in bounds:
        part = await store.forget(before, of=scope)
        gone = Forgotten(gone.events + part.events, gone.verdicts + part.verdicts, gone.pieces + part.pieces)
    return gone


async def read_again(store: HistoryStore, metrics: Sequence[Metric] | None) -> int:
    """Have the feeder read again, when it starts next, what the broker retains; of how many partitions."""
    if metrics is None:
        wanted = [one.definition for one in (await store.status()).definitions]
    else:
        wanted = [name for metric in metrics for name in scope_of(metric).definitions]
    return await store.unfollow(wanted)
