"""The client's side: applying and removing metrics, reading the catalog, asking workers.

Everything here raises ``timeline_workers.errors`` only: what is wrong, and what to do about it.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from datetime import timedelta
from typing import Any

from temporalio.client import Client, WorkflowExecutionStatus, WorkflowFailureError
from temporalio.common import WorkflowIDConflictPolicy, WorkflowIDReusePolicy
from temporalio.exceptions import ApplicationError, WorkflowAlreadyStartedError
from temporalio.service import RPCError, RPCStatusCode

from timeline_workers.answers.reader import Group, in_order
from timeline_workers.errors import (
    Code,
    ConnectionFailedError,
    MetricError,
    QuestionError,
    TimelineError,
    UnknownNameError,
)
from timeline_workers.language.parser import parse
from timeline_workers.language.suggestions import nearest
from timeline_workers.language.tree import Aggregate
from timeline_workers.metric.model import Metric
from timeline_workers.metric.size_limits import refuse_oversized
from timeline_workers.plan.physical import (
    NodeSpec,
    Plan,
    about,
    all_worker_names,
    all_workers,
    global_workers,
    is_global,
    partition_of,
    plan,
    worker_id,
    worker_name,
)
from timeline_workers.settings.timeline_settings import Settings
from workflows.catalog.catalog_activities import remove_metric
from workflows.catalog.catalog_workflow import unknown_metric
from workflows.catalog.entries import Unusable, plan_of, read_entries
from workflows.client.conditions.condition import Condition
from workflows.messages import CATALOG_ID, DRIVER_ID, CatalogEntry, DriverInput, DriverResult, RemoveResult
from workflows.registry import DRIVER

from .ask_keys import ask_key, ask_keys, holders, listed
from .ask_worker import (
    QUERY_TIMEOUT,
    TooLargeError as TooLargeError,
    ask_worker as ask_worker,
    gather as gather,
)
from .beneath import doubt_about, doubted
from .client_errors import clear_errors, has_workers as has_workers, refuse, while_somebody_works
from .queues import NO_WORKER, queue_of
from .start import MEMO_LENGTH, shortened

_ANSWERS_AT_ONCE = 2_000  # some 100 ms of a worker's time


# Metrics.


async def catalog(client: Client) -> tuple[list[CatalogEntry], list[Unusable]]:
    """Every registered metric that this release can read, by name, and the others."""
    async with clear_errors(client):
        try:
            raw: list[Any] = await while_somebody_works(
                client, client.get_workflow_handle(CATALOG_ID).query("metrics", rpc_timeout=QUERY_TIMEOUT)
            )
        except RPCError as error:
            if error.status is RPCStatusCode.NOT_FOUND:
                return [], []  # nobody has applied a metric yet
            raise
        return read_entries(raw)


async def registered(client: Client) -> list[CatalogEntry]:
    """Every registered metric that this release can read, by name."""
    return (await catalog(client))[0]


async def find_metric(client: Client, name: str) -> Metric:
    """The registered metric ``name``.

    Raises UnknownNameError with the nearest name, MetricError when it is registered and cannot be used.
    """
    entries, unusable = await catalog(client)
    for one in unusable:
        if one.name == name:
            raise MetricError(f"metric {name!r}: {one.reason}")
    found = known_metric(entries, name)
    await asyncio.to_thread(plan_of, found)
    return found


def known_metric(entries: Iterable[CatalogEntry], name: str) -> Metric:
    """The metric ``name`` of ``entries``; raises UnknownNameError with the nearest name."""
    found = {entry.metric.name: entry.metric for entry in entries}
    if name not in found:
        raise unknown_metric(name, found)
    return found[name]


async def apply(
    client: Client,
    metric: Metric,
    *,
    timeout: timedelta = timedelta(minutes=2),
    tell: Callable[[str], object] = lambda _: None,
    continue_as_new_after: int | None = None,
) -> DriverResult:
    """Have the graph of ``metric`` running and return its workers.

    Raises ExpressionError or MetricError before anything is started when the metric is wrong, and
    ConnectionFailedError when it takes longer than ``timeout``: the driver goes on then. ``tell`` hears
    what takes time.
    """
    refuse_oversized(metric)
    plan(metric)
    settings = Settings.from_env()
    input = DriverInput(
        metric=metric, message_bytes=settings.message_bytes, continue_as_new_after=continue_as_new_after
    )
    async with clear_errors(client):
        waiting = asyncio.create_task(_say_when_nobody_works(client, tell))
        try:
            async with asyncio.timeout(timeout.total_seconds()):
                return await _drive(client, input, settings.task_queue)
        except TimeoutError:
            raise ConnectionFailedError(
                f"metric {metric.name!r} does not run after {timeout.total_seconds():.0f} s: is a worker "
                f"process running for task queue {settings.task_queue!r}? If not, {NO_WORKER}; the driver "
                "continues by itself then"
            ) from None
        except WorkflowFailureError as error:
            if isinstance(error.cause, ApplicationError):
                refuse(error.cause)
            raise TimelineError(f"the driver of metric {metric.name!r} ended: {error.cause}") from error
        finally:
            waiting.cancel()


async def _drive(client: Client, input: DriverInput, task_queue: str) -> DriverResult:
    name = DRIVER_ID.format(metric=input.metric.name)
    while True:
        try:
            result: DriverResult = await client.execute_workflow(
                DRIVER.type,
                input,
                id=name,
                task_queue=task_queue,
                id_reuse_policy=WorkflowIDReusePolicy.ALLOW_DUPLICATE,
                id_conflict_policy=WorkflowIDConflictPolicy.FAIL,
                result_type=DriverResult,
                static_summary=f"Applies metric {input.metric.name}",
                memo={
                    "expression": shortened(input.metric.expression, MEMO_LENGTH),
                    "topic": input.metric.source.topic,
                },
            )
        except WorkflowAlreadyStartedError:
            # Somebody else applies the same name, perhaps another definition: theirs first, then ours.
            try:
                await client.get_workflow_handle(name).result()
            except WorkflowFailureError:
                continue
        else:
            return result


async def _say_when_nobody_works(client: Client, tell: Callable[[str], object]) -> None:
    before = await queue_of(client)
    for seconds in (2, 6):
        await asyncio.sleep(seconds)
        queue = await queue_of(client)
        # One that has ended counts as there for a while; who lives has taken up the driver.
        if not queue.is_served(None) or (seconds > 2 and not queue.is_polled_since(before, None)):
            tell(f"waiting: {queue.nobody(None)}")
            return


async def delete(client: Client, name: str, *, timeout: timedelta = timedelta(minutes=2)) -> RemoveResult:
    """Remove a metric; returns when the workers that only it needed have ended.

    Raises UnknownNameError, and ConnectionFailedError when it takes longer than ``timeout``: the metric is
    removed all the same, as soon as a worker process runs.
    """
    entries, unusable = await catalog(client)
    if all(one.name != name for one in unusable):
        known_metric(entries, name)  # an unknown name is known at once, and needs no catalog to be started
    async with clear_errors(client):
        try:
            async with asyncio.timeout(timeout.total_seconds()):
                return await remove_metric(client, name)
        except TimeoutError:
            raise ConnectionFailedError(
                f"metric {name!r} is not removed after {timeout.total_seconds():.0f} s: is a worker process "
                f"running? If not, {NO_WORKER}; its workers end by themselves then"
            ) from None


# Workers.


async def worker_status(client: Client, worker: str) -> dict[str, Any]:
    """One worker: ``{"worker_id", "up", "error", "status"}``; ``status`` is its own answer, None when it is
    not up.
    """
    found: dict[str, Any] = {"worker_id": worker, "up": False, "error": None, "status": None}
    try:
        async with clear_errors(client):
            description = await client.get_workflow_handle(worker).describe()
        if description.status is not WorkflowExecutionStatus.RUNNING:
            return {
                **found,
                "error": f"ended ({description.status.name.lower() if description.status else 'unknown'})",
            }
        return {**found, "up": True, "status": await ask_worker(client, worker, "status")}
    except TimelineError as error:
        return {**found, "error": "not started" if error.code is Code.NOT_RUNNING else str(error)}


async def running_workers(client: Client, planned: Plan) -> list[str]:
    """The ids of a metric's workers: those of its plan, or, for a per-key source, those that run."""
    if planned.metric.source.partitions != "per-key":
        return [spec.worker_id for spec in all_workers(planned)]
    ids: list[str] = []
    async with clear_errors(client):
        for name in all_worker_names(planned):
            query = f'WorkflowId STARTS_WITH "{name}." AND ExecutionStatus = "Running"'
            ids += sorted([found.id async for found in client.list_workflows(query)])
    return ids


