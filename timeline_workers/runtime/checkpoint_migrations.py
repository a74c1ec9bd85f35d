"""Carried state of earlier releases, brought to the form of this one.

A worker that is upgraded in place reads what the release before it has left. Each step leads from one
version to the next, on the unpacked message, and stays for as long as states of that version may exist.

Version 1 (release 0.1.0) carried what a worker had been told: all events of a leaf, the whole timelines of
a derived node's inputs; its own timeline was computed from them when the state was read. Version 2 carries
rows of inputs and output alike, so that a node can forget those that nobody needs.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from timeline_workers.algebra.nodes.any_node import make_node
from timeline_workers.algebra.nodes.node import EventNode
from timeline_workers.algebra.nodes.protocol import Node
from timeline_workers.algebra.timeline.revisions import Revision
from timeline_workers.algebra.timeline.timelines import Timeline
from timeline_workers.columns.key_table import KeyTable
from timeline_workers.errors import StateError
from timeline_workers.language.parser import parse
from timeline_workers.plan.physical import WorkerSpec
from timeline_workers.wire.edge_messages import BEGINNING
from timeline_workers.wire.encoding import unpack_ints, unpack_timeline
from timeline_workers.wire.key_state import pack_rows, unpack_log

VERSION = 2


def migrated(message: dict[str, Any], spec: WorkerSpec) -> dict[str, Any]:
    """The carried state of worker ``spec`` in the form of ``VERSION``.

    Raises StateError for a version that this release does not know.
    """
    version = message.get("version")
    while version != VERSION:
        step = _STEPS.get(version) if isinstance(version, int) else None
        if step is None:
            known = ", ".join(map(str, sorted([*_STEPS, VERSION])))
            raise StateError(
                f"carried state has version {version!r}; this release reads {known}: run the release that "
                "wrote it, or a later one"
            )
        message = step(message, spec)
        version = message["version"]
    return message


def _from_1(message: dict[str, Any], spec: WorkerSpec) -> dict[str, Any]:
    names = message["keys"]
    expression = parse(spec.node.expression)
    node: Node
    if "log" in message:
        node = leaf = EventNode(expression, KeyTable(names))
        leaf.rebuild(unpack_log(message["log"]), unpack_ints(message["origins"]))
    else:
        node = make_node(expression)
        node.keys = KeyTable(names)
        for slot, packed in enumerate(message["inputs"]):
            if packed is not None and len(revision := _whole(unpack_timeline(packed))):
                node.receive(slot, revision)
        node.settle()
    kept = {name: value for name, value in message.items() if name not in ("log", "origins", "inputs")}
    return {
        **kept,
        "version": 2,
        "rows": pack_rows(node.copy_all()),
        "folded": None,
        "answerable_from": None,
        "too_late": 0,
        "cut_off": {},
    }


def _whole(timeline: Timeline) -> Revision:
    keys = np.flatnonzero(np.diff(timeline.offsets))
    offsets = timeline.offsets[np.append(keys, timeline.keys)]
    froms = np.full(len(keys), BEGINNING, np.int64)
    return Revision(keys, froms, Timeline(offsets, timeline.starts, timeline.values))


_STEPS: dict[int, Callable[[dict[str, Any], WorkerSpec], dict[str, Any]]] = {1: _from_1}
