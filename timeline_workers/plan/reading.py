"""The reading of a metric: what each column of an event must be, and so which events it refuses.

An event that does not fit is refused whole, so a leaf's answers depend also on columns that it does not look
at. What may refuse an event is therefore part of the name of every node (``logical.node_name``), in a
canonical form: metrics that refuse the same events share their workers, others never do.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from timeline_workers.events.decode import Decoder
from timeline_workers.language.check import Alike, Checked, check
from timeline_workers.language.kinds import ColumnType, ValueType
from timeline_workers.language.parser import parse
from timeline_workers.metric.model import ColumnSpec, Metric, Source

ANY: Final = "any"
_ACCEPTED: Final[Mapping[ColumnType, str]] = {
    "bool": "bool",
    "int": "int",
    "float": "number",
    "string": "string",
}


@dataclass(frozen=True)
class Judgement:
    """What may refuse an event besides its key and time; equal for metrics that refuse the same events.

    ``accepted``: sorted (path, what a value there must be): bool, int, number, string or any, which is any of
    these. ``alike``: sorted (paths whose values must be of one type, whether they have an order).
    """

    accepted: tuple[tuple[str, str], ...]
    alike: tuple[tuple[tuple[str, ...], bool], ...] = ()


@dataclass(frozen=True)
class Reading:
    """How the events of ``source`` are read for one expression: ``columns``, None where undeclared, and what
    the expression needs of undeclared ones.
    """

    source: Source
    columns: Mapping[str, ColumnSpec | None]
    requirements: Mapping[str, ValueType]
    alike: tuple[Alike, ...]

    @staticmethod
    def of(source: Source, checked: Checked) -> Reading:
        """The reading for an expression that was checked against the columns of ``source``."""
        if source.columns:
            return Reading(source, source.columns, {}, ())
        return Reading(source, dict.fromkeys(checked.columns), checked.requirements, checked.alike)

    def judgement(self) -> Judgement:
        """What may refuse an event. A column that takes what does not fit as missing is not there."""
        accepted = {
            (name, str(self.requirements.get(name, ANY)))
            if spec is None
            else (spec.path or name, _ACCEPTED[spec.type])
            for name, spec in self.columns.items()
            if spec is None or spec.on_bad_value != "missing"
        }
        return Judgement(tuple(sorted(accepted)), tuple(sorted((a.columns, a.ordered) for a in self.alike)))

    def signature(self) -> str:
        """Equal for readings that read every event, and every value, in the same way."""
        fields = self.source.model_dump(mode="json", exclude={"columns"})
        columns = sorted(
            (name, None if spec is None else spec.model_dump(mode="json"))
            for name, spec in self.columns.items()
        )
        return repr((sorted(fields.items()), columns, sorted(self.requirements.items()), self.alike))

    def decoder(self) -> Decoder:
        """A decoder that refuses what this reading refuses."""
        return Decoder.for_source(
            self.source, only=self.columns, requirements=self.requirements, alike=self.alike
        )


def reading_of(metric: Metric) -> Reading:
    """How ``metric`` reads its source. Raises ExpressionError."""
    declared = {name: spec.type for name, spec in metric.source.columns.items()} or None
    return Reading.of(metric.source, check(parse(metric.expression), declared, text=metric.expression))
