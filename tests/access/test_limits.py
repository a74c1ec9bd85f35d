"""Limits: the largest that is allowed is taken, and what is larger is refused with the reason;
docs/security.md lists the same limits.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from timeline_workers.answers.json_questions import MAX_ANSWERS
from timeline_workers.columns.event_batch import Positions
from timeline_workers.errors import ExpressionError, MetricError, QuestionError, StateError
from timeline_workers.events.decode import Decoder
from timeline_workers.events.rules import Limits
from timeline_workers.language import lexicon, nesting
from timeline_workers.language.parser import parse
from timeline_workers.metric import size_limits
from timeline_workers.metric.load import load_metric
from timeline_workers.metric.model import Metric
from timeline_workers.metric.size_limits import refuse_oversized
from timeline_workers.plan import physical as plans
from timeline_workers.plan.physical import plan
from timeline_workers.wire import encoding
from workflows.durable.question_bounds import check_question

DOCUMENT = (Path(__file__).parents[2] / "docs" / "security.md").read_text(encoding="utf-8")
EVENTS = Limits()


def refusal(payload: bytes) -> str | None:
    """The reason for which an event is refused; None when it is accepted."""
    decoder = Decoder(key="k", time="t", columns=["a"])
    rejects = decoder.decode([payload], Positions.in_input(0, 1)).rejects
    return rejects[0].reason if rejects else None


def event(key: int = 1, string: int = 1, whole: int | None = None) -> bytes:
    """An event with a key and a string of so many bytes, filled up to ``whole`` bytes."""
    made = b'{"k":"%s","t":1,"a":"%s"}' % (b"k" * key, b"x" * string)
    return made if whole is None else made[:-1] + b" " * (whole - len(made)) + b"}"


@pytest.mark.parametrize(
    ("largest", "larger"),
    [
        (event(whole=EVENTS.event_bytes), event(whole=EVENTS.event_bytes + 1)),
        (event(key=EVENTS.key_bytes), event(key=EVENTS.key_bytes + 1)),
        (event(string=EVENTS.string_bytes), event(string=EVENTS.string_bytes + 1)),
    ],
)
def test_a_too_large_event_is_a_dead_letter(largest: bytes, larger: bytes) -> None:
    """The event, its key and its strings: at the limit it is accepted, a byte more is ``too-large``."""
    assert refusal(largest) is None
    assert refusal(larger) == "too-large"


def metric(**changes: Any) -> Metric:
    source = {"topic": "events", "key": "id", "time": "t", **changes.pop("source", {})}
    whole = {"name": "m", "source": source, "expression": "latest_event_to_state(c0)", **changes}
    return Metric.model_validate(whole)


def columns(count: int) -> dict[str, Any]:
    return {"source": {"columns": {f"c{i}": "string" for i in range(count)}}}


def column(name: str, path: str = "p") -> dict[str, Any]:
    return {"source": {"columns": {name: {"type": "int", "path": path}}}}


LONG, YEARS = "é" * (size_limits.NAME_BYTES // 2), lexicon.MAX_WINDOW


@pytest.mark.parametrize(
    ("largest", "larger", "said"),
    [
        (columns(size_limits.MAX_COLUMNS), columns(size_limits.MAX_COLUMNS + 1), "501 columns are declared"),
        (column(LONG), column(LONG + "x"), "the name of column 1: .* has 257 bytes, and 256"),
        (column("c0", LONG), column("c0", LONG + "x"), "the path of column 1"),
        ({"source": {"key": LONG}}, {"source": {"key": LONG + "x"}}, r"source\.key"),
        ({"source": {"time": LONG}}, {"source": {"time": LONG + "x"}}, r"source\.time"),
        ({"source": {"topic": LONG}}, {"source": {"topic": LONG + "x"}}, r"source\.topic"),
        ({"description": "x" * 4_096}, {"description": "x" * 4_097}, "description: it has 4,097 bytes"),
        ({"retention": YEARS}, {"retention": YEARS + 1}, "retention: it is longer than 10,000 years"),
        (
            {"source": {"allowed_lateness": YEARS}},
            {"source": {"allowed_lateness": YEARS + 1}},
            r"source\.allowed_lateness",
        ),
        ({}, {"description": "\ud800"}, "description: it has half of a surrogate pair"),
    ],
)
def test_a_too_large_part_of_a_metric_is_refused(
    largest: dict[str, Any], larger: dict[str, Any], said: str
) -> None:
    """Columns, names, paths, descriptions and durations, each at its limit and one beyond."""
    refuse_oversized(metric(**largest))
    with pytest.raises(MetricError, match=said):
        refuse_oversized(metric(**larger))


def test_a_metric_file_that_is_too_large_is_refused() -> None:
    """The size of the file, and that of its parts, are looked at when it is read."""
    text = "name: m\nsource: {topic: e, key: k, time: t}\nexpression: has_existed(flag)\n"
    filled = text + "#" * (size_limits.METRIC_FILE_BYTES - len(text))
    assert load_metric(filled) == load_metric(text)
    with pytest.raises(MetricError, match="262,145 characters, and 262,144 are the most"):
        load_metric(filled + "#")
    with pytest.raises(MetricError, match="description"):
        load_metric(text + f"description: {'x' * 5_000}\n")


def chain(count: int, operator: str = "||") -> str:
    return f" {operator} ".join(f'latest_event_to_state(c) == "{i}"' for i in range(count))


def test_expressions_that_are_too_large_are_refused() -> None:
    """Its characters, its levels, and its length when it is written out on workers."""
    padded = "has_existed(flag)".ljust(lexicon.MAX_LENGTH)
    parse(padded)
    with pytest.raises(ExpressionError, match="65536 are the most"):
        parse(padded + " ")
    parse(chain(nesting.MAX_DEPTH - 2))
    with pytest.raises(ExpressionError, match="nests deeper than 100 levels"):
        parse(chain(nesting.MAX_DEPTH + 1))
    long = 'latest_event_to_state(c) == "{}"'
    room = plans.MAX_LENGTH - len(long) + 2
    plan(metric(expression=long.format("x" * room)))
    with pytest.raises(MetricError, match="16,385 characters when written out, and 16,384 are the most"):
        plan(metric(expression=long.format("x" * (room + 1))))


def test_graphs_that_are_too_large_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nodes of a metric, and its workers over all partitions."""
    nodes = len(plan(metric(expression=chain(5))).nodes)
    monkeypatch.setattr(plans, "MAX_NODES", nodes)  # a thousand take longer than the limit is worth
    plan(metric(expression=chain(5)))
    with pytest.raises(MetricError, match="are the most that one may have; split it"):
        plan(metric(expression=chain(6)))
    most = plans.MAX_WORKERS // nodes
    plan(metric(expression=chain(5), source={"partitions": most}))
    with pytest.raises(MetricError, match="give its source at most"):
        plan(metric(expression=chain(5), source={"partitions": most + 1}))
    with pytest.raises(ValueError, match="4096"):
        metric(source={"partitions": 4_097})


