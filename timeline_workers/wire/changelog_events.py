"""Messages of a changelog as events of its one leaf. No I/O."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np

from timeline_workers.algebra.leaf_input import CHANGELOG_COLUMN
from timeline_workers.algebra.nodes.changelog_node import Overwritten
from timeline_workers.algebra.nodes.published_values import text_of
from timeline_workers.columns.event_batch import EventBatch, Positions
from timeline_workers.columns.key_table import Key
from timeline_workers.columns.values import Int64, Tagged
from timeline_workers.errors import EventError
from timeline_workers.events.rules import Decoded, Reject
from timeline_workers.events.times import EARLIEST
from timeline_workers.plan.changelog_rules import NOT_READ

from .changelog_messages import Change, Mark, read_message


@dataclass(frozen=True, slots=True)
class DecodedChangelog(Decoded):
    """What a batch of messages says. ``marks``: the watermarks among them, by row; None: a message that is
    about another function of an aggregate than is read."""

    marks: dict[int, Mark | None]


class ChangelogDecoder:
    """Decodes the messages of a changelog, whose times are in ``unit``, for leaves of the kinds ``kinds``.
    ``function``: of an aggregate, which is read; None: what there is."""

    def __init__(self, unit: str, kinds: frozenset[str], function: str | None = None) -> None:
        self._unit, self._kinds, self._function = unit, kinds, function

    def decode(
        self,
        payloads: Sequence[Any],
        positions: Positions,
        publish_times: Int64 | None = None,
        max_ahead: int | None = None,
    ) -> DecodedChangelog:
        """Decode JSON texts or mappings, one per position; the other arguments are those of events."""
        keys: dict[tuple[type, Key], int] = {}
        names: list[Key] = []
        codes: list[int] = []
        rows: list[int] = []
        texts: list[str] = []
        marks: dict[int, Mark | None] = {}
        rejects: list[Reject] = []
        times = np.zeros(len(payloads), np.int64)
        for row, payload in enumerate(payloads):
            try:
                said = read_message(payload, self._unit, self._function)
                if isinstance(said, Change):
                    _check_kind(said, self._kinds)
            except EventError as error:
                rejects.append(Reject(row, error.reason, str(error), payload))
                continue
            if not isinstance(said, Change):
                marks[row] = said
                continue
            since = EARLIEST if said.since is None else said.since
            one = Overwritten(
                since,
                said.until,
                said.revision,
                said.value,
                said.slope,
                said.withdrawn,
                text_of(said.before),
            )
            if (type(said.key), said.key) not in keys:
                keys[type(said.key), said.key] = len(names)
                names.append(said.key)
            codes.append(keys[type(said.key), said.key])
            rows.append(row)
            texts.append(one.text())
            times[row] = since
        found = np.array(rows, np.int64)
        batch = EventBatch(
            names,
            np.array(codes, np.int32),
            times[found],
            positions.take(found),
            {CHANGELOG_COLUMN: Tagged.of(texts)},
        )
        timed = np.zeros(len(payloads), np.bool_)
        timed[found] = True
        return DecodedChangelog(batch, found, times, timed, [], {}, rejects, marks)


def _check_kind(said: Change, kinds: frozenset[str]) -> None:
    for kind in sorted(kinds):
        if (said.kind, kind) in NOT_READ:
            raise EventError(
                "wrong-type",
                f"the message is of a timeline of kind {said.kind}, which changelog({kind}) does not read; "
                f"write changelog({said.kind}) in the expression",
            )
    # Only a Numeric of the kind numeric is computed with fractions; others hold floats.
    for field, number in (("before", said.before), ("value", said.value)):
        if isinstance(number, Fraction) and kinds != {"numeric"} and not _is_float(number):
            raise EventError(
                "wrong-type",
                f"{field}: the number is too large for a float, and only changelog(numeric) reads such; "
                "write changelog(numeric) in the expression",
            )
    if said.withdrawn:
        return
    value, is_level = said.value, said.slope is None or said.slope == 0
    is_number = value is None or not isinstance(value, bool | str)
    fits = {
        "boolean": isinstance(value, bool),
        "number": is_number and is_level,
        "numeric": is_number,
        "state": is_level,
    }
    for kind in sorted(kinds):
        if not fits[kind]:
            sloping = " with a slope" if not is_level else ""
            raise EventError(
                "wrong-type",
                f"value {value!r:.60}{sloping} is not of a timeline of kind {kind}; in the expression write "
                "changelog(KIND) for the kind of what is published",
            )


def _is_float(number: Fraction) -> bool:
    try:
        float(number)
    except OverflowError:
        return False
    return True
