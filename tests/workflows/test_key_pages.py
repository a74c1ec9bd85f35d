"""Listing all keys of a worker, page by page."""

from __future__ import annotations

from typing import Any, cast

import pytest
from temporalio.client import Client

from timeline_workers.answers import json_questions
from timeline_workers.columns.key_table import Key
from timeline_workers.errors import QuestionError
from workflows.client import ask_keys
from workflows.client.ask_worker import TooLargeError
from workflows.durable.question_bounds import check_question, check_reply


@pytest.mark.parametrize(
    "keys",
    [
        [],
        ["a", 7, "7"],
        [f"{i:05}" for i in range(25_000)],
        [f"{i:05}{'x' * 900}" for i in range(5_000)],
        [*(f"{i}" for i in range(3_000)), *(f"{i}{'é' * 500}" for i in range(4_000))],
    ],
    ids=["none", "few", "many", "long", "long-at-the-end"],
)
async def test_every_key_is_listed_once_however_long_they_are(
    keys: list[Key], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A page that is more than one reply can hold is asked for in halves."""

    async def worker(_: Client, __: str, query: str, question: dict[str, Any]) -> Any:
        assert query == "keys"
        try:
            return check_reply(json_questions.page(keys, check_question(question, "us")))
        except QuestionError as error:
            raise TooLargeError(str(error)) from error

    monkeypatch.setattr(ask_keys, "ask_worker", worker)
    assert await ask_keys._keys_of(cast(Client, None), "a worker") == keys
