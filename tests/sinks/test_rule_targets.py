"""Rules and the targets that they name: which rules are refused."""

from __future__ import annotations

import pytest
from temporalio.exceptions import ApplicationError

from tests.workflows.cluster import TASK_QUEUE, cluster
from timeline_workers.alerts.rule_files import load_rule
from timeline_workers.client import TimelineClient
from timeline_workers.errors import Code, UnknownNameError
from timeline_workers.metric.model import Metric
from timeline_workers.targets.target_files import load_target
from workflows.catalog.catalog_client import call_catalog
from workflows.messages import CATALOG_ID, CatalogEntry, CatalogState, RegisterResult

pytestmark = pytest.mark.integration
RULE = """
kind: alert
name: r
source: {topic: t, key: k, time: t}
expression: has_existed(x)
"""


def rule(*to: str, **more: str) -> Metric:
    loaded = load_rule(RULE)
    return loaded.model_copy(update={"to": to, **more}).metric


async def test_a_rule_names_targets_that_are_there() -> None:
    """A target is applied first; until then nothing of the rule is registered, and its error says so."""
    async with cluster() as temporal:
        client = TimelineClient(temporal)
        with pytest.raises(
            UnknownNameError, match="known: none; make one known with `timeline apply"
        ) as none:
            await client.apply(rule("pager"))
        assert none.value.code is Code.UNKNOWN_TARGET
        await client.apply_target(load_target({"kind": "target", "name": "pager", "what": "stdout"}))
        with pytest.raises(UnknownNameError, match="did you mean 'pager'\\?\nApply a target before") as near:
            await client.apply(rule("pager", "pagr"))
        assert near.value.code is Code.UNKNOWN_TARGET
        with pytest.raises(UnknownNameError, match="rule 'r': to: there is no target 'pagr'"):
            await client.preview(rule("pagr"))
        with pytest.raises(ApplicationError, match="there is no target 'pagr'"):
            await call_catalog(temporal, "register", rule("pagr"), RegisterResult)
        assert await client.metrics() == []
        assert (await client.apply(rule("pager"))).outcome == "new"


async def test_a_rule_that_is_there_goes_on() -> None:
    """An earlier release has registered it without its target: it is applied again as it is, and in other
    words; it may name no further target that is not there.
    """
    async with cluster() as temporal:
        client = TimelineClient(temporal)
        await temporal.start_workflow(
            "MetricCatalog",
            CatalogState(version=1, entries=(CatalogEntry(metric=rule("lost"), generation=1),)),
            id=CATALOG_ID,
            task_queue=TASK_QUEUE,
        )
        assert (await client.apply(rule("lost"))).outcome == "unchanged"
        assert (await client.apply(rule("lost", title="{{ key }}"))).outcome == "replaced"
        with pytest.raises(UnknownNameError, match="there is no target 'pager'"):
            await client.apply(rule("lost", "pager"))
        assert (await client.apply(rule())).outcome == "replaced"
        with pytest.raises(UnknownNameError, match="there is no target 'lost'"):
            await client.apply(rule("lost"))
