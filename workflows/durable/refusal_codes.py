"""Codes in workers' refusals, for those who ask: a question came too early, or to the wrong place.

An update, or a driver, that refuses sends a failure: its type is the class of the error, its first detail
``{"code": …}``. Of a refused question nothing but the message gets to the client: Temporal's workers send no
more. So the message ends with the code, ``no key 's9'; did you mean 's1'? [unknown-key]``. Workers of
releases up to 0.4.0 send words only; ``code_in_words`` knows what they say.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from temporalio.exceptions import ApplicationError

from timeline_workers.errors import Code, TimelineError

FETCHING_STATE = "is fetching its state"
LEFT = "it may have left"
_CODED = re.compile(r"(?P<words>.*) \[(?P<code>[a-z][a-z-]*)\]", re.DOTALL)
# In this order: what says that a key may have left begins as any refusal of an unknown key does.
_WORDS = (
    (lambda said: "more than one reply can hold" in said, Code.TOO_LARGE),
    (lambda said: LEFT in said, Code.KEY_MAY_HAVE_LEFT),
    (lambda said: said.startswith(("no key ", "no group ")), Code.UNKNOWN_KEY),
    (lambda said: "is not among the keys that left" in said, Code.KEY_NOT_IN_ARCHIVE),
    (lambda said: FETCHING_STATE in said, Code.NOT_READY),
)


def refusal(error: TimelineError) -> ApplicationError:
    """The failure of an update or a workflow that refuses, for ``refuse`` of the client."""
    return ApplicationError(
        str(error), {"code": str(error.code)}, type=type(error).__name__, non_retryable=True
    )


def refused_question(
    error: TimelineError, *, said: str | None = None, code: Code | None = None
) -> ApplicationError:
    """The failure of a question, for ``code_and_words``; ``said`` and ``code`` in the place of its own."""
    return ApplicationError(
        f"{said or error} [{code or error.code}]", type=type(error).__name__, non_retryable=True
    )


def passed_on(error: ApplicationError) -> ApplicationError:
    """The same refusal, for who asked the one that asked; without what led to it."""
    return ApplicationError(error.message, *error.details, type=error.type, non_retryable=True)


def not_ready(workflow_id: str) -> ApplicationError:
    """The failure of a question that has come too early."""
    return ApplicationError(
        f"worker {workflow_id} {FETCHING_STATE}; ask again in a moment [{Code.NOT_READY}]", type="NotReady"
    )


def code_of(failure: ApplicationError) -> Code | None:
    """The code that a refusal came with; None for one of an earlier release, or of a later one's code."""
    about = failure.details[0] if failure.details else None
    try:
        return Code(about["code"]) if isinstance(about, Mapping) else None
    except (KeyError, ValueError):
        return None


def code_and_words(said: str) -> tuple[Code, str]:
    """Why a question was refused, from the message of its failure: the code, and the words without it."""
    if (found := _CODED.fullmatch(said)) is None:
        return code_in_words(said), said
    try:
        return Code(found["code"]), found["words"]
    except ValueError:
        return Code.WRONG_QUESTION, found["words"]  # a code of a later release


def code_in_words(said: str) -> Code:
    """The code of a refused question that came without one."""
    return next((code for fits, code in _WORDS if fits(said)), Code.WRONG_QUESTION)
