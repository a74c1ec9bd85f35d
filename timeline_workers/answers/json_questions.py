"""Questions as JSON: what they must hold, and answering them for one key or for many."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

from timeline_workers.errors import Code, QuestionError

from .reader import Reader

Answers: TypeAlias = dict[str, Any] | list[dict[str, Any]]
Readers: TypeAlias = Callable[[Mapping[str, Any]], Reader]
MAX_ANSWERS = 20_000  # a larger reply would pass Temporal's limit of 2 MiB
PAGE = 1_000


def value_at(readers: Readers, question: Mapping[str, Any]) -> Answers:
    """``{"key": …, "at": …}`` → the value at that instant (``ask``)."""
    return ask(readers, question, {"at"}, set(), _value_at)


def spans(readers: Readers, question: Mapping[str, Any]) -> Answers:
    """``{"key": …, "start": …, "end": …}`` → the spans over the range (``ask``)."""
    return ask(readers, question, {"start", "end"}, set(), _spans)


def change(readers: Readers, question: Mapping[str, Any]) -> Answers:
    """``{"key": …, "start": …, "end": …}`` → the change over the range; with ``every``, a list of one per
    interval (``ask``).
    """
    return ask(readers, question, {"start", "end"}, {"every"}, _change)


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


def ask(
    reader: Readers,
    question: Mapping[str, Any],
    needed: set[str],
    optional: set[str],
    answer: Callable[[Reader, Any, Mapping[str, Any]], Answers],
) -> Answers:
    """Answer ``question``: an object with ``key``, or ``keys`` for a list of answers, the ``needed`` fields
    and perhaps those in ``optional``.

    ``unit`` (default: the source's) is the unit of times in and out; ``node`` the name of one of the worker's
    nodes (default: the one it is named for); an aggregate's ``key`` is the group, and ``aggregate`` the
    function (default: its only one). A list of instants in ``at`` gives a list of answers.
    Raises QuestionError and UnknownNameError.
    """
    _check(question, needed, optional)
    source = reader(question)
    if "keys" not in question:
        return answer(source, question["key"], question)
    keys = question["keys"]
    if not isinstance(keys, list):
        raise QuestionError(f"keys is a list of keys, not {keys!r}; name a single one as key")
    found: list[dict[str, Any]] = []
    for key in keys:
        one = answer(source, key, question)
        found.extend(one if isinstance(one, list) else [one])
        if len(found) > MAX_ANSWERS:
            raise QuestionError(
                f"this asks for over {MAX_ANSWERS:,} answers at once; ask for fewer keys", code=Code.TOO_LARGE
            )
    return found


def _check(question: Mapping[str, Any], needed: set[str], optional: set[str]) -> None:
    given = set(question)
    missing = needed - given
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
