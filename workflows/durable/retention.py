"""The namespace's retention of closed runs, and whether that is long enough for us."""

from __future__ import annotations

from datetime import timedelta

import structlog
from temporalio.api.workflowservice.v1 import DescribeNamespaceRequest
from temporalio.client import Client
from temporalio.service import RPCError

# A state of more than 448 KiB is fetched from the history of the run before. When no worker process runs for
# longer than the retention just then, it is gone.
SHORTEST = timedelta(days=1)
_log = structlog.get_logger(__name__)


async def warn_of_short_retention(client: Client) -> None:
    """Log a warning when the namespace keeps closed runs for less than ``SHORTEST``; never fails."""
    try:
        described = await client.workflow_service.describe_namespace(
            DescribeNamespaceRequest(namespace=client.namespace), timeout=timedelta(seconds=5)
        )
    except RPCError as error:
        _log.warning(
            "cannot read the namespace's retention of closed runs",
            namespace=client.namespace,
            error=str(error),
        )
        return
    kept = described.config.workflow_execution_retention_ttl.ToTimedelta()
    # Zero: for ever, or a server that does not say.
    if timedelta(0) < kept < SHORTEST:
        _log.warning(
            "the namespace's retention of closed runs is short: a large state is handed over in the history "
            "of the run that ended, and is lost when no worker process runs for so long",
            namespace=client.namespace,
            retention=str(kept),
            at_least=str(SHORTEST),
            fix=f"temporal operator namespace update --retention 72h -n {client.namespace}",
        )
