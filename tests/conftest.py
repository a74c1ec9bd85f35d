"""Hypothesis profiles, chosen by HYPOTHESIS_PROFILE (``default``, ``thorough`` and ``smoke``), and which
tests share a process when there are several.
"""

from __future__ import annotations

import os

import pytest
from hypothesis import HealthCheck, settings

# No deadline: nothing here is timed. The blob reproduces a failure seen on another machine.
_common = {"deadline": None, "print_blob": True, "suppress_health_check": [HealthCheck.too_slow]}
settings.register_profile("default", settings(max_examples=200, **_common))  # type: ignore[arg-type]
settings.register_profile("thorough", settings(max_examples=20_000, **_common))  # type: ignore[arg-type]
settings.register_profile("smoke", settings(max_examples=30, **_common))  # type: ignore[arg-type]
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "default"))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Keep the tests of a file in one process, for the servers they share; and those that need the real
    Pulsar broker, which is started once a process. Tests with servers come first: they take longest.
    """
    for item in items:
        group = "pulsar" if _needs_pulsar(item) else item.path.as_posix()
        item.add_marker(pytest.mark.xdist_group(group))
    items.sort(key=lambda item: (not _needs_pulsar(item), item.get_closest_marker("integration") is None))


def _needs_pulsar(item: pytest.Item) -> bool:
    called = getattr(item, "callspec", None)
    by_parameter = called is not None and called.params.get("broker") == "pulsar"
    return by_parameter or "pulsar_broker" in getattr(item, "fixturenames", ())
