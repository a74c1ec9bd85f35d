"""Refusals of workflows reach who asked with their codes; whoever sends only words is understood."""

from __future__ import annotations

import asyncio

import pytest
from temporalio.exceptions import ApplicationError

from tests.workflows.cluster import (
    apply,
    cluster,
    feed,
    metric,
    result_workers,
    until_everything_arrived,
    worked_example,
)
from timeline_workers import errors
from timeline_workers.errors import Code, MetricError, QuestionError, UnknownNameError
from workflows.client import ask
from workflows.client.client_errors import refuse
from workflows.durable import refusal_codes

BUFFERING = metric("buffering", 'duration_where(latest_event_to_state(playerStateChange) == "buffer")', 1)


@pytest.mark.integration
async def test_a_refused_question_comes_with_its_code(monkeypatch: pytest.MonkeyPatch) -> None:
    """The codes are those of the failure, not of its words: nobody reads these here."""
    monkeypatch.setattr("workflows.durable.refusal_codes.code_in_words", lambda said: Code.FAILED)
    async with asyncio.timeout(60), cluster() as client:
        await apply(client, BUFFERING)
        await feed(client, BUFFERING, worked_example())
        await until_everything_arrived(client, BUFFERING, worked_example())
        (result,) = result_workers(BUFFERING)
        for question, kind, code in (
            ({"key": "s2", "at": 1}, UnknownNameError, Code.UNKNOWN_KEY),
            ({"keys": ["s1"] * 20_001, "at": 1}, QuestionError, Code.TOO_LARGE),
            ({"key": "s1", "at": "soon"}, QuestionError, Code.WRONG_QUESTION),
            ({"key": "s1", "at": 1, "node": "n"}, QuestionError, Code.UNKNOWN_NODE),
        ):
            with pytest.raises(kind) as refused:
                await ask.ask_worker(client, result, "value_at", question)
            assert refused.value.code is code
        with pytest.raises(UnknownNameError) as unknown:
            await ask.ask_worker(client, "nobody", "status")
        assert unknown.value.code is Code.NOT_RUNNING
        with pytest.raises(UnknownNameError, match="did you mean 'buffering'") as unknown:
            await ask.delete(client, "bufering")
        assert unknown.value.code is Code.UNKNOWN_METRIC


@pytest.mark.parametrize(
    ("said", "code"),
    [
        ("no key 's2'; did you mean 's1'?", Code.UNKNOWN_KEY),
        ("no group 'a': there are none, as there was no valid event", Code.UNKNOWN_KEY),
        (
            "no key 'a'; there are 'b'; it may have left for w.archive-0 to w.archive-0",
            Code.KEY_MAY_HAVE_LEFT,
        ),
        ("'a' is not among the keys that left w.p0 for here", Code.KEY_NOT_IN_ARCHIVE),
        ("the answer has 2 bytes, more than one reply can hold (1)", Code.TOO_LARGE),
        ("worker w.p0 is fetching its state; ask again in a moment", Code.NOT_READY),
        ("at is missing; a question here is JSON", Code.WRONG_QUESTION),
    ],
)
def test_words_of_earlier_releases_are_understood(said: str, code: Code) -> None:
    """A worker that sends no code is known by what it says."""
    assert refusal_codes.code_and_words(said) == (code, said)
    sent = refusal_codes.refused_question(QuestionError(said), code=Code.NOT_KEPT)
    assert refusal_codes.code_and_words(sent.message) == (Code.NOT_KEPT, said)


def test_a_refused_update_keeps_its_class_and_code() -> None:
    """What the catalog refuses is raised as it was there, through the driver, too."""
    sent = refusal_codes.refusal(MetricError("source 'a' is named", code=Code.SOURCE_IN_USE))
    with pytest.raises(MetricError, match="is named") as refused:
        refuse(refusal_codes.passed_on(sent))
    assert refused.value.code is Code.SOURCE_IN_USE


def test_an_unknown_code_is_no_code() -> None:
    """A later release may send codes that this one does not know: the class of the error is left."""
    with pytest.raises(QuestionError) as refused:
        refuse(ApplicationError("new", {"code": "of-tomorrow"}, type="QuestionError"))
    assert refused.value.code is Code.WRONG_QUESTION
    assert refusal_codes.code_and_words("new [of-tomorrow]") == (Code.WRONG_QUESTION, "new")


def test_every_error_has_a_code() -> None:
    """Errors that say nothing else have the code of their class, or of the one that it is a kind of."""
    classes = [one for one in vars(errors).values() if isinstance(one, type)]
    codes = [vars(one)["usual_code"] for one in classes if "usual_code" in vars(one)]
    assert len(codes) == len(set(codes)) > 10
    assert errors.StateError("x").code is Code.UNREADABLE_STATE
