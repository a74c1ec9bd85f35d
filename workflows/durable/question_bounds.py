"""Bounds on questions to a worker: those that are no JSON objects are refused, and those whose work or reply
is too large for a query.

A query is answered inside a workflow task, which Temporal gives two seconds, and its reply is one payload,
which may have 2 MiB. Both are bounded here, so that a question can fail and never hurt the worker.
"""

from __future__ import annotations

from typing import Any

import msgspec

from timeline_workers.answers.json_questions import MAX_ANSWERS
from timeline_workers.answers.reader import duration
from timeline_workers.errors import Code, QuestionError
from timeline_workers.events.times import question_time

MAX_REPLY_BYTES = 1_900_000
TOO_LARGE = "more than one reply can hold"


def check_question(question: Any, unit: str) -> dict[str, Any]:
    """Return ``question`` when it is an object that asks for at most ``MAX_ANSWERS`` answers.

    ``unit`` is the unit of its times when it names none. What its fields mean is for the node to judge.
    Raises QuestionError.
    """
    if not isinstance(question, dict):
        shown = "nothing" if question is None else repr(question)[:60]
        raise QuestionError(
            f'a question is a JSON object such as {{"key": "s1", "at": 20}}; this one is {shown}'
        )
    for field in ("after", "limit"):
        if field in question and type(question[field]) is not int:
            raise QuestionError(f"{field} is a whole number, not {question[field]!r}")
    answers = 1
    for field in ("keys", "at"):
        if isinstance(given := question.get(field), list):
            answers *= len(given)
    every, start, end = (question.get(field) for field in ("every", "start", "end"))
    if every is not None and start is not None and end is not None:
        of = question.get("unit", unit)
        answers *= max(0, question_time(end, of) - question_time(start, of)) // duration(every)
    if answers > MAX_ANSWERS:
        raise QuestionError(
            f"this asks for {answers:,} answers, {TOO_LARGE} ({MAX_ANSWERS:,}); ask for fewer keys, instants "
            "or intervals at once",
            code=Code.TOO_LARGE,
        )
    return question


def check_reply(reply: Any) -> Any:
    """Return ``reply`` when it fits into one payload; raises QuestionError otherwise."""
    size = len(msgspec.json.encode(reply))
    if size > MAX_REPLY_BYTES:
        raise QuestionError(
            f"the answer has {size:,} bytes, {TOO_LARGE} ({MAX_REPLY_BYTES:,}); ask over a shorter range, or "
            "for fewer keys at once",
            code=Code.TOO_LARGE,
        )
    return reply
