"""Keys that have left a worker, and stay answerable: what a ``KeyArchive`` workflow carries. Pure, too.

An archive is told segments in any order, perhaps several times, and gives the same answers: of each key the
segment with the greatest watermark counts, and of several with the same one that with the greatest stamp. It
answers as the worker does. Its answers are final below the watermark that the worker had when the key left,
or below a later one that the question names: as long as the worker does not hold the key again, nothing that
it needs has come for it since.
"""

from __future__ import annotations

import functools
import zlib
from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec
import numpy as np

from timeline_workers.answers import json_questions
from timeline_workers.answers.json_questions import Answers
from timeline_workers.answers.reader import Reader
from timeline_workers.columns.key_table import Key, KeyTable
from timeline_workers.errors import Code, QuestionError, StateError, UnknownNameError
from timeline_workers.plan.physical import WorkerSpec
from timeline_workers.wire.edge_messages import BEGINNING

from . import fused_nodes
from .archive_segment import Segment, pack_segment, unpack_segment

_OPEN_SEGMENTS = 8
_ABOUT = msgspec.msgpack.Decoder(tuple[str, str, list[str]])


class Archive:
    """The keys that left the worker of ``spec`` during its present life.

    A worker that has lost its state begins another life; its first segment makes the archive forget the life
    before, and what is still under way of that is ignored.
    """

    def __init__(self, spec: WorkerSpec) -> None:
        self.spec = spec
        self.life = ""
        self._past: list[str] = []
        self._packed: dict[int, bytes] = {}
        self._live: dict[int, int] = {}  # per segment, how many keys are not in a later one
        self._place: dict[Key, tuple[tuple[int, int], int, int]] = {}  # age, segment, number in it
        self._open: OrderedDict[int, Segment] = OrderedDict()
        self._tables: dict[int, KeyTable] = {}
        self._next = 0

    def __len__(self) -> int:
        return len(self._place)

    def __contains__(self, name: object) -> bool:
        return type(name) in (str, int) and name in self._place

    @property
    def size(self) -> int:
        """Bytes of all segments, compressed."""
        return sum(map(len, self._packed.values()))

    def add(self, packed: bytes) -> None:
        """Take a segment. Raises StateError for bytes that are none, or are of another worker."""
        segment = unpack_segment(packed)
        if segment.worker_id != self.spec.worker_id:
            raise StateError(f"a segment of {segment.worker_id!r}, not of {self.spec.worker_id!r}")
        if segment.life in self._past:
            return
        if segment.life != self.life:
            self._begin(segment.life)
        number, self._next = self._next, self._next + 1
        # What was new for a key since it last left lies above the watermark of then, and below that of now.
        age = (BEGINNING if segment.watermark is None else segment.watermark, segment.stamp)
        taken = 0
        for place, name in enumerate(segment.names):
            held = self._place.get(name)
            if held is not None and held[0] >= age:
                continue
            if held is not None:
                self._drop(held[1])
            self._place[name] = (age, number, place)
            taken += 1
        if taken:
            self._packed[number], self._live[number] = packed, taken

    def _begin(self, life: str) -> None:
        if self.life:
            self._past.append(self.life)
        self.life = life
        for held in (self._packed, self._live, self._place, self._open, self._tables):
            held.clear()

    def _drop(self, segment: int) -> None:
        self._live[segment] -= 1
        if not self._live[segment]:
            del self._packed[segment], self._live[segment]
            self._open.pop(segment, None)
            self._tables.pop(segment, None)

    # Going back to the worker.

    def recall(self, names: Iterable[Key], life: str, limit_bytes: int) -> tuple[list[bytes], list[Key]]:
        """The segments of those of ``names`` that are here, holding nothing else, and the names that did not
        fit ``limit_bytes``: at least one key fits. Nothing, for another life of the worker. The keys stay
        here as well.
        """
        if life != self.life:
            return [], []
        wanted: dict[int, list[int]] = {}
        for name in names:
            if name in self._place:
                _, segment, place = self._place[name]
                wanted.setdefault(segment, []).append(place)
        found: list[bytes] = []
        rest: list[Key] = []
        size = 0
        for number, places in sorted(wanted.items()):
            for some, packed in self._parts(self._opened(number), sorted(places), limit_bytes):
                if size and size + len(packed) > limit_bytes:
                    rest += some
                    continue
                found.append(packed)
                size += len(packed)
        return found, rest

    def _parts(
        self, segment: Segment, places: list[int], limit_bytes: int
    ) -> Iterable[tuple[list[Key], bytes]]:
        some = segment.of(places)
        packed = pack_segment(some)
        if len(packed) <= limit_bytes or len(places) == 1:
            yield some.names, packed
            return
        middle = len(places) // 2
        for half in (places[:middle], places[middle:]):
            yield from self._parts(segment, half, limit_bytes)

    def fingerprints(self) -> bytes:
        """``fingerprint`` of every key, ascending, as little-endian 32-bit numbers."""
        hashes = np.fromiter(map(fingerprint, self._place), np.uint32, len(self._place))
        return np.unique(hashes).astype("<u4").tobytes()

    # Questions.

    def ask(self, kind: str, question: Mapping[str, Any]) -> Answers:
        """As ``NodeWorker.ask``; ``watermark`` (microseconds) makes answers below it final."""
        asked = dict(question)
        mark = asked.pop("watermark", None)
        if mark is not None and type(mark) is not int:
            raise QuestionError(f"watermark is a whole number of microseconds, not {mark!r}")
        # Keys that are asked together may be in several segments.
        return json_questions.ask(functools.partial(self._reader, mark), kind, asked, per_key=True)

    def keys(self, question: Mapping[str, Any]) -> dict[str, Any]:
        """As ``NodeWorker.keys``: the keys that left, also those that have gone back since."""
        return json_questions.page(list(self._place), question)

    def status(self) -> dict[str, Any]:
        """What is here, as plain JSON."""
        return {
            "kind": self.spec.node.kind,
            "keys": len(self),
            "segments": len(self._packed),
            "bytes": self.size,
        }

    def _reader(self, mark: int | None, question: Mapping[str, Any]) -> Reader:
        key = question["key"]
        place = self._place.get(key) if type(key) in (str, int) else None
        if place is None:
            raise UnknownNameError(
                f"{key!r} is not among the keys that left {self.spec.worker_id} for here",
                code=Code.KEY_NOT_IN_ARCHIVE,
            )
        segment = self._opened(place[1])
        marks = [m for m in (mark, segment.watermark) if m is not None]
        output, kind, expression, since = fused_nodes.archived(self.spec, segment, question)
        return Reader(
            output,
            self._tables[place[1]],
            kind,
            expression,
            unit=question.get("unit", self.spec.source.time_unit),
            watermark=max(marks, default=None),
            answerable_from=since,
            retention=self.spec.retention,
            before=segment.before,
        )

    def _opened(self, number: int) -> Segment:
        if number not in self._open:
            self._open[number] = segment = unpack_segment(self._packed[number])
            self._tables[number] = KeyTable(segment.names)
            if len(self._open) > _OPEN_SEGMENTS:
                oldest, _ = self._open.popitem(last=False)
                del self._tables[oldest]
        self._open.move_to_end(number)
        return self._open[number]

    # Carried state.

    def snapshot(self) -> list[bytes]:
        """Everything, in pieces: one about the archive, and the segments that still count."""
        about = msgspec.msgpack.encode((self.spec.worker_id, self.life, self._past))
        return [about, *(self._packed[number] for number in sorted(self._packed))]

    @classmethod
    def restore(cls, spec: WorkerSpec, pieces: Sequence[bytes]) -> Archive:
        """Reverse ``snapshot``. Raises StateError for pieces of another archive, or none at all."""
        archive = cls(spec)
        try:
            worker_id, archive.life, archive._past = _ABOUT.decode(pieces[0])
        except (IndexError, msgspec.MsgspecError) as error:
            raise StateError(f"carried state of an archive cannot be read: {error!r}") from error
        if worker_id != spec.worker_id:
            raise StateError(f"carried state is of an archive of {worker_id!r}, not of {spec.worker_id!r}")
        for packed in pieces[1:]:
            archive.add(packed)
        return archive


def fingerprint(name: Key) -> int:
    """32 bits of a key: of two keys that differ in them only one can be meant."""
    text = name.encode("utf-8", "surrogatepass") if isinstance(name, str) else b"\0%d" % name
    return zlib.crc32(text)
