"""Acknowledgement, and the entry that is kept to tell later whether something is missing."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import cast

from hypothesis import given, strategies as st

from feeder.positions import ENTRY_STEP, Offset, minor_of
from feeder.source.accepted import Accepted
from feeder.source.partitioned_source import PartitionedSource, SourceMessage


@dataclass
class Noting:
    """A source that notes what is acknowledged."""

    last: dict[int, Offset] = field(default_factory=dict)

    async def acknowledge(self, messages: Iterable[SourceMessage]) -> None:
        for message in messages:
            assert message.place > self.last.get(message.partition, Offset(-1, -1)), "it never goes back"
            self.last[message.partition] = message.place


@dataclass
class Message:
    """A message that nothing but its place is asked of."""

    partition: int
    place: Offset


places = st.builds(
    lambda ledger, entry, index: Offset(ledger, minor_of(entry, index)),
    st.integers(0, 1),
    st.integers(0, 3),
    st.integers(0, 2),
)


@given(st.lists(st.tuples(st.integers(0, 1), places), unique=True, max_size=20), st.data())
def test_all_but_the_last_entry_is_acknowledged(
    messages: list[tuple[int, Offset]], data: st.DataObject
) -> None:
    """However they come in batches, and some of them again: the last entry stays, all before it do not."""
    messages.sort(key=lambda m: m[1])
    source = Noting()
    accepted = Accepted(cast(PartitionedSource, source))
    sent: list[tuple[int, Offset]] = []
    while messages:
        many = data.draw(st.integers(1, len(messages)))
        again = data.draw(st.lists(st.sampled_from(sent), max_size=2)) if sent else []
        batch = [*again, *messages[:many]]
        del messages[:many]
        sent += batch[len(again) :]
        stored = [Message(p, place) for p, place in batch]
        accepted.note(cast(list[SourceMessage], stored), {p for p, _ in batch})
        if accepted and data.draw(st.booleans()):
            asyncio.run(accepted.acknowledge())
    if accepted:
        asyncio.run(accepted.acknowledge())
    for partition in {p for p, _ in sent}:
        own = sorted(place for p, place in sent if p == partition)
        entry = (own[-1].major, own[-1].minor // ENTRY_STEP)
        before = [o for o in own if (o.major, o.minor // ENTRY_STEP) < entry]
        assert source.last.get(partition) == (before[-1] if before else None)
