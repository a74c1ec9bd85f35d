"""Hypothesis profiles, chosen by HYPOTHESIS_PROFILE (``default``, ``thorough`` and ``smoke``), and which
tests share a process when there are several.

Tests marked ``long`` are further variants of tests that always run, as other releases, brokers or seeds; they
are skipped unless TIMELINE_TEST_LONG is set, and one line at the end says how many.
"""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

# No deadline: nothing here is timed. The blob reproduces a failure seen on another machine.
_common = {"deadline": None, "print_blob": True, "suppress_health_check": [HealthCheck.too_slow]}
settings.register_profile("default", settings(max_examples=200, **_common))  # type: ignore[arg-type]
settings.register_profile("thorough", settings(max_examples=20_000, **_common))  # type: ignore[arg-type]
settings.register_profile("smoke", settings(max_examples=30, **_common))  # type: ignore[arg-type]
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "default"))


LONG = "TIMELINE_TEST_LONG"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with tests that need servers: they take longest."""
    items.sort(
        key=lambda item: (not _needs_pulsar(item.nodeid), item.get_closest_marker("integration") is None)
    )


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip long tests unless they are asked for."""
    if item.get_closest_marker("long") and not os.environ.get(LONG):
        pytest.skip(f"long; {LONG}=1 runs it")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say in one line how many long tests were left out."""
    skipped = [r for r in terminalreporter.stats.get("skipped", []) if "long; " in str(r.longrepr)]
    if skipped:
        terminalreporter.write_line(
            f"{len(skipped)} long tests were not run; {LONG}=1 runs them", yellow=True
        )


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Keep the tests of a file in one process, for the servers they share; and all that need the real Pulsar
    broker, which is started once a process.
    """
    from xdist.scheduler import LoadScopeScheduling

    class ByServers(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return "pulsar" if _needs_pulsar(nodeid) else nodeid.partition("::")[0]

    return ByServers(config, log)


def _needs_pulsar(nodeid: str) -> bool:
    file, _, test = nodeid.partition("::")
    return "[pulsar" in test or file in _files_for_pulsar()


@cache
def _files_for_pulsar() -> frozenset[str]:
    top = Path(__file__).parents[1]
    return frozenset(
        str(path.relative_to(top))
        for path in (top / "tests/integration").glob("test_*.py")
        if "pulsar_broker" in path.read_text(encoding="utf-8")
    )
