"""The inbox: what a worker has received and not yet applied, and its way through continue-as-new.

Entries keep the order in which they arrived, control messages included: a subscription sees exactly the state
that the payloads before it made.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Literal, get_args

import msgspec

from timeline_workers.errors import StateError

Kind = Literal[
    "state",
    "ingest",
    "receive",
    "subscribe",
    "unsubscribe",
    "attach",
    "detach",
    "resubscribe",
    "hold",
    "stop",
    "segment",
    "telling",
    "order",
    "own",
    "configure",
    "alert",
    "recent",
]
PAYLOADS: frozenset[Kind] = frozenset({"ingest", "receive"})
"""What a worker is fed with; the rest tells it what to do."""
Entry = tuple[Kind, bytes]
_KINDS = frozenset(get_args(Kind))
_ENCODER = msgspec.msgpack.Encoder()
_DECODER = msgspec.msgpack.Decoder(list[tuple[str, bytes]])


class Inbox:
    """A queue of entries that knows its size in bytes."""

    def __init__(self) -> None:
        self._entries: list[Entry] = []
        self.size = 0

    def __len__(self) -> int:
        return len(self._entries)

    def put(self, kind: Kind, body: bytes) -> None:
        """Add one entry at the end."""
        self._entries.append((kind, body))
        self.size += len(body)

    def waiting(self) -> list[Entry]:
        """All entries, oldest first; they stay."""
        return list(self._entries)

    def payloads(self) -> list[bytes]:
        """The bodies of all payloads that wait, oldest first; they stay."""
        return [body for kind, body in self._entries if kind in PAYLOADS]

    def commands(self) -> int:
        """How many entries wait that are no payloads."""
        return sum(kind not in PAYLOADS for kind, _ in self._entries)

    def take(self, count: int) -> list[Entry]:
        """Return the oldest ``count`` entries, oldest first, and leave the others."""
        taken, self._entries = self._entries[:count], self._entries[count:]
        self.size -= sum(len(body) for _, body in taken)
        return taken

    def take_commands(self) -> list[Entry]:
        """Return every entry that is no payload, oldest first, and leave the payloads."""
        taken = [entry for entry in self._entries if entry[0] not in PAYLOADS]
        self._entries = [entry for entry in self._entries if entry[0] in PAYLOADS]
        self.size -= sum(len(body) for _, body in taken)
        return taken

    def take_all(self) -> list[Entry]:
        """Return every entry, oldest first, and leave the inbox empty."""
        entries, self._entries, self.size = self._entries, [], 0
        return entries


def pack(entries: Iterable[Entry]) -> bytes:
    """Encode entries; ``unpack`` gives them back. The bodies are not compressed again."""
    return _ENCODER.encode(list(entries))


def unpack(packed: bytes) -> list[Entry]:
    """Decode what ``pack`` made (b"" is no entries); raises StateError when it is something else."""
    if not packed:
        return []
    try:
        entries = _DECODER.decode(packed)
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
        raise StateError(f"carried state of {len(packed)} bytes cannot be decoded: {error}") from error
    for kind, _ in entries:
        if kind not in _KINDS:
            raise StateError(f"carried state has an entry of unknown kind {kind!r}; it is of a newer version")
    return entries  # type: ignore[return-value]  # the kinds were checked just now


def split(entries: Iterable[Entry], limit_bytes: int) -> Iterator[list[Entry]]:
    """Cut entries into runs of at most ``limit_bytes`` each; a single larger entry is a run of its own."""
    run: list[Entry] = []
    size = 0
    for entry in entries:
        if run and size + len(entry[1]) > limit_bytes:
            yield run
            run, size = [], 0
        run.append(entry)
        size += len(entry[1])
    if run:
        yield run