def find_node(planned: Plan, name: str | None) -> NodeSpec:
    """The node called ``name``: its name, the start of it, its operator or its expression (default: the
    result).

    Raises UnknownNameError with the nearest name, QuestionError when several fit.
    """
    if name is None:
        return planned.result
    wanted = name.strip()
    for fits in (
        [n for n in planned.nodes if n.name == wanted],
        [n for n in planned.nodes if n.name.startswith(wanted)],
        [n for n in planned.nodes if _spaceless(n.expression) == _spaceless(wanted)],
    ):
        if len(fits) == 1:
            return fits[0]
        if fits:
            raise QuestionError(
                f"several nodes fit {name!r}: {', '.join(n.name for n in fits)}; write more of the name",
                code=Code.AMBIGUOUS_NODE,
            )
    names = [n.name for n in planned.nodes]
    near = nearest(wanted, [*names, *(n.operator for n in planned.nodes)])
    hint = f"did you mean {near!r}?" if near else f"its nodes are {', '.join(names)}"
    raise UnknownNameError(
        f"metric {planned.metric.name!r} has no node {name!r}; {hint}", code=Code.UNKNOWN_NODE
    )


def _spaceless(text: str) -> str:
    return "".join(text.split())


class Written(str):
    """A key as people write it: ``Written("7")`` means the text and the number, whichever is known."""

    __slots__ = ()


