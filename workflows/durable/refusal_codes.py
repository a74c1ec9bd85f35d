"""Words of workers that those who ask them look for: a question came too early, or to the wrong place."""

from __future__ import annotations

from temporalio.exceptions import ApplicationError

FETCHING_STATE = "is fetching its state"
LEFT = "it may have left"
UNKNOWN = ("no key ", "no group ")  # how the refusal of one begins
NOT_HERE = "is not among the keys that left"


def not_ready(workflow_id: str) -> ApplicationError:
    """The failure of a question that has come too early."""
    return ApplicationError(f"worker {workflow_id} {FETCHING_STATE}; ask again in a moment", type="NotReady")
