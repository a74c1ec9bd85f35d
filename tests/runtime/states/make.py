"""Record carried states of a release, with what its workers answered and were told afterwards.

Run it when a release is made, and commit what it writes::

    python -m tests.runtime.states.make tests/runtime/states/0.4.0.json

Releases up to 0.3.0 have other names of modules; the version of this file beside theirs recorded them.

Each case is one worker: ``state`` was taken after half of its inputs, with a message to a subscriber under
way (``sends``); ``inputs`` is the other half; ``before`` and ``after`` are its answers at both times.
"""

from __future__ import annotations

import base64
import json
import sys
from typing import Any

import numpy as np

from timeline_workers.algebra.leaf_input import LeafRouter, Progress
from timeline_workers.columns.event_batch import EventBatch, Positions
from timeline_workers.columns.values import Tagged
from timeline_workers.language.parser import parse
from timeline_workers.metric.model import Metric, Source
from timeline_workers.plan.physical import global_workers, plan, workers
from timeline_workers.runtime.node_worker import NodeWorker
from timeline_workers.wire.leaf_batch import encode_leaf_batch

EXPRESSIONS = {
    "stall": 'duration_where(latest_event_to_state(s) == "x" && has_existed(f) '
    '&& !has_existed_within(s == "y", 5us))',
    "exact": 'duration_where(latest_event_to_state(s) == "x") / 3 '
    "+ duration_in_cur_state(latest_event_to_state(n)) / 7",
    "counts": "event_count_within(n > 1, 3us) / event_count(n < 2)",
    "window": "has_existed_within(latest_event_to_state(n) >= 2, 6us)",
    "groups": "latest_event_to_state(n) | aggregate(group_by(s), count, sum, avg, min, max)",
}
# Key, time, columns; in the order of arrival, two source partitions by turns.
EVENTS: list[tuple[str | int, int, dict[str, Any]]] = [
    ("a", 10, {"s": "x", "n": 1}),
    ("b", 12, {"s": "y", "n": 2.5, "f": True}),
    ("a", 14, {"f": True}),
    (7, 13, {"n": 1.0, "s": "\U0001f600"}),
    ("a", 11, {"s": "y", "n": 3}),
    ("b", 20, {"s": "x"}),
    ("a", 20, {"n": 2, "s": "x"}),
    ("7", 21, {}),
    ("a", 20, {"n": 2.0, "s": "y"}),
    ("b", 18, {"n": 9007199254740993}),
    (7, 24, {"s": "x", "f": False}),
    ("c", 19, {"s": "x", "n": -1, "f": True}),
    ("a", 23, {"s": "x"}),
    ("b", 22, {"s": "z", "n": 0.5}),
    ("c", 30, {"s": "x", "n": 4}),
    ("a", 31, {"n": 1, "s": "y"}),
]
MARKS = [None, None, 8, 8, 11, 11, 16, 17]
INSTANTS = [9, 14, 19, 22, 31, 40]
BATCH = 2
SUBSCRIBER = "somebody.p0"


def batches() -> list[tuple[EventBatch, tuple[Progress, ...]]]:
    made = []
    for start in range(0, len(EVENTS), BATCH):
        part = EVENTS[start : start + BATCH]
        keys = list({(type(key), key): key for key, _, _ in part}.values())
        names = sorted({name for _, _, columns in part for name in columns})
        batch = EventBatch(
            keys=keys,
            key=np.array(
                [[type(k) is type(key) and k == key for k in keys].index(True) for key, _, _ in part]
            ),
            time=np.array([time for _, time, _ in part], np.int64),
            position=Positions(
                np.array([i % 2 for i in range(len(part))], np.int32),
                np.zeros(len(part), np.int64),
                np.arange(start, start + len(part), dtype=np.int64),
            ),
            columns={name: Tagged.of([columns.get(name) for _, _, columns in part]) for name in names},
        )
        mark = MARKS[start // BATCH]
        made.append((batch, tuple(Progress(p, 0, start + BATCH, mark) for p in (0, 1))))
    return made


def inputs(specs: dict[str, Any]) -> dict[str, list[tuple[str, bytes]]]:
    """What each worker is told when all are connected."""
    nodes = {name: NodeWorker(spec) for name, spec in specs.items()}
    told: dict[str, list[tuple[str, bytes]]] = {name: [] for name in specs}
    for name, spec in specs.items():
        for child in dict.fromkeys(worker for slot in spec.inputs for worker in slot):
            nodes[child].subscribe(name, f"{name}/0")
    for batch, progress in batches():
        for name, spec in specs.items():
            if spec.node.is_leaf:
                payload = encode_leaf_batch(LeafRouter(parse(spec.node.expression)).batch(batch, progress))
                nodes[name].ingest(payload)
                told[name].append(("ingest", payload))
        for node in nodes.values():
            for subscriber in node.subscribers():
                while (message := node.outgoing(subscriber, 120)) is not None:
                    nodes[subscriber].receive(message)
                    told[subscriber].append(("receive", message))
                    node.delivered(subscriber)
    return told


def answers(worker: NodeWorker) -> dict[str, Any]:
    asked = []
    for key in worker.keys({})["keys"]:
        for function in getattr(worker.node, "outputs", {"": None}):
            question: dict[str, Any] = {"key": key, "at": INSTANTS, "unit": "us"}
            if function:
                question["aggregate"] = function
            asked.append((question, worker.ask("value_at", question)))
    return {
        "keys": sorted(worker.keys({})["keys"], key=repr),
        "progress": worker.status()["progress"],
        "answers": asked,
    }


def cases() -> list[dict[str, Any]]:
    found = []
    for title, expression in EXPRESSIONS.items():
        source = Source(topic="t", key="k", time="t", time_unit="us")
        made = plan(Metric(name="m", source=source, expression=expression))
        specs = {spec.worker_id: spec for spec in [*workers(made, "p0"), *global_workers(made)]}
        for name, told in inputs(specs).items():
            worker = NodeWorker(specs[name])
            output = next(iter(getattr(worker.node, "outputs", {"": None})))
            worker.subscribe(SUBSCRIBER, "first/0", output)
            half = len(told) // 2
            for method, payload in told[: half // 2]:
                getattr(worker, method)(payload)
            under_way = worker.outgoing(SUBSCRIBER, 100, output)
            for method, payload in told[half // 2 : half]:
                getattr(worker, method)(payload)
            (state,) = worker.snapshot(1 << 30)
            before = answers(worker)
            for method, payload in told[half:]:
                getattr(worker, method)(payload)
            found.append(
                {
                    "name": f"{title}-{name}",
                    "spec": specs[name].model_dump(mode="json"),
                    "state": base64.b64encode(state).decode(),
                    "sends": {} if under_way is None else {SUBSCRIBER: base64.b64encode(under_way).decode()},
                    "inputs": [
                        (method, base64.b64encode(payload).decode()) for method, payload in told[half:]
                    ],
                    "before": before,
                    "after": answers(worker),
                }
            )
    return found


if __name__ == "__main__":
    with open(sys.argv[1], "w", encoding="utf-8") as file:
        file.write(json.dumps(cases(), separators=(",", ":"), sort_keys=True) + "\n")
