"""Questions as JSON: what they must hold, and answering them for one key or for many."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from timeline_workers.errors import Code, QuestionError

from .reader import Reader

Answers: TypeAlias = dict[str, Any] | list[dict[str, Any]]
Readers: TypeAlias = Callable[[Mapping[str, Any]], Reader]
MAX_ANSWERS = 20_000  # a larger reply would pass Temporal's limit of 2 MiB
PAGE = 1_000


def page(names: Sequence[Any], question: Mapping[str, Any]) -> dict[str, Any]:
    """``{"after": n, "limit": m}`` → the ``names`` numbered from ``after`` on, ``count`` of all, and
    ``next``, the number to go on after, or None.
    """
    after, limit = int(question.get("after", 0)), int(question.get("limit", PAGE))
    end = after + min(max(limit, 1), 10 * PAGE)
    return {
        "keys": list(names[after:end]),
        "count": len(names),
        "next": end if end < len(names) else None,
    }


@dataclass(frozen=True, slots=True)
class _Kind:
    """A kind of question: the fields that it needs and may have, and what answers it for one key."""

    needed: frozenset[str]
    optional: frozenset[str]
    answer: Callable[[Reader, Any, Mapping[str, Any]], Answers]


def ask(readers: Readers, kind: str, question: Mapping[str, Any], *, per_key: bool = False) -> Answers:
    """Answer ``question``, of kind ``value_at``, ``spans`` or ``change``: an object with ``key``, or ``keys``
    for a list of answers, and the fields of its kind.

    ``value_at`` has ``at``, and a list of instants there gives a list of answers; ``spans`` and ``change``
    have ``start`` and ``end``, and ``change`` perhaps ``every``, for a list of one answer per interval.
    ``unit`` (default: the source's) is the unit of times in and out; ``node`` the name of one of the
    worker's nodes (default: the one it is named for); an aggregate's ``key`` is the group, and ``aggregate``
    the function (default: its only one). ``per_key``: each of several keys has a reader of its own.

    Raises QuestionError and UnknownNameError.
    """
    about = _KINDS[kind]
    _check(question, about)
    if "keys" not in question:
        return about.answer(readers(question), question["key"], question)
    keys = question["keys"]
    if not isinstance(keys, list):
        raise QuestionError(f"keys is a list of keys, not {keys!r}; name a single one as key")
    found: list[dict[str, Any]] = []
    reader = None if per_key else readers(question)
    for key in keys:
        of_key = readers({**question, "key": key}) if reader is None else reader
        found.extend(listed(about.answer(of_key, key, question)))
        if len(found) > MAX_ANSWERS:
            raise QuestionError(
                f"this asks for over {MAX_ANSWERS:,} answers at once; ask for fewer keys", code=Code.TOO_LARGE
            )
    return found


def listed(answers: Answers) -> list[dict[str, Any]]:
    """One answer or several, as a list."""
    return answers if isinstance(answers, list) else [answers]


def _check(question: Mapping[str, Any], kind: _Kind) -> None:
    needed, optional = kind.needed, kind.optional
    given = set(question)
    missing = set(needed - given)
    if not given & {"key", "keys"}:
        missing |= {"key"}
    unknown = given - needed - optional - {"key", "keys", "unit", "node", "aggregate"}
    if not missing and not unknown:
        return
    wrong = [f"{name} is missing" for name in sorted(missing)] + [f"{n} is unknown" for n in sorted(unknown)]
    fields = ", ".join(sorted(needed | optional))
    raise QuestionError(f"{', '.join(wrong)}; a question here is JSON with key, {fields} and perhaps unit")


def _value_at(reader: Reader, key: Any, question: Mapping[str, Any]) -> Answers:
    at = question["at"]
    if isinstance(at, list):
        return [reader.value_at(key, instant).model_dump() for instant in at]
    return reader.value_at(key, at).model_dump()


def _spans(reader: Reader, key: Any, question: Mapping[str, Any]) -> Answers:
    return reader.spans(key, question["start"], question["end"]).model_dump()


def _change(reader: Reader, key: Any, question: Mapping[str, Any]) -> Answers:
    start, end, every = question["start"], question["end"], question.get("every")
    if every is None:
        return reader.change(key, start, end).model_dump()
    return [answer.model_dump() for answer in reader.change_every(key, start, end, every)]


_KINDS = {
    "value_at": _Kind(frozenset({"at"}), frozenset(), _value_at),
    "spans": _Kind(frozenset({"start", "end"}), frozenset(), _spans),
    "change": _Kind(frozenset({"start", "end"}), frozenset({"every"}), _change),
}
