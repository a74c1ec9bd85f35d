"""``KeyState``: what a reconciler knows of one key, and its conditions, as Kubernetes writes them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal as Choice, TypeAlias

import msgspec

from .calls import State

ConditionType: TypeAlias = Choice["Ready", "Reconciling", "Stalled", "Paused"]


class Condition(msgspec.Struct, frozen=True):
    """One condition: whether it ``holds``, why in a word (``reason``), and in a sentence."""

    type: ConditionType
    holds: bool
    reason: str
    message: str = ""


class KeyState(msgspec.Struct, array_like=True):
    """One key. Instants are microseconds.

    ``generation``: of the desired state, grows with each new one; ``observed``: the generation of the last
    call that succeeded; ``token``: of the last call; ``running_since``: when the one under way began, None:
    there is none; ``running``: the generation that it is for; ``failures``: failed calls since the last that
    succeeded, or since a newer state; ``lost``: calls of which nothing was heard again, likewise.

    ``dirty``: a call is owed, not before ``due``. ``wake``: without that, when to call again all the same,
    and ``patience``: for how long changes of other keys may come before it then. ``report``: what was seen of
    the world during a call. ``leaving``: the key is to be forgotten, after its finalizer; ``forced``: without
    it.
    """

    desired: State | None = None
    generation: int = 0
    observed: int = 0
    cache: bytes | None = None
    token: int = 0
    running_since: int | None = None
    running: int = 0
    finalizing: bool = False
    attempt: int = 0
    failures: int = 0
    lost: int = 0
    dirty: bool = False
    due: int = 0
    wake: int | None = None
    patience: int = 0
    error: str = ""
    waits: str = ""
    stalled: bool = False
    paused: bool = False
    leaving: bool = False
    forced: bool = False
    report: bytes | None = None
    again: bool = False

    @property
    def may_run(self) -> bool:
        """Whether a call may be made of it, once it is due: one that leaves is not held up by a pause."""
        return self.running_since is None and not self.stalled and (self.leaving or not self.paused)


def conditions(held: KeyState, all_paused: bool = False) -> Iterator[Condition]:
    """The four conditions of a key. ``all_paused``: every key is."""
    paused = held.paused or all_paused
    reconciling = held.running_since is not None or (held.dirty and not held.stalled)
    if held.stalled:
        yield Condition("Ready", False, "Stalled", held.error)
    elif held.leaving:
        yield Condition("Ready", False, "Finalizing", finalizer_waits(held))
    elif held.dirty or held.observed < held.generation:
        yield Condition("Ready", False, held.waits or "Pending", held.error)
    else:
        yield Condition("Ready", True, "Succeeded")
    reason = "Running" if held.running_since is not None else (held.waits or "Pending")
    yield Condition("Reconciling", reconciling, reason if reconciling else "Idle")
    yield Condition(
        "Stalled",
        held.stalled,
        "PermanentError" if held.stalled else "No",
        held.error if held.stalled else "",
    )
    yield Condition("Paused", paused, "Paused" if paused else "No")


def finalizer_waits(held: KeyState) -> str:
    """What the finalizer of a key that leaves waits for."""
    if held.running_since is not None:
        return "its finalizer is running" if held.finalizing else "a call that began before is running"
    if held.stalled:
        return f"its finalizer has failed for good ({held.error}): retry it, or delete it with --force"
    if held.failures or held.error:
        return f"its finalizer fails and is tried again: {held.error}"
    return "its finalizer waits for its turn"
