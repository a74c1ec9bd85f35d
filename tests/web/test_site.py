"""The site of a web server: what is not there yet, and what goes on while parts are down."""

from __future__ import annotations

import asyncio
from typing import cast

import pytest

pytest.importorskip("fastapi")
from timeline_workers.client import TimelineClient
from timeline_workers.errors import ConnectionFailedError, HistoryError, UnknownNameError
from timeline_workers.history.model import Contents
from timeline_workers.history.store import HistoryStore
from timeline_workers.metric.model import Metric, Source
from timeline_workers.web import site as site_module
from timeline_workers.web.access import Access
from timeline_workers.web.failures import WebCode, WebError
from timeline_workers.web.site import AppliedNames, Site

METRIC = Metric(name="m", source=Source(topic="t", key="k", time="t"), expression="has_existed(x == 1)")


async def nobody() -> TimelineClient:
    raise ConnectionFailedError("nobody is there")


def test_no_store_and_one_that_is_down_differ() -> None:
    site = Site(nobody, Access())
    with pytest.raises(WebError) as refused:
        site.history()
    assert (refused.value.reason, site.has_history) == (WebCode.NO_HISTORY, False)
    site.store_down = "it does not answer"
    with pytest.raises(HistoryError, match="it does not answer"):
        site.history()
    assert site.has_history


async def test_names_outlive_the_catalog(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(site_module, "_FRESH_SECONDS", 0)
    answers: list[list[Metric] | None] = [None, [METRIC], None, []]

    async def metrics() -> list[Metric]:
        found = answers.pop(0)
        if found is None:
            raise ConnectionFailedError("nobody is there")
        return found

    names = AppliedNames(metrics)
    with pytest.raises(ConnectionFailedError):
        await names.metric("m")
    for _ in range(2):
        assert (await names.metric("m")).source == METRIC.source
    with pytest.raises(UnknownNameError):
        await names.metric("m")


async def test_a_fault_of_reading_gaps_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of gaps that are read behind a question's back, the next question hears."""
    monkeypatch.setattr(site_module, "_GAPS_SECONDS", -1)
    there = Contents(0, {}, frozenset(), None, [])
    answers: list[Contents | None] = [there, None, there]

    class Store:
        async def contents(self) -> Contents:
            found = answers.pop(0)
            if found is None:
                raise KeyError("a fault")
            return found

    site = Site(nobody, Access(), store=cast(HistoryStore, Store()))
    for _ in range(2):
        assert await site.gaps() == []
    assert site._reading is not None
    await asyncio.wait([site._reading])
    with pytest.raises(KeyError, match="a fault"):
        await site.gaps()
    assert await site.gaps() == []
