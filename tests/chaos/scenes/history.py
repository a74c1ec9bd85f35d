"""kill -9 of everything that the history goes through, over a PostgreSQL store."""

from __future__ import annotations

from tests.chaos.metrics import metrics
from tests.chaos.recording import STORE
from tests.chaos.scene import Act, Course, Scene, Step
from tests.chaos.scenes import kill
from timeline_workers.metric.model import History, Metric


def every_node(topic: str) -> list[Metric]:
    """The metrics of a run in one partition each; of the first every node is stored, of others the result."""
    first, *others = metrics(topic, 1)
    return [first.model_copy(update={"history": History(nodes="all")}), *others]


async def count_stamps(course: Course) -> None:
    """Write down which stamps are stored."""
    assert course.recorded is not None
    await course.recorded.count_stamps()


async def remember(course: Course) -> None:
    """Remember what the store says is known by now."""
    assert course.recorded is not None
    await course.recorded.remember(course.plans)


def then_remember(step: Step) -> Step:
    """``step``, and then ``remember``."""

    async def both(course: Course) -> None:
        await step(course)
        await remember(course)

    return both


WRITERS = (
    Act("feeder", "the feeder is killed and stays away for 8 s", kill.kill("feeder-0", 8), remember, hold=0),
    Act(
        "worker",
        "one of two worker processes is killed and back after 3 s",
        kill.kill("worker-0", 3),
        remember,
        hold=4,
    ),
    Act(
        "workers",
        "all worker processes are killed and stay away",
        kill.kill_workers,
        then_remember(kill.start_workers),
        operator="start worker processes again",
        hold=8,
    ),
)
SERVERS = (
    Act("broker", "the broker is killed and stays away for 8 s", kill.kill("broker", 8), remember, hold=0),
    Act("temporal", "Temporal is killed and stays away for 8 s", kill.kill("temporal", 8), remember, hold=0),
)

SCENE = Scene(
    name="history",
    about="kill -9 of PostgreSQL, where the history is, and of all that writes to it",
    acts=(
        Act(
            "store",
            "PostgreSQL, where the history is, is killed and stays away for 15 s",
            kill.kill(STORE, 15),
            remember,
            hold=0,
        ),
        *WRITERS,
        *SERVERS,
        Act(
            "store-again",
            "PostgreSQL is killed and back at once",
            kill.kill(STORE, 0),
            remember,
            hold=3,
        ),
    ),
    rate=40.0,
    metrics=every_node,
    history="postgres",
    set_up=count_stamps,
)
