"""The harness configures the process that it runs in; the tests that come after it must not see that."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest


@pytest.fixture(autouse=True)
def environment_as_before() -> Iterator[None]:
    """Restore the environment after a test."""
    before = dict(os.environ)
    yield
    os.environ.clear()
    os.environ.update(before)
