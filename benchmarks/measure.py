"""Measuring contenders: in turns, each time in a process of its own, its answers held against the engine's.

A turn runs every contender once, so that what disturbs the machine for a while disturbs all alike. A peer
whose environment cannot be made, or whose run fails, is left out with one line; one that answers wrongly
ends the benchmark, for a wrong peer is no peer.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from timeline_workers.errors import TimelineError
from timeline_workers.servers.embedded.embedded_servers import guarded

from . import workloads
from .peers import PEERS, PeerUnavailableError
from .report import Result

ROOT = Path(__file__).resolve().parent.parent
RUN_SECONDS = 1_800
GRACE_SECONDS = 30.0
_THREADS = ("POLARS_MAX_THREADS", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
SINGLE = dict.fromkeys(_THREADS, "1")
Tell = Callable[[str], object]


class WrongAnswerError(TimelineError):
    """A contender's answers are not the engine's."""


class FailedRunError(TimelineError):
    """A contender's process failed: its last line."""


@dataclass(frozen=True, slots=True)
class Contender:
    """``module``: of ``benchmarks.contenders``; ``peer``: the environment it runs in, None for ours;
    ``most``: how many events it is given at most, being slow; ``covers``: what its time covers.
    """

    name: str
    module: str
    covers: str
    peer: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    most: int | None = None

    def events(self, whole: int) -> int:
        """How many of ``whole`` events it is given."""
        return whole if self.most is None else min(whole, self.most)


class Outcome(msgspec.Struct):
    """What a contender's process leaves. ``notes``: what else it has measured, by what it is."""

    seconds: float
    cpu_seconds: float
    notes: dict[str, float]


def available(contenders: Sequence[Contender], tell: Tell) -> list[Contender]:
    """Those whose environment is there or can be made; ``tell`` hears in one line of each that is not."""
    found, missing = [], set()
    for contender in contenders:
        if contender.peer in missing:
            continue
        try:
            if contender.peer is not None:
                PEERS[contender.peer].ensure(tell)
        except PeerUnavailableError as error:
            missing.add(contender.peer)
            tell(f"left out: {error}")
        else:
            found.append(contender)
    return found


def one_core() -> int | None:
    """The core that contenders are bound to: the last of ours; None where binding is unknown."""
    return max(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else None


def compare(
    data: workloads.Shares,
    contenders: Sequence[Contender],
    *,
    runs: int,
    tell: Tell,
    core: int | None,
    environment: Mapping[str, str] | None = None,
) -> list[Result]:
    """Run each contender ``runs`` times over ``data``, or its share of it, in turns, bound to ``core``.

    Raises WrongAnswerError.
    """
    whole = data.events
    right: dict[int, NDArray[np.int64]] = {}
    results = {c.name: Result(c.name, c.events(whole), [], [], [], _covers(c, data)) for c in contenders}
    for turn in range(runs):
        for contender in contenders:
            if contender.name not in results:
                continue
            events = contender.events(whole)
            folder = data.of(events)
            try:
                outcome, answers = run(contender, folder, events, core, environment or {})
            except FailedRunError as error:
                tell(f"left out: {error}")
                del results[contender.name]
                continue
            if events not in right:
                right[events] = workloads.expected(folder, events)
            check(contender.name, answers, right[events])
            result = results[contender.name]
            result.seconds.append(outcome.seconds)
            result.cpu_seconds.append(outcome.cpu_seconds)
            result.notes.append(outcome.notes)
            tell(f"run {turn + 1} of {runs}: {contender.name} {outcome.seconds:.3f} s for {events:,} events")
    return list(results.values())


def _covers(contender: Contender, data: workloads.Shares) -> str:
    events = contender.events(data.events)
    share = "" if events == data.events else f"; a share of {data.keys_of(events):,} keys"
    return contender.covers + share


def run(
    contender: Contender, folder: Path, events: int, core: int | None, environment: Mapping[str, str]
) -> tuple[Outcome, NDArray[np.int64]]:
    """One run: what it took, and its answers. Raises FailedRunError."""
    python = sys.executable if contender.peer is None else str(PEERS[contender.peer].python)
    with tempfile.TemporaryDirectory(prefix="timeline-bench-") as scratch:
        job = Path(scratch, "job.json")
        asked = {"folder": str(folder), "events": events, "core": core, "out": scratch}
        job.write_text(json.dumps({**asked, "options": dict(contender.options)}))
        command = [python, "-m", f"benchmarks.contenders.{contender.module}", str(job)]
        code, said = _guarded(contender.name, command, {**SINGLE, **environment}, Path(scratch, "output"))
        left = Path(scratch, "outcome.json")
        if code or not left.exists():
            raise FailedRunError(f"{contender.name} failed with code {code}: {said[-1][:300]}")
        outcome = msgspec.json.decode(left.read_bytes(), type=Outcome)
        answers = np.fromfile(Path(scratch, "answers.bin"), np.int64)
    return outcome, answers


def _guarded(
    name: str, command: Sequence[str], environment: Mapping[str, str], output: Path
) -> tuple[int, list[str]]:
    """Run a command, which ends with this process however that ends; its exit code and what it said."""
    with output.open("wb") as out:
        process = subprocess.Popen(
            guarded(command, GRACE_SECONDS),
            cwd=ROOT,
            env={**os.environ, **environment},
            stdin=subprocess.PIPE,
            stdout=out,
            stderr=out,
        )
    try:
        code = process.wait(RUN_SECONDS)
    except subprocess.TimeoutExpired:
        raise FailedRunError(f"{name} took more than {RUN_SECONDS} s") from None
    finally:
        assert process.stdin is not None
        process.stdin.close()  # the guard's sign
        process.wait()
    return code, output.read_text(errors="replace").strip().splitlines() or ["(it said nothing)"]


def check(name: str, answers: NDArray[np.int64], right: NDArray[np.int64]) -> None:
    """Raises WrongAnswerError unless they are the same to the microsecond."""
    wrong = np.flatnonzero(answers != right)
    if len(wrong):
        first = int(wrong[0])
        raise WrongAnswerError(
            f"{name} is wrong about {len(wrong):,} of {len(right):,} keys; of key {first} it says "
            f"{answers[first]} and the engine {right[first]} microseconds"
        )
