"""Search attributes that make workers findable in Temporal's UI and CLI (``TimelineMetric="cirr"``).

They are registered when first needed. On a cluster where we may not register them, workers run without: one
log line says so.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import structlog
from temporalio.api.enums.v1 import IndexedValueType
from temporalio.api.operatorservice.v1 import AddSearchAttributesRequest, ListSearchAttributesRequest
from temporalio.client import Client
from temporalio.common import SearchAttributeKey, SearchAttributePair, TypedSearchAttributes
from temporalio.service import RPCError, RPCStatusCode

from timeline_workers.plan.physical import WorkerSpec

METRIC = SearchAttributeKey.for_keyword_list("TimelineMetric")
NODE = SearchAttributeKey.for_keyword("TimelineNode")
OPERATOR = SearchAttributeKey.for_keyword("TimelineOperator")
PARTITION = SearchAttributeKey.for_keyword("TimelinePartition")

_TYPES = {
    METRIC.name: IndexedValueType.INDEXED_VALUE_TYPE_KEYWORD_LIST,
    NODE.name: IndexedValueType.INDEXED_VALUE_TYPE_KEYWORD,
    OPERATOR.name: IndexedValueType.INDEXED_VALUE_TYPE_KEYWORD,
    PARTITION.name: IndexedValueType.INDEXED_VALUE_TYPE_KEYWORD,
}
_log = structlog.get_logger(__name__)
_known: dict[tuple[str, str], bool] = {}


async def ensure_search_attributes(client: Client) -> bool:
    """Register what is missing; returns whether workers can be started with search attributes.

    Asked once per server and namespace in a process. A refusal is no error: it is logged and False is
    returned.
    """
    place = (client.service_client.config.target_host, client.namespace)
    if place not in _known:
        try:
            _known[place] = await _register(client)
        except RPCError as error:
            _log.warning(
                "search attributes cannot be registered; workers run without them",
                namespace=client.namespace,
                reason=error.message,
            )
            _known[place] = False
    return _known[place]


def give_up(client: Client) -> None:
    """Remember that the server does not take our search attributes."""
    _known[client.service_client.config.target_host, client.namespace] = False
    _log.warning(
        "the server does not accept our search attributes yet; workers run without them",
        namespace=client.namespace,
    )


async def _register(client: Client) -> bool:
    if not await _missing(client):
        return True
    try:
        await client.operator_service.add_search_attributes(
            AddSearchAttributesRequest(namespace=client.namespace, search_attributes=await _missing(client))
        )
    except RPCError as error:
        # Another process may have been faster.
        if error.status is not RPCStatusCode.ALREADY_EXISTS:
            raise
    for _ in range(50):
        if not await _missing(client):
            return True
        await asyncio.sleep(0.2)
    return False


async def _missing(client: Client) -> dict[str, IndexedValueType.ValueType]:
    listed = await client.operator_service.list_search_attributes(
        ListSearchAttributesRequest(namespace=client.namespace)
    )
    for name, kind in _TYPES.items():
        if name in listed.custom_attributes and listed.custom_attributes[name] != kind:
            raise RPCError(f"{name} exists with another type", RPCStatusCode.ALREADY_EXISTS, b"")
    return {name: kind for name, kind in _TYPES.items() if name not in listed.custom_attributes}


def worker_attributes(spec: WorkerSpec, metrics: Sequence[str]) -> TypedSearchAttributes:
    """The search attributes of one worker."""
    pairs: list[SearchAttributePair[str] | SearchAttributePair[Sequence[str]]] = [
        SearchAttributePair(NODE, spec.node.name),
        SearchAttributePair(OPERATOR, spec.node.operator),
        SearchAttributePair(PARTITION, spec.partition),
    ]
    if metrics:
        pairs.append(SearchAttributePair(METRIC, sorted(metrics)))
    return TypedSearchAttributes(pairs)
