"""Questions as JSON: what they must hold, and answering them for one key or for many."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

from ..errors import QuestionError
from ..questions import Reader

Answers: TypeAlias = dict[str, Any] | list[dict[str, Any]]
MAX_ANSWERS = 20_000  # a larger reply would pass Temporal's limit of 2 MiB


def ask(
    reader: Callable[[Mapping[str, Any]], Reader],
    question: Mapping[str, Any],
    needed: set[str],
    optional: set[str],
    answer: Callable[[Reader, Any, Mapping[str, Any]], Answers],
) -> Answers:
    """Answer ``question``: an object with ``key``, or ``keys`` for a list of answers, the ``needed`` fields
    and perhaps those in ``optional``.

    ``unit`` (default: the source's) is the unit of times in and out; an aggregate's ``key`` is the group, and
    ``aggregate`` the function (default: its only one). A list of instants in ``at`` gives a list of answers.
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
            raise QuestionError(f"this asks for over {MAX_ANSWERS:,} answers at once; ask for fewer keys")
    return found


def _check(question: Mapping[str, Any], needed: set[str], optional: set[str]) -> None:
    given = set(question)
    missing = needed - given
    if not given & {"key", "keys"}:
        missing |= {"key"}
    unknown = given - needed - optional - {"key", "keys", "unit", "aggregate"}
    if not missing and not unknown:
        return
    wrong = [f"{name} is missing" for name in sorted(missing)] + [f"{n} is unknown" for n in sorted(unknown)]
    fields = ", ".join(sorted(needed | optional))
    raise QuestionError(f"{', '.join(wrong)}; a question here is JSON with key, {fields} and perhaps unit")
