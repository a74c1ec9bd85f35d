"""``Computed``: the timelines of every node of an expression, computed from stored events.

The expression need not have been applied: a worker's answer depends on the events that its metric accepts,
and on nothing else, so that the kernel over these events gives what the workers would answer.

Which events count is what a stored source definition says of them. An expression that reads its columns in a
way of its own, and has no verdicts of its own, takes those of another definition of the same source
(``like``): it judges the columns itself, and takes the other's word for what is late, as metrics that read
key and time alike have one watermark. Known as of a system time are the events that the store had seen then.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np

from timeline_workers.algebra.graph_evaluation import Evaluation
from timeline_workers.algebra.timeline.timelines import Timeline
from timeline_workers.answers.answer_models import KindName
from timeline_workers.answers.reader import Reader
from timeline_workers.columns.event_batch import Positions
from timeline_workers.columns.key_table import Key
from timeline_workers.errors import Code, MetricError, QuestionError, UnknownNameError
from timeline_workers.events.decode import Decoder
from timeline_workers.events.times import EARLIEST, LATEST, from_microseconds
from timeline_workers.language.canonical import canonical, to_text
from timeline_workers.language.check import check
from timeline_workers.language.parser import parse
from timeline_workers.language.suggestions import nearest
from timeline_workers.language.tree import Aggregate, Expression
from timeline_workers.metric.model import Source
from timeline_workers.plan.changelog_rules import changelog_kinds, refuse_changelog
from timeline_workers.plan.logical import logical
from timeline_workers.plan.reading import Reading
from timeline_workers.wire.changelog_events import ChangelogDecoder

from .exact import exact_value
from .model import EventCursor, Group, Outcome, Piece, StoredEvent, definition_of
from .store import HistoryStore
from .text import key_text

PAGE = 50_000


@dataclass(frozen=True, slots=True)
class ComputedNode:
    """A node of the expression: ``text`` names it; ``functions``: of an aggregate, which has one timeline for
    each.
    """

    text: str
    kind: KindName
    expression: Expression
    functions: tuple[str, ...] = ()


class Computed:
    """All nodes of an expression over the events of some keys; made by ``compute``."""

    def __init__(self, expression: Expression, source: Source, text: str | None = None) -> None:
        try:
            refuse_changelog(expression, bool(source.changelog))
        except MetricError as error:
            raise QuestionError(str(error)) from None
        declared = {name: spec.type for name, spec in source.columns.items()} or None
        checked = check(expression, declared, text=text)
        root = canonical(expression)
        self.source = source
        self.reading = Reading.of(source, checked)
        self.nodes = [
            ComputedNode(
                to_text(node.expression),
                node.kind,
                node.expression,
                node.expression.functions if isinstance(node.expression, Aggregate) else (),
            )
            for node in logical(check(root, declared))
        ]
        self.watermark: int | None = None
        self.events = 0
        self._by_text = {node.text: node for node in self.nodes}
        self._evaluation = Evaluation(root)
        self._decoder: Decoder | ChangelogDecoder = (
            ChangelogDecoder(source.time_unit, changelog_kinds(expression), source.aggregate_read)
            if source.changelog
            else self.reading.decoder()
        )

    @property
    def keys(self) -> list[Key]:
        """The keys of which there are events that count."""
        return list(self._evaluation.keys.names)

    def groups(self, node: str) -> list[Group]:
        """The keys of a node; of an aggregate its groups."""
        return list(self._evaluation.groups) if self._node(node).functions else list(self.keys)

    def add(self, events: Sequence[StoredEvent]) -> None:
        """Take in stored events, in any order; those that the expression refuses count for nothing."""
        if not events:
            return
        places = np.array([event.position for event in events], np.int64).reshape(len(events), 3)
        positions = Positions(places[:, 0].astype(np.int32), places[:, 1].copy(), places[:, 2].copy())
        published = np.array([event.published for event in events], np.int64)
        decoded = self._decoder.decode(
            [event.payload for event in events], positions, published, self.source.max_ahead
        )
        self.events += len(decoded.batch)
        if len(decoded.batch):
            self._evaluation.add(decoded.batch)

    def reader(self, node: str, function: str = "") -> Reader:
        """Answers questions about a node, in the unit of the source, as a worker does.

        Raises UnknownNameError for a node that is none, QuestionError for a function that it has not.
        """
        found = self._node(node)
        return Reader(
            self._timeline(found, function),
            self._evaluation.groups if found.functions else self._evaluation.keys,
            found.kind,
            found.expression,
            unit=self.source.time_unit,
            watermark=self.watermark,
            aggregate=function,
            before=self._evaluation.before,
        )

    def pieces(
        self, node: str, start: int, end: int, *, keys: Sequence[Group] | None = None, function: str = ""
    ) -> list[Piece]:
        """The pieces that hold in ``[start, end)``, microseconds, whole, by (start, key); exact, as those of
        a store. They are stored nowhere: ``seen_from`` is 0.
        """
        found = self._node(node)
        timeline = self._timeline(found, function)
        names = self.groups(node)
        wanted = None if keys is None else {key_text(key) for key in keys}
        shown: list[tuple[int, str, Piece]] = []
        for row in range(timeline.keys):
            text = key_text(names[row])
            if wanted is not None and text not in wanted:
                continue
            low, high = int(timeline.offsets[row]), int(timeline.offsets[row + 1])
            starts = timeline.starts[low:high]
            first = max(int(np.searchsorted(starts, start, "right")) - 1, 0)
            last = int(np.searchsorted(starts, end, "left"))
            for place in range(first, last):
                until = int(starts[place + 1]) if place + 1 < len(starts) else None
                value, slope = exact_value(timeline, low + place)
                piece = Piece(node, names[row], int(starts[place]), until, value, slope, 0, None)
                shown.append((piece.start, text, piece))
        return [piece for _, _, piece in sorted(shown, key=lambda one: one[:2])] if start < end else []

    def _node(self, text: str) -> ComputedNode:
        node = self._by_text.get(text)
        if node is None:
            near = nearest(text, self._by_text)
            hint = f"; did you mean {near}?" if near else ""
            raise UnknownNameError(
                f"{text!r:.200} is no node of the expression{hint}", code=Code.UNKNOWN_NODE
            )
        return node

    def _timeline(self, node: ComputedNode, function: str) -> Timeline:
        if not node.functions and not function:
            return self._evaluation.timeline(node.expression)
        if function not in node.functions:
            known = ", ".join(node.functions) or "none: it is no aggregate"
            raise QuestionError(f"{function!r} is no function of {node.text:.200}; it has {known}")
        return self._evaluation.aggregate(function)


async def compute(
    store: HistoryStore,
    expression: str | Expression,
    source: Source,
    *,
    keys: Sequence[Key] | None,
    until: int | None = None,
    as_of: int | None = None,
    like: str | None = None,
    accepted_only: bool = False,
) -> Computed:
    """Compute all nodes of ``expression`` over the events of ``source`` that ``store`` has.

    ``keys``: those on screen; None: all, as an aggregate needs. ``until``: no event at or after this time is
    looked at (microseconds): the nodes are right below it, and what begins later is not known. ``like``: the
    source definition whose verdicts count, of the same topic, key and time; by default the expression's own.

    Raises ExpressionError, UnknownNameError for a definition of which nothing is stored, and QuestionError
    with the code ``not-kept`` for a key whose first events have been forgotten.
    """
    tree = parse(expression) if isinstance(expression, str) else expression
    computed = Computed(tree, source, expression if isinstance(expression, str) else None)
    if isinstance(computed.nodes[-1].expression, Aggregate) and keys is not None:
        raise QuestionError("an aggregate is over all keys; leave out keys=")
    own = definition_of(computed.reading)
    definition = own if like is None else like
    reach = await store.reach(definition)
    if reach is None:
        raise UnknownNameError(
            f"no verdicts of source definition {definition!r} are stored; say by like= which metric's count",
            code=Code.UNKNOWN_SOURCE,
        )
    if as_of is None:
        computed.watermark = reach.watermark
    start, end = EARLIEST, LATEST + 1 if until is None else until
    if reach.kept_from is not None:
        start = max(start, reach.kept_from)
        await _check_kept(store, definition, keys, reach.kept_from)
    outcomes = (
        {Outcome.ACCEPTED} if accepted_only or definition == own else {Outcome.ACCEPTED, Outcome.REFUSED}
    )
    after: EventCursor | None = None
    while start < end:
        page = await store.events(
            definition,
            start,
            end,
            keys=keys,
            outcomes=frozenset(outcomes),
            as_of=as_of,
            after=after,
            limit=PAGE,
        )
        computed.add([event for event in page if not (event.outcome is Outcome.REFUSED and event.below)])
        if len(page) < PAGE:
            break
        after = EventCursor(cast(int, page[-1].time), page[-1].position)
    return computed


async def _check_kept(
    store: HistoryStore, definition: str, keys: Sequence[Key] | None, kept_from: int
) -> None:
    for key, first in (await store.origins(definition, keys)).items():
        if first < kept_from:
            shown = from_microseconds(min(max(kept_from, EARLIEST), LATEST), "iso")
            raise QuestionError(
                f"events of key {key!r} before {shown} have been forgotten, so nothing can be computed of "
                "it; what was stored of a metric's own nodes can still be asked for",
                code=Code.NOT_KEPT,
            )
