"""Fuzzing the decoders of what workers send and carry: bytes are what was encoded, or a StateError, in
bounded memory.

Bytes that were changed on the way (a bit, a stretch, the end missing) must give the same content or be
refused, for the checksum must find it. Content that was changed before it was packed passes the checksum;
what is decoded then must at least be well formed: it can be encoded again, and a worker takes it or not.
"""

from __future__ import annotations

import random
import struct
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from itertools import product
from random import Random
from typing import Any

import msgspec
import zstandard

from tests.fuzz import mutate
from tests.fuzz.findings import Finding, Report, judged
from tests.oracle.events import Event
from tests.properties.batches import batch_of
from timeline_workers.algebra.leaf_input import LeafRouter, Progress
from timeline_workers.errors import StateError
from timeline_workers.language.parser import parse
from timeline_workers.metric.model import Metric, Source
from timeline_workers.plan.physical import WorkerSpec, global_workers, plan, workers
from timeline_workers.runtime.node_worker import NodeWorker
from timeline_workers.wire.edge_messages import open_message
from timeline_workers.wire.encoding import pack, pack_timeline
from timeline_workers.wire.leaf_batch import decode_leaf_batch, encode_leaf_batch
from workflows.durable import inbox

_EXPRESSIONS = (
    'duration_where(latest_event_to_state(state) == "play" && !has_existed_within(state == "seek", 5s))',
    "latest_event_to_state(n) / 3 + event_count_within(n > 2, 10s)",
    "duration_in_cur_state(latest_event_to_state(state)) | aggregate(group_by(state), count, sum, max)",
)


@dataclass(frozen=True)
class Sample:
    """One valid payload: ``worker`` can make anew the worker that takes it, ``take`` gives it to one."""

    payload: bytes
    spec: WorkerSpec


def _events(rng: Random, count: int, first: int) -> list[Event]:
    drawn = []
    for minor in range(first, first + count):
        columns = {"state": rng.choice(("play", "seek", "pause")), "n": rng.choice((1, 2.5, -3, None))}
        drawn.append(
            Event(
                key=rng.choice(("s1", "s2", 7, "é")),
                time=rng.randrange(60) * 1_000_000 + rng.choice((0, 1, 333_333)),
                columns={name: held for name, held in columns.items() if held is not None},
                position=(rng.randrange(2), 5, minor),
            )
        )
    return drawn


@cache
def _samples() -> dict[str, list[Sample]]:
    """Leaf batches, messages of edges and carried states of small graphs that really ran."""
    rng = random.Random(20_261_122)
    found: dict[str, list[Sample]] = {"leaf": [], "edge": [], "state": []}
    source = Source.model_validate({"topic": "events", "key": "id", "time": "t"})
    for number, (expression, fuse) in enumerate(product(_EXPRESSIONS, (False, True))):
        metric = Metric(name=f"m{number}", source=source, expression=expression, fuse=fuse)
        planned = plan(metric)
        specs = [*workers(planned, "p0")]
        specs += global_workers(planned)
        graph = {spec.worker_id: NodeWorker(spec) for spec in specs}
        for spec in specs:
            for slot in spec.inputs:
                for child in slot:
                    graph[child].subscribe(spec.worker_id, "epoch/0")
        first = 0
        for size in (1, 7, 40):
            drawn = _events(rng, size, first)
            first += size
            progress = tuple(Progress(p, 5, first, rng.randrange(10**6)) for p in (0, 1))
            for spec in specs:
                if spec.node.is_leaf:
                    router = LeafRouter(parse(spec.node.expression))
                    payload = encode_leaf_batch(router.batch(batch_of(drawn), progress))
                    found["leaf"].append(Sample(payload, spec))
                    graph[spec.worker_id].ingest(payload)
            for spec in specs:  # children first
                for parent in graph[spec.worker_id].subscribers():
                    while (message := graph[spec.worker_id].outgoing(parent, 100_000)) is not None:
                        found["edge"].append(Sample(message, graph[parent].spec))
                        graph[parent].receive(message)
                        graph[spec.worker_id].delivered(parent)
            for spec in specs:
                state = b"".join(graph[spec.worker_id].snapshot(1 << 20))
                found["state"].append(Sample(state, spec))
    return found


def _take_leaf(sample: Sample, payload: bytes) -> Any:
    batch = decode_leaf_batch(payload)
    encoded = encode_leaf_batch(batch)
    NodeWorker(sample.spec).ingest(payload)
    return encoded


def _take_edge(sample: Sample, payload: bytes) -> Any:
    message = open_message(payload)
    taken = {
        name: held.tolist() if hasattr(held, "tolist") else repr(held)
        for name, held in message.items()
        if name != "suffix"
    }
    NodeWorker(sample.spec).receive(payload)
    return taken, _shown(message["suffix"])


def _shown(timeline: Any) -> Any:
    return pack_timeline(timeline)


def _take_state(sample: Sample, payload: bytes) -> Any:
    return b"".join(NodeWorker.restore(sample.spec, [payload]).snapshot(1 << 20))


