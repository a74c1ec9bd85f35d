"""The workflow in which metrics are registered."""

from __future__ import annotations

from collections.abc import Iterator

from workflows.messages import CATALOG_ID
from workflows.registry import CATALOG

from .condition import Condition
from .look import Applied, Look


def check(look: Look, applied: Applied) -> Iterator[Condition]:
    """Whether the catalog was ended by hand: a feeder that starts then knows of no metric."""
    if look.catalog is not None:
        yield Condition("down", f"{look.catalog}; {CATALOG.restarted}", CATALOG_ID)
