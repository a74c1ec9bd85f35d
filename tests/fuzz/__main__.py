"""``python -m tests.fuzz --inputs 1000000 [--seed N] [--only TARGET]``: fuzz by hand.

Prints how often each outcome was seen, and how long it took; the exit code is 1 when something was found that
must not be. The same seed makes the same inputs, whatever the number of them.
"""

from __future__ import annotations

import json
import random
import resource
import signal
import sys
import time
from collections import Counter
from typing import Annotated

import typer

from tests.fuzz.findings import FOUND, Finding
from tests.fuzz.targets import SHARES, TARGETS

CHUNK = 500
CHUNK_SECONDS = 120


def main(
    inputs: Annotated[int, typer.Option(min=1, help="How many inputs, over all targets.")] = 1_000_000,
    seed: Annotated[int | None, typer.Option(help="Seed of the inputs; drawn and printed without.")] = None,
    only: Annotated[list[str] | None, typer.Option(help="These targets only; may be repeated.")] = None,
) -> None:
    """Fuzz the parser, metric files, events, and everything that is decoded from bytes."""
    used = random.SystemRandom().randrange(2**32) if seed is None else seed
    print(f"seed {used}", flush=True)
    names = only or list(TARGETS)
    shares = {name: SHARES[name] for name in names}
    found = done = 0
    signal.signal(signal.SIGALRM, _stuck)
    for name in names:
        count = inputs * shares[name] // sum(shares.values())
        if name == names[-1]:
            count = inputs - done
        outcomes, findings, seconds = _fuzz(name, count, used)
        done += sum(outcomes.values())
        found += findings
        print(f"{name}: {count:,} inputs in {seconds:.0f} s, {findings} findings", flush=True)
        for outcome, seen in sorted(outcomes.items()):
            print(f"    {seen:>9,}  {outcome}", flush=True)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    print(json.dumps({"seed": used, "inputs": inputs, "judged": done, "findings": found, "peak_mib": peak}))
    sys.exit(1 if found or done != inputs else 0)


def _stuck(*_: object) -> None:
    raise TimeoutError(f"{CHUNK} inputs took over {CHUNK_SECONDS} s")


def _fuzz(name: str, count: int, seed: int) -> tuple[Counter[str], int, float]:
    began = time.monotonic()
    outcomes: Counter[str] = Counter()

    def report(finding: Finding) -> None:
        print(f"FOUND in {name}, inputs from {start}: {str(finding)[:1_500]}", flush=True)

    for start in range(0, count, CHUNK):
        signal.alarm(CHUNK_SECONDS)  # nothing may hang
        outcomes += TARGETS[name](random.Random(f"{seed}/{name}/{start}"), min(CHUNK, count - start), report)
        signal.alarm(0)
    return outcomes, outcomes[FOUND], time.monotonic() - began


if __name__ == "__main__":
    typer.run(main)
