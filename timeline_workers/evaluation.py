"""Evaluation in process, with no server: an expression over a set of events, and questions to the result.

    result = evaluate('duration_where(latest_event_to_state(state) == "buffer")', events, key="id", time="t")
    result.value_at("s1", 20).value

The answers are those that the durable graph gives: both run the same operators over the same decoded events,
and answer through ``questions.Reader``.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterable, Mapping
from dataclasses import replace
from itertools import islice
from typing import TYPE_CHECKING, Any, Protocol, cast, get_args, runtime_checkable

from timeline_workers.algebra.graph_evaluation import Evaluation
from timeline_workers.algebra.timeline.timelines import Timeline
from timeline_workers.answers.answer_models import Change, KindName, Spans, ValueAt
from timeline_workers.answers.arrow import to_table
from timeline_workers.answers.reader import Group, Reader, in_order
from timeline_workers.columns.event_batch import Positions
from timeline_workers.events.decode import Decoder, Payload
from timeline_workers.events.direction import Direction, reversed_ties_words
from timeline_workers.events.frames import decode_frame, is_frame
from timeline_workers.events.rules import Decoded, Missing, Reject
from timeline_workers.events.times import check_unit
from timeline_workers.language.canonical import canonical
from timeline_workers.language.check import check
from timeline_workers.language.kinds import ColumnType
from timeline_workers.language.parser import parse
from timeline_workers.language.tree import Aggregate, AggregateFunction, Expression, Node
from timeline_workers.metric.model import ColumnSpec
from timeline_workers.plan.changelog_rules import changelog_kinds, refuse_changelog

from .errors import EventOrderWarning, ExpressionError, MetricError, QuestionError

if TYPE_CHECKING:
    import pyarrow

    from timeline_workers.wire.changelog_events import ChangelogDecoder, DecodedChangelog

# A batch costs as much as it touches, and large ones touch every key once: a list, whose events are in memory
# anyway, is taken in larger pieces than what an iterator makes.
_OF_A_LIST, _OF_AN_ITERATOR = 1_000_000, 100_000


@runtime_checkable
class HasExpression(Protocol):
    """What the Python builder gives."""

    @property
    def expression(self) -> Expression:
        """The tree that was built."""


class Result:
    """An evaluation that takes events bit by bit, in any order, and answers at any time.

    ``expression``: text, a built expression or a tree; ``key``, ``time``: dotted paths into the events;
    ``time_unit``: of event times, and of questions and answers; ``columns``: declared columns, if there are.
    ``newest_first``: the events come so, as in many exports: of one key's at one instant the first is the
    latest. ``changelog``: the events are messages of another metric's output, whose key and time are in their
    own fields; a function's name: those about that function of an aggregate. ``seen`` and ``accepted`` count
    events; ``rejected`` has those that were refused, ``missing`` the values in accepted ones that did not fit
    a column declared with ``on_bad_value: missing``.

    Raises ExpressionError for a wrong expression, QuestionError for an unknown unit.
    """

    def __init__(
        self,
        expression: str | HasExpression | Expression,
        *,
        key: str,
        time: str,
        time_unit: str = "s",
        columns: Mapping[str, ColumnSpec | str] | None = None,
        newest_first: bool = False,
        changelog: bool | AggregateFunction = False,
    ) -> None:
        check_unit(time_unit)
        for what, name in (("key", key), ("time", time)):
            if not isinstance(name, str) or any("\ud800" <= letter <= "\udfff" for letter in name):
                raise QuestionError(f"{what} is {name!r}; give the name of a field of the events, as text")
        declared = {name: _declared(name, spec) for name, spec in (columns or {}).items()}
        text = expression if isinstance(expression, str) else None
        tree = parse(expression) if isinstance(expression, str) else _tree_of(expression)
        types = None if columns is None else {name: spec.type for name, spec in declared.items()}
        checked = check(tree, types, text=text)
        self.expression = tree
        self.kind: KindName = _answer_kind(checked.kind.name)
        self.time_unit = time_unit
        self.rejected: list[Reject] = []
        self.missing: list[Missing] = []
        self.accepted = 0
        try:
            refuse_changelog(tree, bool(changelog))
        except MetricError as error:
            raise ExpressionError(str(error)) from None
        if changelog and newest_first:
            raise QuestionError("a changelog is read in the order in which it was written, not newest first")
        self._decoder: Decoder | ChangelogDecoder = Decoder(
            key=key,
            time=time,
            time_unit=time_unit,
            columns={name: declared.get(name) for name in [*declared, *checked.columns]},
            requirements=checked.requirements,
            alike=checked.alike,
        )
        self._is_changelog = bool(changelog)
        if changelog:
            # What travels between processes takes a while to load, and few evaluations read it.
            from timeline_workers.wire.changelog_events import ChangelogDecoder

            function = None if isinstance(changelog, bool) else changelog
            self._decoder = ChangelogDecoder(time_unit, changelog_kinds(tree), function)
        self._evaluation = Evaluation(canonical(tree))
        self.seen = 0
        self._newest_first = newest_first
        self._direction = Direction()
        self._unmet = dict.fromkeys(checked.columns)
        self._readers: dict[str, Reader] = {}
        self._by_text: dict[str, list[Group]] | None = None

    def add(self, payloads: list[Payload]) -> list[Reject]:
        """Take in events, as JSON text or mappings; return the refused ones.

        An event's position, and the ``row`` of a refused one, is its place among all events added; with
        ``newest_first`` positions go down.
        """
        return self._take(self._decoder.decode(payloads, Positions.in_input(self.seen, len(payloads))))

    def add_frame(self, frame: Any) -> list[Reject]:
        """Take in the rows of a table."""
        if self._is_changelog:
            raise QuestionError("a changelog is no table; give a list of its messages")
        return self._take(decode_frame(cast(Decoder, self._decoder), frame, self.seen))

    def _take(self, decoded: Decoded) -> list[Reject]:
        first, count = self.seen, len(decoded.batch) + len(decoded.rejects)
        if self._is_changelog:
            count += len(cast("DecodedChangelog", decoded).marks)
        rejects = [Reject(first + r.row, r.reason, r.message, r.payload) for r in decoded.rejects]
        self.seen += count
        self.accepted += len(decoded.batch)
        self.rejected += rejects
        self.missing += [replace(one, row=first + one.row) for one in decoded.missing]
        for name in list(self._unmet):
            if decoded.batch.columns[name].tags.any():
                del self._unmet[name]
        if len(batch := decoded.batch):
            if not self._is_changelog:  # its revisions say the order
                self._direction.add(batch.keys, batch.key, -batch.time if self._newest_first else batch.time)
            if self._newest_first:
                batch = replace(batch, position=batch.position.backwards())
            self._evaluation.add(batch)
            self._readers.clear()
            self._by_text = None
        return rejects

    @property
    def order_problem(self) -> str | None:
        """What is wrong with the order of the events, in words, if it runs the other way and that matters."""
        tied, keys = self._direction.reversed_ties, len(self._evaluation.keys.names)
        return reversed_ties_words(tied, keys, newest_first=self._newest_first) if tied else None

    @property
    def unmet_columns(self) -> list[str]:
        """The columns of the expression that no valid event has had a value for: misspelt ones are here."""
        return list(self._unmet)

    @property
    def aggregates(self) -> tuple[str, ...]:
        """The functions of an aggregate expression; nothing for others."""
        return self.expression.functions if isinstance(self.expression, Aggregate) else ()

    def keys(self) -> list[Group]:
        """All keys with a valid event (or an aggregate's groups): ints, then strings by code point."""
        names = self._evaluation.groups if self.aggregates else self._evaluation.keys.names
        return in_order(names)

    def named(self, text: str) -> list[Group]:
        """The keys that are written as ``text``: a string, an int or both; UnknownNameError for none."""
        if self._by_text is None:
            self._by_text = {}
            for name in self.keys():
                shown = name if isinstance(name, str) else json.dumps(name)
                self._by_text.setdefault(shown, []).append(name)
        if text not in self._by_text:
            self._reader(self.aggregates[0] if self.aggregates else None).refuse(text)
        return self._by_text[text]

    def value_at(self, key: Group, at: object, *, aggregate: str | None = None) -> ValueAt:
        """The value of ``key`` at ``at``. Raises UnknownNameError for a key that is not in ``keys()``."""
        return self._reader(aggregate).value_at(key, at)

    def spans(self, key: Group, start: object, end: object, *, aggregate: str | None = None) -> Spans:
        """The spans of ``key`` over ``[start, end)``."""
        return self._reader(aggregate).spans(key, start, end)

    def change(
        self, key: Group, start: object, end: object, every: object = None, *, aggregate: str | None = None
    ) -> Change | list[Change]:
        """The change of ``key`` over ``[start, end)``; with ``every`` (``"1m"`` or seconds) a list."""
        reader = self._reader(aggregate)
        if every is None:
            return reader.change(key, start, end)
        return reader.change_every(key, start, end, every)

    def to_arrow(self) -> pyarrow.Table:
        """All pieces of all keys as a table; see ``export.to_table`` for its columns and types."""
        names = self._evaluation.groups if self.aggregates else self._evaluation.keys.names
        functions = self.aggregates or (None,)
        return to_table([self._timeline(f) for f in functions], names, self.kind, functions)

    def _timeline(self, function: str | None) -> Timeline:
        return self._evaluation.aggregate(function) if function else self._evaluation.timeline()

    def _reader(self, aggregate: str | None) -> Reader:
        function = self._function(aggregate)
        if function not in self._readers:
            evaluation = self._evaluation
            self._readers[function] = Reader(
                self._timeline(function),
                evaluation.groups if function else evaluation.keys,
                self.kind,
                self.expression,
                unit=self.time_unit,
                aggregate=function,
                before=evaluation.before,
            )
        return self._readers[function]

    def _function(self, aggregate: str | None) -> str:
        known = self.aggregates
        if aggregate is None and len(known) <= 1:
            return known[0] if known else ""
        if aggregate in known:
            return str(aggregate)
        if not known:
            raise QuestionError(f"the expression is no aggregate; leave out aggregate={aggregate!r}")
        raise QuestionError(f"aggregate={aggregate!r}: say which of {', '.join(known)}")


def _declared(name: str, spec: ColumnSpec | str) -> ColumnSpec:
    """A column's declaration, of which the type alone is enough, as in a metric's file."""
    if isinstance(spec, ColumnSpec):
        return spec
    if spec not in get_args(ColumnType):
        types = ", ".join(get_args(ColumnType))
        raise QuestionError(f"column {name!r} is declared {spec!r}; give a ColumnSpec, or one of: {types}")
    return ColumnSpec(type=cast(ColumnType, spec))


def evaluate(
    expression: str | HasExpression | Expression,
    events: Iterable[Mapping[str, Any]] | Any,
    *,
    key: str,
    time: str,
    time_unit: str = "s",
    columns: Mapping[str, ColumnSpec | str] | None = None,
    newest_first: bool = False,
    changelog: bool | AggregateFunction = False,
) -> Result:
    """Evaluate ``expression`` over ``events``; ask the result for values, spans and changes.

    ``events``: mappings (or JSON texts), an Arrow table, or a pandas or Polars frame; an event's position is
    its place in them, and with ``newest_first`` its place from their end. An EventOrderWarning is given where
    they seem to run the other way and keys have several at one instant. Events that break a rule take no part
    and raise nothing: they are in ``rejected`` of the result, each with its row, a reason code and a message.
    ``changelog``: see ``Result``.

    Raises ExpressionError for a wrong expression, QuestionError for an unknown unit or a table without the
    key or time column.
    """
    result = Result(
        expression,
        key=key,
        time=time,
        time_unit=time_unit,
        columns=columns,
        newest_first=newest_first,
        changelog=changelog,
    )
    if is_frame(events):
        result.add_frame(events)
    else:
        _add_all(result, events)
    if result.order_problem:
        remedy = (
            "leave out newest_first" if newest_first else "if they come newest first, say newest_first=True"
        )
        warnings.warn(f"{result.order_problem}; {remedy}", EventOrderWarning, stacklevel=2)
    return result


def _add_all(result: Result, events: Any) -> None:
    if isinstance(events, str | bytes | Mapping) or not isinstance(events, Iterable):
        raise QuestionError(f"events are one {type(events).__name__}; give a list of events, or a table")
    source = iter(events)
    size = _OF_A_LIST if isinstance(events, list | tuple) else _OF_AN_ITERATOR
    while batch := list(islice(source, size)):
        result.add(batch)


def _tree_of(expression: object) -> Expression:
    tree = expression.expression if isinstance(expression, HasExpression) else expression
    if not isinstance(tree, Node):
        raise ExpressionError(f"an expression is text or built, not a {type(expression).__name__}")
    return tree  # type: ignore[return-value]


def _answer_kind(kind: str) -> KindName:
    if kind == "event":
        raise ExpressionError("a metric is a State, Boolean or Numeric; this expression is events only")
    return cast(KindName, kind)
