"""The runner of workflows: bare in worker processes, Temporal's sandbox where the settings ask for it."""

from __future__ import annotations

from temporalio.worker import UnsandboxedWorkflowRunner
from temporalio.worker.workflow_sandbox import SandboxedWorkflowRunner

from timeline_workers.settings.timeline_settings import Settings
from workflows.worker import sandbox, workflow_runner


def test_worker_processes_take_no_sandbox() -> None:
    """Without a setting, a worker process spends no time on a sandbox."""
    assert isinstance(workflow_runner(Settings.from_env({})), UnsandboxedWorkflowRunner)


def test_the_sandbox_is_a_setting() -> None:
    """With TIMELINE_SANDBOX, workflows run in the sandbox that replays use."""
    runner = workflow_runner(Settings.from_env({"TIMELINE_SANDBOX": "true"}))
    assert isinstance(runner, SandboxedWorkflowRunner)
    assert runner.restrictions == sandbox().restrictions
