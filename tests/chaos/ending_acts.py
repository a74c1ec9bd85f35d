"""Acts that end workflows of every kind by hand."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from time import monotonic

from temporalio.client import Client
from temporalio.service import RPCError

from tests.chaos.by_hand import reset
from tests.chaos.metrics import CIRR
from tests.chaos.scene import Act, Course, Scene, SceneError, Step, few
from tests.chaos.stacks import TOPIC
from timeline_workers.errors import TimelineError
from timeline_workers.plan.physical import plan
from workflows.client import ask
from workflows.client.ask_keys import archives_of
from workflows.messages import DRIVER_ID

DRILL_SECONDS = 3.0
KINDS = {
    "leaf": "a leaf that three metrics share",
    "derived": "a worker between leaf and result",
    "result": "a worker that answers for a metric",
    "fused": "a fused worker",
    "aggregate": "an aggregate's worker",
    "catalog": "the catalog",
}

End = Callable[[Client, str], Awaitable[None]]


def acts(verb: str, end: End, kinds: Sequence[str] = tuple(KINDS)) -> Scene:
    """A scene in which ``end`` is done to workflows of ``kinds``, to a driver and an archive, and `timeline
    apply` by an operator.
    """
    by_kind = [
        Act(
            kind,
            f"{words}: `temporal workflow {verb}`",
            _ended(kind, end),
            Course.apply,
            operator="`timeline apply` of the metrics",
        )
        for kind, words in KINDS.items()
        if kind in kinds
    ]
    driver = Act(
        "driver",
        f"the driver of a metric that is being applied: `temporal workflow {verb}`",
        _driver(end),
        Course.apply,
        operator="`timeline apply` again",
    )
    archive = Act(
        "archive",
        f"an archive of keys: `temporal workflow {verb}`",
        _archive(end),
        _revived,
        operator="`temporal workflow reset --type LastWorkflowTask`, before its run is deleted",
    )
    return Scene(
        name=verb,
        about=f"`temporal workflow {verb}` of workflows of all kinds",
        acts=(*by_kind, driver, archive),
        # What a leaf that was started anew has counted again is not what those beside it have.
        counts=False,
    )


def _ended(kind: str, end: End) -> Step:
    async def inflict(course: Course) -> None:
        await end(course.client, course.of_kind(kind))

    return inflict


async def until_archived(course: Course) -> None:
    """Keys have left for an archive, as idle ones do when their worker begins another run."""
    worker = course.result("counts")
    begun = monotonic()

    async def there() -> bool:
        nonlocal begun
        if monotonic() - begun > DRILL_SECONDS:
            # A key leaves a worker when it has left those that the worker listens to.
            for one in course.workers_of(course.planned("counts")):
                await course.client.get_workflow_handle(one).signal("continue_as_new")
            begun = monotonic()
        return bool(await archives_of(course.client, worker))

    await course.until(there, "keys have left for an archive", 150)


def _archive(end: End) -> Step:
    async def inflict(course: Course) -> None:
        await until_archived(course)
        await end(course.client, course.of_kind("archive"))

    return inflict


async def _revived(course: Course) -> None:
    await reset(course.client, course.of_kind("archive"), "last")


def _driver(end: End) -> Step:
    async def inflict(course: Course) -> None:
        """The driver waits for worker processes, which stand still; there it is ended."""
        name = "chaos-later"
        metric = few(TOPIC)[0].model_copy(update={"name": name, "expression": CIRR.replace("5s", "7s")})
        for worker in course.stack.workers:
            worker.freeze()
        try:
            applying = asyncio.create_task(ask.apply(course.client, metric))
            driver = DRIVER_ID.format(metric=name)

            async def ended() -> bool:
                with suppress(RPCError):
                    await end(course.client, driver)
                    return True
                return False

            await course.until(ended, "the driver is there, and ended")
        finally:
            for worker in course.stack.workers:
                worker.thaw()
        try:
            await applying
        except TimelineError as error:
            course.tell(f"    apply says: {error}")
        else:
            raise SceneError("`timeline apply` succeeded though its driver was ended")
        course.watch.later[name] = monotonic()
        course.plans.append(plan(metric))

    return inflict
