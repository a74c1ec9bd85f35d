"""Task queues: which worker processes ask for work, and in words what to do where none does."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from temporalio.api.enums.v1 import TaskQueueType
from temporalio.api.taskqueue.v1 import TaskQueue
from temporalio.api.workflowservice.v1 import DescribeTaskQueueRequest
from temporalio.client import Client

from timeline_workers.process.counted import counted
from timeline_workers.settings.timeline_settings import Settings

NO_WORKER = "start one with `timeline worker` (or `timeline dev`)"
# A poll waits a minute for work. The server's list has pollers of the last five minutes; the rest of the
# margin is for clocks that differ.
POLL_AGE = timedelta(seconds=90)


@dataclass(frozen=True, slots=True)
class Poller:
    """A worker process that has asked for work. ``build``: (deployment name, build id), None: unversioned."""

    identity: str
    last_seen: datetime
    build: tuple[str, str] | None


@dataclass(frozen=True, slots=True)
class Queue:
    """A task queue. ``waiting`` tasks have no process, the oldest of them for ``oldest``; ``current``: the
    version of a worker deployment that new work goes to, None: unversioned processes.
    """

    name: str
    pollers: tuple[Poller, ...]
    waiting: int
    oldest: timedelta
    current: tuple[str, str] | None

    def is_served(self, build: tuple[str, str] | None) -> bool:
        """Whether a process that fits ``build`` has asked for work of late: each does, also when there is
        none. One that was killed since counts for a while.
        """
        wanted = self.current if build is None else build
        now = datetime.now(UTC)
        return any(p.build == wanted and now - p.last_seen < POLL_AGE for p in self.pollers)

    @property
    def processes(self) -> int:
        """How many processes have asked for work of late; one that was killed counts for a while."""
        now = datetime.now(UTC)
        return sum(now - one.last_seen < POLL_AGE for one in self.pollers)

    def is_polled_since(self, before: Queue, build: tuple[str, str] | None) -> bool:
        """Whether a process that fits ``build`` has asked for work since ``before`` was seen."""
        wanted = self.current if build is None else build
        seen = {p.identity: p.last_seen for p in before.pollers}
        return any(
            p.build == wanted and (p.identity not in seen or p.last_seen > seen[p.identity])
            for p in self.pollers
        )

    def nobody(self, build: tuple[str, str] | None) -> str:
        """Why nobody may be answering for a workflow of ``build`` (None: unversioned)."""
        wanted = self.current if build is None else build
        fit = [p for p in self.pollers if p.build == wanted]
        others = sorted({_version(p.build) for p in self.pollers if p.build != wanted})
        of = "" if wanted is None else f" of {_version(wanted)}"
        if fit:
            last = max(fit, key=lambda p: p.last_seen)
            seconds = max(0, round((datetime.now(UTC) - last.last_seen).total_seconds()))
            said = f"no worker process{of} answers; the last, {last.identity}, asked for work {seconds} s ago"
            if self.waiting:
                waits = counted(self.waiting, "task waits", "tasks wait")
                said += f", and {waits}, the oldest for {self.oldest.total_seconds():.0f} s"
            return f"{said}; {_start(wanted)}"
        if not others:
            return f"no worker process{of} asks for work on task queue {self.name!r}; {_start(wanted)}"
        only = f"task queue {self.name!r} is polled by {', '.join(others)} only"
        if wanted is None:
            builds = [p.build for p in self.pollers if p.build is not None]
            return (
                f"{only}, and no build is current; make one so with `timeline rollout "
                f"{_options(builds[0])}`, or start `timeline worker`"
            )
        return f"no worker process{of} is there: {only}; {_start(wanted)}"


def _start(build: tuple[str, str] | None) -> str:
    """What to do where no process of ``build`` is there."""
    if build is None:
        return NO_WORKER
    return (
        f"start that build again with `{command_of(build)}`, or go back to unversioned processes (such as "
        "that of `timeline dev`) with `timeline rollout --unversioned`"
    )


def _options(build: tuple[str, str]) -> str:
    return f"--deployment-name {build[0]} --build-id {build[1]}"


def command_of(build: tuple[str, str] | None) -> str:
    """The command that starts a worker process of ``build``; None: an unversioned one."""
    return "timeline worker" if build is None else f"timeline worker {_options(build)}"


def described(build: tuple[str, str] | None) -> str:
    """A build in words; None: unversioned processes."""
    return "unversioned worker process" if build is None else f"worker process of {_version(build)}"


def _version(build: tuple[str, str] | None) -> str:
    return "an unversioned process" if build is None else f"build {build[1]!r} of deployment {build[0]!r}"


async def queue_of(
    client: Client,
    name: str | None = None,
    kind: TaskQueueType.ValueType = TaskQueueType.TASK_QUEUE_TYPE_WORKFLOW,
) -> Queue:
    """Look at the task queue ``name`` (default: that of the settings). Raises RPCError."""
    queue = name or Settings.from_env().task_queue
    answer = await client.workflow_service.describe_task_queue(
        DescribeTaskQueueRequest(
            namespace=client.namespace,
            task_queue=TaskQueue(name=queue),
            task_queue_type=kind,
            report_stats=True,
        )
    )
    pollers = [
        Poller(
            p.identity,
            p.last_access_time.ToDatetime(UTC),
            (p.deployment_options.deployment_name, p.deployment_options.build_id)
            if p.deployment_options.deployment_name
            else None,
        )
        for p in answer.pollers
    ]
    current = answer.versioning_info.current_deployment_version
    return Queue(
        queue,
        tuple(pollers),
        answer.stats.approximate_backlog_count,
        answer.stats.approximate_backlog_age.ToTimedelta(),
        (current.deployment_name, current.build_id) if current.deployment_name else None,
    )


def of_build(text: str | None) -> tuple[str, str] | None:
    """A build as Temporal writes it, ``name.id``, in its two parts."""
    if text is None:
        return None
    name, _, build = text.partition(".")
    return name, build
