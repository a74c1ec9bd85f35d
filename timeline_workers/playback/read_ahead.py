"""ReadAhead: what was read and is not due yet, and what of it later changes of the store have made stale.

It holds all items due in ``(shown, loaded]``: ``shown`` is how far it was drained, ``loaded`` how far it was
read. ``begin`` starts over. Of what was read it remembers at which ``seq``, so that a change that was read
already is not taken for a late one.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass

from .items import Item, Missing, Revision
from .reads import Window


@dataclass(slots=True)
class _Stretch:
    """Up to ``upto``, and from where the one before ends, the store was read at ``seq``."""

    upto: int
    seq: int


class ReadAhead:
    """Items from ``start`` on, in the order in which they are due."""

    def __init__(self) -> None:
        self.items: deque[tuple[str, Item]] = deque()
        self.start = self.shown = self.loaded = 0
        self._stretches: deque[_Stretch] = deque()
        self._changed: list[tuple[int, int]] = []  # (from, seq) of what changed during a read
        self._gaps: set[tuple[str, int]] = set()
        self.first_seq: int | None = None

    def begin(self, start: int) -> None:
        """Start over at ``start``, which is not shown yet."""
        self.items.clear()
        self.start, self.shown, self.loaded = start, start - 1, start - 1
        self._stretches.clear()
        self._changed.clear()
        self._gaps.clear()
        self.first_seq = None

    def reload(self) -> None:
        """Forget what is not due yet, so that it is read again."""
        self._cut(self.shown)

    @property
    def levels_after(self) -> int:
        """After which instant changes are to be read: at ``start`` there is a snapshot."""
        return max(self.loaded, self.start)

    @property
    def next_due(self) -> int | None:
        """When the next item is due."""
        return self.items[0][1].due if self.items else None

    def take_in(self, window: Window, after: int) -> None:
        """What was read after ``after``; without what has become stale since. If what it follows has become
        stale itself, there would be a hole before it: it is read again, too.
        """
        if after != self.loaded:
            self._changed.clear()
            return
        upto = window.upto
        for changed, seq in self._changed:
            if seq > window.seq:
                upto = min(upto, max(changed - 1, self.loaded))
        self._changed.clear()
        self.note_seq(window.seq)
        for channel, item in window.items:
            if item.due > upto:
                break
            if isinstance(item, Missing):
                self.note_gap(channel, item)
            else:
                self.items.append((channel, item))
        self.loaded = upto
        if self._stretches and self._stretches[-1].seq == window.seq:
            self._stretches[-1].upto = upto
        else:
            self._stretches.append(_Stretch(upto, window.seq))

    def note_gap(self, channel: str, gap: Missing) -> None:
        """A gap that is due after all that is held already; it is told once."""
        if (channel, gap.start) not in self._gaps:
            self._gaps.add((channel, gap.start))
            self.items.append((channel, gap))

    def note_seq(self, seq: int) -> None:
        """Something was read as it was at ``seq``."""
        self.first_seq = seq if self.first_seq is None else min(self.first_seq, seq)

    def drain(self, upto: int) -> Iterator[tuple[str, Item]]:
        """The items due up to ``upto``, and up to ``loaded`` at most; they are shown then."""
        upto = min(upto, self.loaded)
        while self.items and self.items[0][1].due <= upto:
            yield self.items.popleft()
        self.shown = max(self.shown, upto)

    def looked(self, changed_from: int | None, seq: int, *, reading: bool) -> None:
        """The store was looked at as of ``seq``, and what is stored since lies at ``changed_from`` and later.

        ``reading``: a read is under way, which may have missed it.
        """
        if changed_from is not None:
            if reading:
                self._changed.append((changed_from, seq))
            self._forget_stale(changed_from, seq)
        for stretch in self._stretches:  # what is left is as it was at ``seq``
            stretch.seq = max(stretch.seq, seq)
        while len(self._stretches) > 1 and self._stretches[0].seq == self._stretches[1].seq:
            self._stretches.popleft()

    def _forget_stale(self, changed_from: int, seq: int) -> None:
        before = self.start - 1
        for stretch in self._stretches:
            if stretch.seq < seq and stretch.upto >= changed_from and stretch.upto > self.shown:
                self._cut(max(changed_from - 1, before, self.shown))
                return
            before = stretch.upto

    def was_read(self, due: int, seq: int) -> bool:
        """Whether an item that was stored at ``seq`` was in what was read about ``due``."""
        for stretch in self._stretches:
            if stretch.upto >= due:
                return stretch.seq >= seq
        return False

    def drop(self, channel: str) -> None:
        """Forget a channel that was closed."""
        self.items = deque(pair for pair in self.items if pair[0] != channel)

    def waiting(self) -> int:
        """How many records and changes it holds."""
        return sum(not isinstance(item, Missing | Revision) for _, item in self.items)

    def _cut(self, upto: int) -> None:
        """Forget everything after ``upto``, which is not before ``shown``."""
        if upto >= self.loaded:
            return
        while self.items and self.items[-1][1].due > upto:
            channel, item = self.items.pop()
            if isinstance(item, Missing):
                self._gaps.discard((channel, item.start))
        self.loaded = upto
        while self._stretches and self._stretches[-1].upto > upto:
            last = self._stretches.pop()
            if not self._stretches or self._stretches[-1].upto < upto:
                self._stretches.append(_Stretch(upto, last.seq))
                break
