"""Workers of every kind that are ended by hand while events flow: all metrics answer right again."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from tests.integration.answers import answers, evaluated
from tests.integration.stack import Stack, event, eventually, running_stack
from tests.workflows.cluster import end_by_hand
from timeline_workers.metric.model import Metric, Source
from timeline_workers.plan.physical import all_workers, partition_of, plan, workers
from workflows.client.start import ensure_workers
from workflows.messages import CATALOG_ID

pytestmark = pytest.mark.integration

SECOND = 1_000_000
ON = 'latest_event_to_state(state) == "on"'
EXPRESSIONS = {
    "time-on": f"duration_where({ON})",
    "time-on-after-off": f'duration_where({ON} && has_existed(state == "off"))',
    "time-on-fused": f'duration_where({ON} && has_existed(state == "off"))',
    "time-on-by-state": f"duration_where({ON}) | aggregate(group_by(state), count, sum)",
}


def metrics(topic: str) -> list[Metric]:
    """Four metrics that share leaves; the first two and the last share derived workers, too."""
    source = Source.model_validate(
        {
            "topic": topic,
            "key": "id",
            "time": "t",
            "columns": {"state": "string"},
            "allowed_lateness": "30s",
            "partitions": 2,
        }
    )
    return [
        Metric(name=name, source=source, expression=expression, fuse=name.endswith("fused"))
        for name, expression in EXPRESSIONS.items()
    ]


class Traffic:
    """Events of twelve keys that go on for as long as the block runs; none of them is late."""

    def __init__(self, stack: Stack, topic: str) -> None:
        self._stack, self._topic = stack, topic
        self._rng = random.Random(11)
        self.rows: list[dict[str, Any]] = []

    def send(self, count: int = 20) -> None:
        made = []
        for _ in range(count):
            time = 60 + len(self.rows) // 2 + self._rng.randrange(8)
            key, state = f"key-{self._rng.randrange(12)}", self._rng.choice(["on", "off", "paused"])
            self.rows.append({"id": key, "t": time * SECOND, "state": state})
            made.append(event(key, time, state=state))
        self._stack.send(self._topic, made)

    @asynccontextmanager
    async def flowing(self) -> AsyncIterator[None]:
        stop = asyncio.Event()

        async def flow() -> None:
            while not stop.is_set():
                await asyncio.to_thread(self.send)
                await asyncio.sleep(0.05)  # a pace, not a wait

        task = asyncio.create_task(flow())
        try:
            yield
        finally:
            stop.set()
            await task

    async def more(self, events: int) -> None:
        """Return when so many more have been sent."""
        enough = len(self.rows) + events

        async def sent() -> bool:
            return len(self.rows) >= enough

        await eventually(sent)


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with running_stack(tmp_path_factory.mktemp("ended"), topic_partitions=2) as made:
        made.start_worker()
        made.start_feeder()
        yield made


async def answers_are_right(stack: Stack, chosen: list[Metric], rows: list[dict[str, Any]]) -> None:
    """Return when every metric answers as evaluation in process does; AssertionError with what differs."""
    last = max(row["t"] for row in rows)
    instants = [last * part // 8 for part in range(1, 9)] + [last + 100 * SECOND]
    questions = [("value_at", {"at": instants}), ("spans", {"start": 0, "end": last})]
    client = await stack.temporal()
    for metric in chosen:
        expected = evaluated(metric, rows, questions)  # type: ignore[arg-type]
        found: list[dict[str, Any]] = []

        async def right(metric: Metric = metric, expected: list[dict[str, Any]] = expected) -> bool:
            nonlocal found
            found = await answers(client, metric, questions)  # type: ignore[arg-type]
            return sorted(map(repr, found)) == sorted(map(repr, expected))

        try:
            await eventually(right)
        except TimeoutError:
            texts = set(map(repr, expected))
            wrong = [one for one in found if repr(one) not in texts]
            raise AssertionError(
                f"{metric.name}: {len(wrong)} of {len(found)} answers differ ({len(expected)} expected), "
                f"such as {wrong[:2]}"
            ) from None


def kinds(chosen: list[Metric]) -> dict[str, str]:
    """A worker of every kind, by what it is."""
    by_name = {metric.name: metric for metric in chosen}
    specs = {s.worker_id: s for m in chosen for s in all_workers(plan(m))}
    leaves = sorted(w for w, s in specs.items() if s.node.operator == "tl-latest-event-to-state")
    committed = sorted(w for w, s in specs.items() if s.node.is_leaf and w.endswith(".p0"))[0]
    return {
        "shared leaf": leaves[0],
        "shared leaf, other partition": leaves[1],
        "journal": committed,
        "shared inner": next(w for w, s in specs.items() if s.node.operator == "equal-to"),
        "fused": next(w for w, s in specs.items() if s.fused),
        "aggregate": next(w for w, s in specs.items() if s.partition == "all"),
        "result": all_workers(plan(by_name["time-on-after-off"]))[-1].worker_id,
    }


@pytest.mark.parametrize(
    "how", ["terminate", *(pytest.param(how, marks=pytest.mark.long) for how in ("cancel", "replace"))]
)
async def test_a_worker_ended_by_hand_harms_no_metric(stack: Stack, how: str) -> None:
    """Each kind in turn under events: `apply` of one metric that has it, or the feeder where it is a leaf,
    brings it back with its past, and every metric that hears it hears it again. So it is where somebody has
    started another in its place at once, and told nobody.
    """
    topic = f"ended-{how}"
    chosen = metrics(topic)
    for metric in chosen:
        await stack.apply(metric)
    client = await stack.temporal()
    traffic = Traffic(stack, topic)
    for kind, worker in kinds(chosen).items():
        async with traffic.flowing():
            await traffic.more(200)
            ended = await end_by_hand(client, worker, how)
            if how == "replace":
                spec = next(s for m in chosen for s in all_workers(plan(m)) if s.worker_id == worker)
                assert (await ensure_workers(client, [spec])).started
            await traffic.more(100)
            if how != "replace" and "leaf" not in kind and kind != "journal":
                holder = next(m for m in chosen if worker in {s.worker_id for s in all_workers(plan(m))})
                await stack.apply(holder)

            async def runs_again(worker: str = worker, ended: str = ended) -> bool:
                found = await client.get_workflow_handle(worker).describe()
                return found.run_id != ended

            await eventually(runs_again)
            await traffic.more(100)
        try:
            await answers_are_right(stack, chosen, traffic.rows)
        except AssertionError as error:
            raise AssertionError(f"after the {kind} {worker} was ended: {error}") from error


async def test_a_question_says_what_has_ended(stack: Stack) -> None:
    """`timeline query` ends with its own exit code while a derived worker is gone, and the catalog; nobody
    applies anything.
    """
    topic = "doubt"
    metric = metrics(topic)[1]
    await stack.apply(metric)
    client = await stack.temporal()
    traffic = Traffic(stack, topic)
    traffic.send(60)
    await answers_are_right(stack, [metric], traffic.rows)
    # Nothing happens in the topic that would miss it.
    await end_by_hand(client, all_workers(plan(metric))[0].worker_id)
    await answers_are_right(stack, [metric], traffic.rows)
    key = traffic.rows[0]["id"]

    async def asked() -> tuple[int, dict[str, Any], str]:
        command = ("timeline_workers", "query", metric.name, "--key", key, "--at", "1000")
        done = await asyncio.to_thread(stack.run, *command)
        return done.returncode, json.loads(done.stdout), done.stderr

    async def well() -> bool:
        code, answer, _ = await asked()
        return code == 0 and "health" not in answer

    await eventually(well)
    inner = workers(plan(metric), partition_of(key, metric.source))[-2].worker_id
    for ended in (inner, CATALOG_ID):
        assert stack.stop("feeder") == 0
        await end_by_hand(client, ended)
        code, answer, said = await asked()
        assert code == 5
        assert answer["health"]["state"] == "down"
        assert answer["health"]["cause"].startswith(f"{ended}: ended (terminated: by hand)")
        assert not answer["final"]
        assert f"warning: answers may be wrong or old: down: {ended}: ended" in said
        stack.start_feeder()
        await eventually(well)
    traffic.send(60)
    await answers_are_right(stack, [metric], traffic.rows)
