"""The brokers that integration tests run on: the embedded one, and a real Apache Pulsar broker.

The real one is started once for all tests, where Java and its distribution can be had. TIMELINE_TEST_BROKERS
names those to use: ``embedded``, ``pulsar``, or both (``embedded,pulsar``, the default). Where a real broker
cannot be had, its tests are skipped and one line at the end says why; when it is asked for alone, they fail.
Tests marked `long_on_pulsar` run on it only when the variable names it.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from deploy.pulsar_archive import PulsarUnavailableError
from deploy.pulsar_standalone import Broker, standalone

VARIABLE = "TIMELINE_TEST_BROKERS"
EMBEDDED, PULSAR = "embedded", "pulsar"
_missing: list[str] = []


def chosen() -> list[str]:
    """The brokers to test with. Raises pytest.UsageError for one that there is not."""
    names = [name.strip() for name in os.environ.get(VARIABLE, "").split(",") if name.strip()]
    if unknown := set(names) - {EMBEDDED, PULSAR}:
        raise pytest.UsageError(f"{VARIABLE}: {unknown.pop()!r} is neither {EMBEDDED} nor {PULSAR}")
    return names or [EMBEDDED, PULSAR]


@pytest.fixture(scope="session")
def pulsar_broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    """The real broker of this test run, which tests share: they use topics of their own."""
    brokers = chosen()
    if PULSAR not in brokers:
        pytest.skip(f"{VARIABLE} leaves the real Pulsar broker out")
    with ExitStack() as stack:
        try:
            broker = stack.enter_context(standalone(tmp_path_factory.mktemp("pulsar")))
        except PulsarUnavailableError as error:
            if brokers == [PULSAR]:
                raise
            _missing.append(str(error))
            pytest.skip(str(error))
        yield broker


@pytest.fixture(scope="module", params=[EMBEDDED, PULSAR])
def broker(request: pytest.FixtureRequest) -> Broker | None:
    """Each broker in turn, for ``running_stack``: None is the embedded one."""
    if request.param == PULSAR:
        found: Broker = request.getfixturevalue("pulsar_broker")
        return found
    if EMBEDDED not in chosen():
        pytest.skip(f"{VARIABLE} leaves the embedded broker out")
    return None


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Leave long tests to the embedded broker unless the real one is named."""
    called = getattr(item, "callspec", None)
    on_pulsar = called is not None and called.params.get("broker") == PULSAR
    if on_pulsar and item.get_closest_marker("long_on_pulsar") and not os.environ.get(VARIABLE):
        pytest.skip(f"long; {VARIABLE}=pulsar runs it on a real broker")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say in one line why nothing ran on a real broker."""
    for reason in _missing[:1]:
        terminalreporter.write_line(f"not tested on a real Pulsar broker: {reason}", yellow=True)
