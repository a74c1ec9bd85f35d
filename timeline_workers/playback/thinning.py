"""DueFrame: what came due and was not sent yet, in bounded memory, with counts that add up.

Of records it keeps an even sample once there are more than the limit, of changes the last of each (node,
key): these are the client's levels, and none of them may be missing. ``take`` gives what a frame shows.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from .items import Change, Record, Scalar


@dataclass(slots=True)
class _Records:
    """Every ``stride``-th record of those that were added; at most twice the limit."""

    count: int = 0
    stride: int = 1
    kept: list[Record] = field(default_factory=list)

    def add(self, record: Record, limit: int) -> None:
        if self.count % self.stride == 0:
            self.kept.append(record)
            if len(self.kept) > 2 * limit:
                del self.kept[1::2]
                self.stride *= 2
        self.count += 1


@dataclass(slots=True)
class _Changes:
    """All changes, or the last of each (node, key) once there are more than the limit."""

    count: int = 0
    all: list[Change] | None = field(default_factory=list)
    last: dict[tuple[str, type, Scalar], Change] = field(default_factory=dict)

    def add(self, change: Change, limit: int) -> None:
        self.count += 1
        key = (change.node, type(change.key), change.key)
        self.last.pop(key, None)  # so that the order is that of the last ones
        self.last[key] = change
        if self.all is not None:
            self.all.append(change)
            if len(self.all) > limit:
                self.all = None


@dataclass(frozen=True, slots=True)
class Part:
    """What a frame shows of a channel: ``count`` came due, and ``items`` of them are shown."""

    count: int
    items: tuple[Record, ...] | tuple[Change, ...]
    has_levels: bool


class DueFrame:
    """What came due since the last frame. ``limit``: the records of a frame."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._parts: dict[str, _Records | _Changes] = {}

    @property
    def count(self) -> int:
        """How many records and changes came due."""
        return sum(part.count for part in self._parts.values())

    @property
    def held(self) -> int:
        """How many of them it holds."""
        parts = self._parts.values()
        return sum(len(part.kept) if isinstance(part, _Records) else len(part.last) for part in parts)

    def add(self, channel: str, item: Record | Change) -> None:
        """One more, in the order in which they come due."""
        part = self._parts.get(channel)
        if part is None:
            part = self._parts[channel] = _Records() if isinstance(item, Record) else _Changes()
        part.add(item, self.limit)  # type: ignore[arg-type]

    def drop(self, channel: str) -> None:
        """Forget a channel that was closed."""
        self._parts.pop(channel, None)

    def clear(self) -> None:
        """Forget all."""
        self._parts.clear()

    def take(self, order: tuple[str, ...]) -> dict[str, Part]:
        """All of it, for a frame; channels in ``order``. Nothing is left."""
        parts = {name: self._parts[name] for name in order if name in self._parts}
        self._parts = {}
        changes = {name: part for name, part in parts.items() if isinstance(part, _Changes)}
        records = {name: part for name, part in parts.items() if isinstance(part, _Records)}
        over = sum(part.count for part in parts.values()) > self.limit
        shown = {name: _shown(part, over) for name, part in changes.items()}
        room = self.limit - sum(map(len, shown.values()))
        shares = _shares({name: part.count for name, part in records.items()}, room)
        return {
            name: Part(part.count, tuple(_even(part.kept, shares[name])), False)
            if isinstance(part, _Records)
            else Part(part.count, tuple(shown[name]), True)
            for name, part in parts.items()
        }


def _shown(part: _Changes, over: bool) -> list[Change]:
    if part.all is None or over:
        return sorted(part.last.values(), key=lambda change: change.due)
    return part.all


def _shares(counts: dict[str, int], room: int) -> dict[str, int]:
    """Room for each channel: its count where all fit, else in proportion, and at least one record."""
    total = sum(counts.values())
    if total <= room:
        return counts
    return {name: max(1, room * count // total) for name, count in counts.items()}


def _even(kept: list[Record], most: int) -> list[Record]:
    """``most`` of them, evenly, the first and the last included."""
    if len(kept) <= most:
        return kept
    if most == 1:
        return kept[-1:]
    return [kept[i * (len(kept) - 1) // (most - 1)] for i in range(most)]
