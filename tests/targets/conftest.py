"""Fixtures: servers of this run; what cannot be had is skipped, and one line says why."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from deploy.cluster_server import ClusterUnavailableError
from tests.history.stores import postgres_server

from .receivers import NoAlertmanagerError, alertmanager


@pytest.fixture(scope="session")
def alertmanager_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Debian's Alertmanager."""
    with ExitStack() as stack:
        try:
            url = stack.enter_context(alertmanager(tmp_path_factory.mktemp("alertmanager")))
        except NoAlertmanagerError as error:
            pytest.skip(str(error))
        yield url


@pytest.fixture(scope="session")
def postgres_url() -> Iterator[str]:
    """A PostgreSQL server."""
    with ExitStack() as stack:
        try:
            url = stack.enter_context(postgres_server())
        except ClusterUnavailableError as error:
            pytest.skip(str(error))
        yield url
