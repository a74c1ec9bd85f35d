"""Texts of messages: what a template sees, and what one that fails comes to."""

from __future__ import annotations

from typing import Any

import pytest

from timeline_workers.alerts.episodes import Message
from timeline_workers.alerts.message_text import (
    MOST_CHARACTERS,
    TEXT,
    TITLE,
    WORDS,
    rendered,
    template_problem,
)

FIRE = Message(
    kind="fire",
    rule="stalled",
    key="s1",
    episode="stalled/s1/5000000",
    seq=1,
    start=5_000_000,
    as_of=65_000_000,
)


def changed(**fields: Any) -> Message:
    return Message(**{name: getattr(FIRE, name) for name in FIRE.__struct_fields__} | fields)


@pytest.mark.parametrize(
    ("message", "text"),
    [
        (FIRE, "x\nTrue since 1970-01-01 00:00:05+00:00, for 0:01:00."),
        (
            changed(kind="resolve", end=35_000_000),
            "x\nTrue from 1970-01-01 00:00:05+00:00 to 1970-01-01 00:00:35+00:00, for 0:00:30.",
        ),
        (
            changed(kind="withdraw"),
            "x\nLate data corrected it: it was not true at 1970-01-01 00:00:05+00:00.",
        ),
        (changed(kind="merged", into="stalled/s1/1"), "x\nIt is part of stalled/s1/1."),
    ],
)
def test_the_plain_text_says_each_kind(message: Message, text: str) -> None:
    assert rendered(TEXT, message, {"expression": "x"}) == text
    assert rendered(TITLE, message) == f"stalled: s1 {message.kind}"


def test_a_template_sees_every_word() -> None:
    template = " ".join(f"{{{{ {word} }}}}" for word in WORDS)
    assert template_problem(template) == ""
    assert "the template fails" not in rendered(template, FIRE)


@pytest.mark.parametrize(
    "template",
    [
        "{{ key.__class__ }}",
        "{{ 1 // 0 }}",
        "{{ key + 1 }}",
        "{{ rule.nothing.at_all }}",
        "{{ ''.__class__.__mro__ }}",
        "{% for i in range(10 ** 9) %}x{% endfor %}",
    ],
)
def test_a_template_that_fails_says_why(template: str) -> None:
    """What was to be told is there all the same; nothing of the process is."""
    assert rendered(template, FIRE).startswith("stalled/s1/5000000 fire (the template fails: ")


def test_a_long_text_is_cut() -> None:
    text = rendered("{% for i in range(90000) %}{{ rule }}{% endfor %}", FIRE)
    assert len(text) == MOST_CHARACTERS
    assert text.endswith("…")
