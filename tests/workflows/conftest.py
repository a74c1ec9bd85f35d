"""Fixtures of the tests of workflows."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest_asyncio
from temporalio.client import Client

from tests.workflows.cluster import dev_server


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def client() -> AsyncIterator[Client]:
    """A client of a dev server without a worker process, for a module."""
    async with dev_server() as made:
        yield made