def test_questions_that_ask_too_much_are_refused() -> None:
    """More answers than a reply can hold."""
    check_question({"keys": ["a"] * (MAX_ANSWERS // 2), "at": [1, 2]}, "s")
    with pytest.raises(QuestionError, match="more than one reply can hold"):
        check_question({"keys": ["a"] * (MAX_ANSWERS // 2 + 1), "at": [1, 2]}, "s")


def test_messages_that_are_too_large_are_refused() -> None:
    """More bytes than may be read again are not packed; more rows than that are not unpacked."""
    with pytest.raises(StateError, match="67,108,864 are the most"):
        encoding.pack({"it": bytes(encoding.MESSAGE_BYTES)}, encoding.MESSAGE_BYTES)
    rows = [encoding.MESSAGE_ROWS, 0, 0, 7, b""]
    assert len(encoding.unpack_ints(rows, encoding.MESSAGE_ROWS)) == encoding.MESSAGE_ROWS
    with pytest.raises(StateError, match="0 to 4,194,304 can be read"):
        encoding.unpack_ints([encoding.MESSAGE_ROWS + 1, *rows[1:]], encoding.MESSAGE_ROWS)


@pytest.mark.parametrize(
    ("of", "limit"),
    [
        ("an event", EVENTS.event_bytes),
        ("a key", EVENTS.key_bytes),
        ("a string in a column", EVENTS.string_bytes),
        ("a metric file", size_limits.METRIC_FILE_BYTES),
        ("declared columns of a source", size_limits.MAX_COLUMNS),
        ("the name of a column, its path, the topic, the paths of key and time", size_limits.NAME_BYTES),
        ("a description", size_limits.DESCRIPTION_BYTES),
        ("an expression", lexicon.MAX_LENGTH),
        ("an expression on workers, written out", plans.MAX_LENGTH),
        ("levels of an expression", nesting.MAX_DEPTH),
        ("nodes of a metric", plans.MAX_NODES),
        ("workers of a metric", plans.MAX_WORKERS),
        ("partitions of a source", 4_096),
        ("answers to one question", MAX_ANSWERS),
        ("a message between workers, before compression", encoding.MESSAGE_BYTES),
        ("the state of a worker, before compression", encoding.STATE_BYTES),
    ],
)
def test_the_document_says_what_the_limits_are(of: str, limit: int) -> None:
    """docs/security.md lists each limit with its number."""
    found = re.search(rf"^\| {re.escape(of)} \| ([\d,]+)\b", DOCUMENT, re.MULTILINE)
    assert found is not None, of
    assert int(found[1].replace(",", "")) == limit
