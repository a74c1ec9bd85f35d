"""Fixtures: each history store in turn. PostgreSQL is a real server of this run, or its tests are skipped."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from deploy.cluster_server import ClusterUnavailableError

from .stores import Fresh, postgres, postgres_server, sqlite, sqlite_in_tiny_blocks


@pytest.fixture(scope="session")
def postgres_address() -> Iterator[str]:
    """A PostgreSQL server for these tests."""
    pytest.importorskip("asyncpg", reason="asyncpg is not here: pip install -e '.[dev]'")
    with ExitStack() as stack:
        try:
            address = stack.enter_context(postgres_server())
        except ClusterUnavailableError as error:
            pytest.skip(str(error))
        yield address


@pytest.fixture(scope="session", params=["sqlite", "tiny", "postgres"])
def fresh(request: pytest.FixtureRequest) -> Fresh:
    """How an empty store of each kind is had."""
    if request.param != "postgres":
        return {"sqlite": sqlite, "tiny": sqlite_in_tiny_blocks}[request.param]
    return postgres(request.getfixturevalue("postgres_address"))
