"""A few seconds of each fuzzer; ``python -m tests.fuzz`` runs more of them."""

from __future__ import annotations

import subprocess
import sys
from random import Random

import pytest
from hypothesis import given, settings, strategies as st

from tests.fuzz.findings import fail
from tests.fuzz.targets import SHARES, TARGETS

# What each must be able to bring about: else it would fuzz nothing.
OUTCOMES = {
    "parser": {"parsed", "refused"},
    "metric": {"planned", "read, and refused by the plan", "refused"},
    "event": {"accepted", "refused: malformed-json", "refused: too-large", "refused: wrong-type"},
    "leaf": {"changed on the way: refused", "forged: refused", "forged: well formed"},
    "edge": {"changed on the way: refused", "forged: refused", "forged: well formed"},
    "state": {"changed on the way: refused", "forged: refused", "forged: well formed"},
    "inbox": {"entries", "refused"},
    "box": {"the same content", "refused"},
}


@pytest.mark.parametrize("target", list(TARGETS))
@settings(max_examples=25)
@given(rng=st.randoms(use_true_random=True))
def test_every_input_is_accepted_as_it_is_or_refused(target: str, rng: Random) -> None:
    """Whatever the input, nothing but the documented errors is raised, and what is accepted is what was said;
    every input has one outcome.
    """
    assert sum(TARGETS[target](rng, 20, fail).values()) == 20


@pytest.mark.parametrize("target", list(TARGETS))
def test_a_fuzzer_reaches_both_sides(target: str) -> None:
    """Among a fixed thousand inputs some are accepted, and some are refused."""
    seen = TARGETS[target](Random(1), 1_000, fail)
    assert sum(seen.values()) == 1_000
    assert seen.keys() >= OUTCOMES[target]


def test_the_program_accounts_for_every_input() -> None:
    """``python -m tests.fuzz`` judges as many inputs as it was told to, and the same seed gives the same
    outcomes.
    """
    command = [sys.executable, "-m", "tests.fuzz", "--inputs", "1000", "--seed", "7"]
    runs = [subprocess.run(command, capture_output=True, text=True, check=True).stdout for _ in range(2)]
    assert '"judged": 1000, "findings": 0' in runs[0]
    counts = [[line for line in run.splitlines() if line.startswith("  ")] for run in runs]
    assert counts[0] == counts[1]
    assert counts[0]
    assert SHARES.keys() == TARGETS.keys()
