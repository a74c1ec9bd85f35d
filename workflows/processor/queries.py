"""Queries to a timeline worker: plain JSON in and out."""

from __future__ import annotations

from typing import Any

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from timeline_workers.errors import Code, QuestionError, UnknownNameError
    from timeline_workers.runtime.node_worker import NodeWorker
    from workflows.durable.inbox import Inbox
    from workflows.durable.question_bounds import check_question, check_reply
    from workflows.durable.refusal_codes import LEFT, not_ready, refused_question
    from workflows.messages import ProcessorInput, Question
    from workflows.worker_status import WorkerStatus

    from .doubts import in_doubt
    from .input_subscriptions import Inputs
    from .outgoing_edges import Edges
    from .state_bounds import StateBounds


class Questions:
    """What a worker knows, and asking it. ``_node``, ``_edges`` and ``_state_bounds`` are None until the
    state of the run before has been fetched.
    """

    def __init__(self, input: ProcessorInput) -> None:
        self._input = input
        self._spec = input.spec
        self._metrics = list(input.metrics)
        self._inbox = Inbox()
        self._inputs = Inputs(self._spec, input.epochs, input.subscribed, input.holds)
        self._node: NodeWorker | None = None
        self._edges: Edges | None = None
        self._state_bounds: StateBounds | None = None
        self._applied = 0
        self._last_ingest = workflow.time_ns() // 1000  # none of the runs before was sent anything later
        self._refused = input.refused
        self._last_refusal = input.last_refusal
        self._unmended = dict(input.unmended)
        self._lost_state = input.lost_state

    @workflow.query
    def value_at(self, question: Question = None) -> Any:
        """The value of a key at an instant: ``{"key": …, "at": …, "unit": "s"}``."""
        return self._answer("value_at", question)

    @workflow.query
    def spans(self, question: Question = None) -> Any:
        """The spans of a key over a range: ``{"key": …, "start": …, "end": …}``."""
        return self._answer("spans", question)

    @workflow.query
    def change(self, question: Question = None) -> Any:
        """The change of a key over a range, or per interval: ``{"key": …, "start": …, "end": …, "every":
        "1m"}``.
        """
        return self._answer("change", question)

    @workflow.query
    def keys(self, question: Question = None) -> Any:
        """The keys this worker knows, a page at a time: ``{"after": 0, "limit": 1000}``, or nothing.

        Keys that leave make the others move up; ``numbering`` is another one then.
        """
        page = self._answer("keys", {} if question is None else question)
        departed = self._input.departed if self._state_bounds is None else self._state_bounds.departed
        return {**page, "numbering": departed.departures}

    @workflow.query
    def status(self) -> WorkerStatus:
        """What this worker is, how far it is, and what ails it. ``ready``: every input has accepted its
        subscription; ``last_ingest``: a leaf was sent no batch after that, microseconds.
        """
        info = workflow.info()
        bounded = self._state_bounds or self._input
        status = {
            "worker_id": self._spec.worker_id,
            "node": self._spec.node.name,
            "operator": self._spec.node.operator,
            "expression": self._spec.node.expression,
            "partition": self._spec.partition,
            "topic": self._spec.source.topic,
            "metrics": self._metrics,
            "ready": self._node is not None and self._inputs.ready,
            "inputs": self._inputs.status(),
            "edges": [] if self._edges is None else self._edges.status(),
            "inbox": len(self._inbox),
            "last_ingest": self._last_ingest if self._spec.node.is_leaf else None,
            "incomplete": self._input.incomplete,
            "runs": self._input.runs,
            "applied_in_run": self._applied,
            "history_events": info.get_current_history_length(),
            "history_bytes": info.get_current_history_size(),
            "refused": self._refused,
            "last_refusal": self._last_refusal or None,
            "unmended": sorted(self._unmended),
            "lost_state": self._lost_state or None,
            "paused": None if bounded.paused is None else bounded.paused.reason,
            "holds": self._inputs.held,
            "archives": bounded.departed.archives,
            "archived_keys": bounded.departed.keys,
            "archives_lost": list(bounded.departed.lost),
            "archive_error": None if self._state_bounds is None else self._state_bounds.error,
            "state": None if self._node is None else self._node.status(),
        }
        return WorkerStatus.model_validate(status)

    def _answer(self, question: str, details: Question) -> Any:
        answer = self._ask(question, details)
        doubt = None if question == "keys" else self._doubt()
        return answer if doubt is None else in_doubt(answer, *doubt)

    def _doubt(self) -> tuple[str, str] | None:
        """What this worker knows that makes its answers wrong or old: a state (see ``timeline get``) and its
        cause; None when nothing.
        """
        assert self._node is not None
        assert self._state_bounds is not None
        inputs = self._inputs.status()
        me = self._spec.worker_id
        if self._state_bounds.paused is not None:
            return "paused", f"{me}: {self._state_bounds.paused.reason}"
        if self._node.cut_off:
            return "failing", f"{me}: {'; '.join(self._node.cut_off.values())}"
        if lost := self._state_bounds.departed.lost:
            return "failing", f"{me}: archives are lost, and with them keys: {', '.join(lost)}"
        for line in inputs:
            if not line["subscribed"]:
                said = f": {line['last_error']}" if line["last_error"] else " yet"
                state = "failing" if line["last_error"] else "subscribing"
                return state, f"{me}: not subscribed to {line['worker']}{said}"
        if behind := self._node.rebuilding():
            return "lagging", f"{me}: it is being rebuilt from {', '.join(behind)}"
        if self._input.incomplete:
            return "lagging", f"{me}: its backfill from the topic has not finished"
        return None

    def _ask(self, question: str, details: Question) -> Any:
        if self._node is None or self._state_bounds is None:
            raise not_ready(self._spec.worker_id)
        try:
            asked = check_question(details, self._spec.source.time_unit)
            return check_reply(
                self._node.keys(asked) if question == "keys" else self._node.ask(question, asked)
            )
        except UnknownNameError as error:
            archives = self._state_bounds.archives
            if not archives:
                raise refused_question(error) from None
            said = f"{error}; {LEFT} for {archives[0]} to {archives[-1]}"
            raise refused_question(error, said=said, code=Code.KEY_MAY_HAVE_LEFT) from None
        except QuestionError as error:
            # Without a cause: it would be sent along with its stack, which says nothing to who asked.
            raise refused_question(error) from None
