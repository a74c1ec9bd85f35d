"""Rules between metrics that write changelogs and metrics that read them.

What could only give dead letters or wrong times is refused when the second of the two is applied, whichever
that is, and the message says what to change in the one that reads.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from timeline_workers.errors import MetricError
from timeline_workers.language.parser import parse
from timeline_workers.metric.model import Metric

from .changelog_rules import NOT_READ, changelog_kinds
from .output_workers import OutputSpec


@dataclass(frozen=True, slots=True)
class Applied:
    """A metric and the workers of its output; none where it has no output."""

    metric: Metric
    outputs: Sequence[OutputSpec] = ()

    @property
    def written(self) -> str | None:
        """The topic that it writes."""
        return self.outputs[0].topic if self.outputs else None


def refuse_pairs(new: Applied, registered: Sequence[Applied]) -> None:
    """Raise MetricError where ``new`` does not go together with one of ``registered``, those under its own
    name apart: where one reads what the other writes and cannot, where both write one topic, or where what it
    writes comes back to it.
    """
    name = new.metric.name
    others = [other for other in registered if other.metric.name != name]
    for other in others:
        if (found := _unreadable(new.metric, other)) is not None:
            raise MetricError(f"metric {name!r}: {found[0]}; {found[1]}")
        if (found := _unreadable(other.metric, new)) is not None:
            raise MetricError(
                f"metric {name!r}: metric {other.metric.name!r} reads the topic of its output, "
                f"{new.written!r}, and could not: {found[0]}. In {other.metric.name!r} {found[1]}, and apply "
                "that first; or name another topic here"
            )
        if new.written is not None and new.written == other.written:
            raise MetricError(
                f"metric {name!r}: output.topic: {new.written!r} is written by metric "
                f"{other.metric.name!r} already, and a changelog has one writer; name another topic, or "
                "delete that metric"
            )
    _refuse_circle(new, others)


def _unreadable(reader: Metric, writer: Applied) -> tuple[str, str] | None:
    """Why ``reader`` cannot read what ``writer`` writes, and what to do in it; None where it can, or need
    not.
    """
    source, wanted = reader.source, reader.source.aggregate_read
    if not source.changelog or source.topic != writer.written:
        return None
    first, by = writer.outputs[0], f"metric {writer.metric.name!r}"
    functions = list(dict.fromkeys(one.function for one in writer.outputs if one.function))
    said = f"source.changelog: {str(source.changelog).lower()}"
    if not functions and wanted is not None:
        why = f"{said} names a function, and topic {source.topic!r} has the output of {by}, no aggregate"
        return why, "write 'changelog: true'"
    if (wanted is None and len(functions) > 1) or (wanted is not None and wanted not in functions):
        why = (
            f"{said} does not say which is read: topic {source.topic!r} has {', '.join(functions)} of the "
            f"aggregate of {by}"
        )
        return why, f"write one of them, such as 'changelog: {functions[0]}'"
    if source.time_unit != first.unit:
        why = f"source.time_unit: {source.time_unit} is not that of {by}, which writes {source.topic!r}"
        return why, f"write 'time_unit: {first.unit}'"
    read = first if wanted is None else next(one for one in writer.outputs if one.function == wanted)
    for kind in sorted(changelog_kinds(parse(reader.expression))):
        if (read.read_by, kind) in NOT_READ:
            why = f"changelog({kind}) is not what {by} writes to {source.topic!r}"
            return why, f"write changelog({read.read_by}) in the expression"
    return None


def _refuse_circle(new: Applied, others: Sequence[Applied]) -> None:
    if new.written is None:
        return
    found = [new]
    for one in found:
        for other in others:
            if other.metric.source.topic == one.written and other not in found:
                found.append(other)
        if one.written == new.metric.source.topic:
            names = ", ".join(repr(each.metric.name) for each in found[1:])
            raise MetricError(
                f"metric {new.metric.name!r}: output.topic: what is written to {new.written!r} comes back "
                f"to its source, {new.metric.source.topic!r}, by {names}; name another topic"
            )
