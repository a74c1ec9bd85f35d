"""The numbers by which an edge speaks of keys, after keys have left."""

from __future__ import annotations

import numpy as np

from tests.oracle.events import Event
from tests.properties.batches import batch_of
from timeline_workers.algebra.leaf_input import LeafRouter, Progress
from timeline_workers.language.parser import parse
from timeline_workers.metric.model import Metric, Source
from timeline_workers.plan.physical import all_workers, plan
from timeline_workers.runtime.node_worker import NodeWorker
from timeline_workers.wire.leaf_batch import encode_leaf_batch

METRIC = Metric(
    name="m",
    source=Source(topic="t", key="k", time="t", time_unit="us", partitions=1),
    expression='latest_event_to_state(s) == "x"',
)


def test_keys_are_told_under_numbers_in_any_order() -> None:
    """An edge that names keys anew gives the first number to the key it tells of first, so that a later
    message about all of them has numbers that do not ascend: it is taken as any other.
    """
    leaf_spec, parent_spec = all_workers(plan(METRIC))
    leaf, parent = NodeWorker(leaf_spec), NodeWorker(parent_spec)
    router = LeafRouter(parse(leaf_spec.node.expression))
    place = 0

    def feed(at: int, *keys: str) -> None:
        nonlocal place
        events = [Event(key, at, (0, 0, place + i), {"s": "x"}) for i, key in enumerate(keys)]
        place += len(events)
        progress = (Progress(0, 0, place - 1, None),)
        leaf.ingest(encode_leaf_batch(router.batch(batch_of(events), progress)))
        message = leaf.outgoing(parent_spec.worker_id, 1 << 20)
        assert message is not None
        parent.receive(message)
        leaf.delivered(parent_spec.worker_id)

    leaf.subscribe(parent_spec.worker_id, "epoch")
    feed(10, "a", "b", "c")
    for edge in leaf.outbound.values():
        edge.renumber(np.arange(3))  # as after a departure, of keys that are not told of here
    feed(4, "c")
    feed(3, "b")
    feed(2, "a", "b", "c")
    for key, since in (("a", 2), ("b", 2), ("c", 2)):
        answer = parent.ask("value_at", {"key": key, "at": 10})
        assert isinstance(answer, dict)
        assert (answer["value"], answer["since"]) == (True, since)