def keys_meant(key: Group, *, group: bool) -> list[Group]:
    """The keys that ``key`` may mean: itself; of a Written one the string, and an int; for the group of an
    aggregate any JSON scalar.
    """
    if not isinstance(key, Written):
        return [key]
    text = str(key)
    keys: list[Group] = [text]
    try:
        scalar = json.loads(text)
    except ValueError:
        return keys
    if (group and (scalar is None or isinstance(scalar, bool | int | float))) or (
        isinstance(scalar, int) and not isinstance(scalar, bool)
    ):
        keys.append(scalar)
    return keys


def worker_of(planned: Plan, node: NodeSpec, key: Group) -> str:
    """The worker that computes ``node`` and knows ``key``; a question to it says which node (``about``)."""
    if is_global(node):
        return global_workers(planned)[0].worker_id
    if not isinstance(key, str | int) or isinstance(key, bool):
        raise UnknownNameError(f"no key {key!r}: a key is a string or a whole number", code=Code.UNKNOWN_KEY)
    return worker_id(worker_name(planned, node), partition_of(key, planned.metric.source))


def functions_of(node: NodeSpec) -> list[str | None]:
    """What can be asked of a node: the functions of an aggregate, one nameless one else."""
    expression = parse(node.expression)
    return list(expression.functions) if isinstance(expression, Aggregate) else [None]


async def ask(
    client: Client,
    planned: Plan,
    node: NodeSpec,
    query: str,
    questions: Sequence[dict[str, Any]],
    *,
    keys: Sequence[Group] | None = None,
) -> AsyncIterator[dict[str, Any]]:
    """Answers to ``questions`` (without their key) for ``keys``, or for every key, in the order of keys.

    Those that rest on a worker that is not well say so, and are not final (``health``).

    Raises UnknownNameError for a key that the node does not know, with what is wrong if something is,
    TooLargeError for a question whose answers for one key are more than a worker gives at once.
    """
    questions = [{**question, **about(planned, node)} for question in questions]
    if keys is None:
        name = worker_name(planned, node)
        workers = [w for w in await running_workers(client, planned) if w.startswith(f"{name}.")]
        looking = asyncio.create_task(doubt_about(client, planned, workers))
        try:
            for answer in await _ask_every_key(client, planned, node, query, questions, workers):
                yield doubted(answer, await looking)
        finally:
            looking.cancel()
        return
    for key in keys:
        found, doubt = await _ask_key(client, planned, node, query, questions, key)
        for answer in found:
            yield doubted(answer, doubt)


async def _ask_key(
    client: Client,
    planned: Plan,
    node: NodeSpec,
    query: str,
    questions: Sequence[dict[str, Any]],
    written: Group,
) -> tuple[list[dict[str, Any]], Condition | None]:
    """The answers about one key, or the keys that it may mean, and what is wrong with what they rest on."""
    keys = keys_meant(written, group=is_global(node))
    workers = list(dict.fromkeys(worker_of(planned, node, key) for key in keys))
    looking = asyncio.create_task(doubt_about(client, planned, workers))
    known = 0
    refusal: QuestionError | None = None
    found: list[dict[str, Any]] = []
    try:
        for key in keys:
            worker = worker_of(planned, node, key)
            try:
                answers = [await ask_key(client, worker, query, {"key": key, **q}) for q in questions]
            except TooLargeError:
                raise
            except QuestionError as error:
                refusal = refusal or error
                continue
            known += 1
            found += [one for answer in answers for one in listed(answer)]
        if known or refusal is None:
            return found, await looking
        if isinstance(refusal, UnknownNameError) and (doubt := await looking) is not None:
            raise UnknownNameError(str(refusal), (doubt.state, str(doubt)), code=refusal.code) from refusal
        raise refusal
    finally:
        looking.cancel()


async def _ask_every_key(
    client: Client,
    planned: Plan,
    node: NodeSpec,
    query: str,
    questions: Sequence[dict[str, Any]],
    workers: Sequence[str],
) -> list[dict[str, Any]]:
    answers: dict[tuple[type, Any], list[dict[str, Any]]] = {}
    names: list[Any] = []

    async def ask_one(worker: str) -> None:
        for holder in await holders(client, worker, about(planned, node).get("node")):
            names.extend(holder.keys)
            for question in questions:
                instants = question.get("at")
                each = len(instants) if isinstance(instants, list) else 1
                at_once = max(1, _ANSWERS_AT_ONCE // max(each, 1))
                for start in range(0, len(holder.keys), at_once):
                    some = holder.keys[start : start + at_once]
                    for one in await ask_keys(client, holder, query, question, some):
                        answers.setdefault((type(one["key"]), one["key"]), []).append(one)

    await gather([lambda w=w: ask_one(w) for w in workers])  # type: ignore[misc]
    return [answer for name in in_order(names) for answer in answers.get((type(name), name), ())]