_TAKES: dict[str, Callable[[Sample, bytes], Any]] = {
    "leaf": _take_leaf,
    "edge": _take_edge,
    "state": _take_state,
}


def _inner(rng: Random, payload: bytes) -> bytes:
    """The payload with other content, under a checksum that fits."""
    raw = zstandard.decompress(payload)
    if rng.random() < 0.4:
        return zstandard.ZstdCompressor(write_checksum=True).compress(mutate.flip(rng, raw))
    changed = mutate.inside(rng, msgspec.msgpack.decode(raw))
    try:
        return pack(changed)
    except (OverflowError, TypeError, UnicodeEncodeError):
        return zstandard.ZstdCompressor(write_checksum=True).compress(mutate.flip(rng, raw))


def _bomb(rng: Random) -> bytes:
    """A few bytes that say, or hold, far more than they should."""
    kind = rng.randrange(6)
    count = rng.choice((2**26, 2**27, 2**31, 2**40, 2**62))
    column = [count, 0, 0, rng.randrange(9), b""]
    if kind == 0:
        return pack(
            {
                "keys": [],
                "values": None,
                "progress": [],
                "origins": column,
                "key": column,
                "time": column,
                "position": [column] * 3,
            }
        )
    if kind == 1:
        honest = zstandard.ZstdCompressor(write_checksum=True).compress(bytes(1 << 20))
        return honest[:5] + rng.randbytes(8) + honest[9:]
    if kind == 2:  # a header that claims exabytes
        return struct.pack("<IB", 0xFD2FB528, 0b11100100) + (2**60).to_bytes(8, "little") + b"\x01\x00\x00"
    if kind == 3:
        return zstandard.ZstdCompressor(write_content_size=False).compress(bytes(rng.choice((10, 1 << 24))))
    if kind == 4:  # arrays within arrays
        return zstandard.ZstdCompressor(write_checksum=True).compress(
            b"\x91" * rng.choice((100, 2_000, 100_000))
        )
    return zstandard.ZstdCompressor(write_checksum=True).compress(b"\xdd\xff\xff\xff\xff")  # 4 Gi elements


def _run(kind: str, rng: Random, count: int, report: Report) -> Counter[str]:
    outcomes: Counter[str] = Counter()
    samples, take = _samples()[kind], _TAKES[kind]
    for _ in range(count):
        sample = rng.choice(samples)
        way = rng.randrange(20)
        if way < 8:
            outcomes[judged(report, _changed, sample, mutate.flip(rng, sample.payload), take)] += 1
        elif way < 18:
            outcomes[judged(report, _forged, sample, _inner(rng, sample.payload), take)] += 1
        elif way == 18:
            outcomes[judged(report, _forged, sample, _bomb(rng), take)] += 1
        else:
            outcomes[judged(report, _forged, sample, rng.randbytes(rng.randrange(80)), take)] += 1
    return outcomes


def _changed(sample: Sample, payload: bytes, take: Callable[[Sample, bytes], Any]) -> str:
    try:
        got = take(sample, payload)
    except StateError:
        return "changed on the way: refused"
    except Exception as error:
        raise Finding((sample.spec.worker_id, payload), f"raises {error!r}") from error
    if got != take(sample, sample.payload):
        raise Finding((sample.spec.worker_id, payload, sample.payload), "other content is accepted")
    return "changed on the way: the same content"


def _forged(sample: Sample, payload: bytes, take: Callable[[Sample, bytes], Any]) -> str:
    try:
        take(sample, payload)
    except StateError:
        return "forged: refused"
    except Exception as error:
        raise Finding((sample.spec.worker_id, payload), f"raises {error!r}") from error
    return "forged: well formed"


def run_leaf(rng: Random, count: int, report: Report) -> Counter[str]:
    """Batches for leaves; see ``findings.Target``."""
    return _run("leaf", rng, count, report)


def run_edge(rng: Random, count: int, report: Report) -> Counter[str]:
    """Messages between workers; see ``findings.Target``."""
    return _run("edge", rng, count, report)


def run_state(rng: Random, count: int, report: Report) -> Counter[str]:
    """Carried states; see ``findings.Target``."""
    return _run("state", rng, count, report)


def run_inbox(rng: Random, count: int, report: Report) -> Counter[str]:
    """What a worker carries unread; see ``findings.Target``."""
    outcomes: Counter[str] = Counter()
    for _ in range(count):
        entries: list[inbox.Entry] = [
            (rng.choice(("ingest", "receive", "stop", "state")), rng.randbytes(rng.randrange(9)))
            for _ in range(rng.randrange(4))
        ]
        outcomes[judged(report, _unpacked, mutate.flip(rng, inbox.pack(entries)))] += 1
    return outcomes


def _unpacked(packed: bytes) -> str:
    try:
        inbox.pack(inbox.unpack(packed))
    except StateError:
        return "refused"
    except Exception as error:
        raise Finding(packed, f"raises {error!r}") from error
    return "entries"
