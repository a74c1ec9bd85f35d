"""``StreamProgram``: the stateless streams of a network over batches of messages, in process."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from timeline_workers.columns.event_batch import Positions
from timeline_workers.columns.values import Int64
from timeline_workers.events.decode import Decoder, Payload
from timeline_workers.language.scalar_parser import parse_scalar
from timeline_workers.language.tree import Expression

from .explode import Refused, exploded
from .network_model import Stream
from .stream_stages import StreamBatch, derive, merge, sample, split, where
from .wiring import REST, Wiring, readers


@dataclass(slots=True)
class Outcome:
    """What a batch of messages of one source gives. ``streams``: of the source, and of each stream and branch
    that it reaches, batches in order; ``refused``: by the source or stream that refused them."""

    streams: dict[str, list[StreamBatch]] = field(default_factory=dict)
    refused: dict[str, list[Refused]] = field(default_factory=dict)


class StreamOperators:
    """The operators of one stream behind its input, in their order."""

    def __init__(self, stream: Stream) -> None:
        self._where = None if stream.where is None else parse_scalar(stream.where)
        self._derive = {name: parse_scalar(text) for name, text in stream.derive.items()}
        self._sample = stream.sample
        self.split: Mapping[str, Expression] = {
            name: parse_scalar(text) for name, text in stream.split.items()
        }

    def applied(self, batch: StreamBatch) -> StreamBatch:
        """What passes, with the columns that are derived."""
        if self._where is not None:
            batch = where(batch, self._where)
        if self._derive:
            batch = derive(batch, self._derive)
        if self._sample is not None:
            batch = sample(batch, self._sample.one_in, self._sample.by)
        return batch


class StreamProgram:
    """Runs the streams of a network that has no problems. Nothing is kept from one batch to the next:
    the same messages in any batches, in order, give the same events in order."""

    def __init__(self, wiring: Wiring) -> None:
        self.wiring = wiring
        self._streams = [(name, wiring.network.streams[name]) for name in wiring.order]
        self._operators = {name: StreamOperators(stream) for name, stream in self._streams}
        self._decoders = {name: Decoder.for_source(source) for name, source in wiring.network.sources.items()}

        # Of these a message need be no event: its elements are.
        exploding = {stream.reads for _, stream in self._streams if stream.explode is not None}
        whole = {
            one
            for path, inputs in readers(wiring.network)
            for one in inputs
            if path[0] != "streams" or wiring.network.streams[str(path[1])].explode is None
        }
        self._exploded_only = exploding - whole

    def read(
        self,
        source: str,
        payloads: Sequence[Payload],
        positions: Positions,
        publish_times: Int64 | None = None,
    ) -> Outcome:
        """Run a batch of messages of ``source``, one per position."""
        outcome = Outcome()
        ahead = self.wiring.network.sources[source].max_ahead
        decoded = self._decoders[source].decode(payloads, positions, publish_times, ahead)
        refused = [Refused(one.row, None, one.reason, one.message) for one in decoded.rejects]
        if refused and source not in self._exploded_only:
            outcome.refused[source] = refused
        outcome.streams[source] = [StreamBatch.of(source, decoded.batch)]
        for name, stream in self._streams:
            if stream.explode is not None:
                if stream.reads == source:
                    came = [self._explode(name, stream, payloads, positions, publish_times, outcome)]
                else:
                    came = []
            elif stream.merge:
                came = merge([outcome.streams.get(one, []) for one in stream.merge])
            else:
                came = outcome.streams.get(stream.reads or "", [])
            self._pass(name, came, outcome)
        return outcome

    def _pass(self, name: str, came: list[StreamBatch], outcome: Outcome) -> None:
        operators = self._operators[name]
        passed = [operators.applied(batch) for batch in came]
        outcome.streams[name] = [batch for batch in passed if len(batch)]
        if not operators.split:
            return
        for branch in (*operators.split, REST):
            outcome.streams[f"{name}.{branch}"] = []
        for batch in outcome.streams[name]:
            for branch, part in split(batch, operators.split, REST).items():
                if len(part):
                    outcome.streams[f"{name}.{branch}"].append(part)

    def _explode(
        self,
        name: str,
        stream: Stream,
        payloads: Sequence[Payload],
        positions: Positions,
        publish_times: Int64 | None,
        outcome: Outcome,
    ) -> StreamBatch:
        source = stream.reads or ""
        found = exploded(payloads, stream.explode or "")
        rows, subs = np.array(found.rows, np.int64), np.array(found.subs, np.int64)
        decoded = self._decoders[source].decode(
            found.payloads,
            positions.take(rows),
            None if publish_times is None else publish_times[rows],
            self.wiring.network.sources[source].max_ahead,
        )
        refused = [
            Refused(int(rows[one.row]), int(subs[one.row]), one.reason, one.message)
            for one in decoded.rejects
        ]
        if both := sorted([*found.refused, *refused], key=lambda one: (one.row, one.sub or 0)):
            outcome.refused[name] = both
        return StreamBatch(source, decoded.batch, subs[decoded.rows])
