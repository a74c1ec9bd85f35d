"""A ``KeyArchive``: keys that have left a worker, as a workflow that answers for them as the worker did.

It is told segments by signal, and never anything else. The first one starts it, the end of the worker's
metric ends it. It may be told the same segment twice, or one that an attempt of the worker sent which was
lost afterwards; the newest of each key counts (``timeline_workers.runtime.key_archive``).
"""

from __future__ import annotations

import asyncio
from typing import Any

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from timeline_workers.errors import QuestionError, StateError
    from timeline_workers.runtime.key_archive import Archive
    from workflows.durable import carry
    from workflows.durable.inbox import Entry, pack, unpack
    from workflows.durable.question_bounds import check_question, check_reply
    from workflows.durable.refusal_codes import not_ready, refused_question
    from workflows.messages import ArchiveInput, ProcessorResult, Question

    from .archive_activities import Recalled, pack_recalled


@workflow.defn
class KeyArchive:
    """Some of the keys that have left one worker."""

    @workflow.init
    def __init__(self, input: ArchiveInput, carried: bytes) -> None:
        self._input = input
        self._archive: Archive | None = None
        self._arrived: list[bytes] = []
        self._refused = input.refused
        self._last_refusal = input.last_refusal
        self._continue_now = False
        self._stopping = ""
        self._tail = unpack(carried)
        if input.carried is None:
            self._open([])

    @workflow.run
    async def run(self, input: ArchiveInput, carried: bytes) -> ProcessorResult:
        """Run until `stop`; ``carried`` is what the run before left (b"" at the start).

        A request to cancel is refused: what is held here is nowhere else.
        """
        held = asyncio.create_task(self._hold(input))
        while True:
            try:
                return await asyncio.shield(held)
            except asyncio.CancelledError:
                if held.cancelled() or not workflow.patched("an archive refuses to be cancelled"):
                    raise
                workflow.logger.warning(
                    "refused a request to cancel: the keys held here are nowhere else; `timeline delete` of "
                    "their metric or `temporal workflow terminate` end this archive"
                )

    async def _hold(self, input: ArchiveInput) -> ProcessorResult:
        if self._archive is None:
            assert input.carried is not None
            self._open(await carry.fetch(input.carried))
        await workflow.wait_condition(lambda: bool(self._stopping) or self._should_continue())
        if not self._stopping:
            await self._continue()
        return ProcessorResult(
            worker_id=workflow.info().workflow_id, runs=self._input.runs + 1, reason=self._stopping
        )

    @workflow.signal
    def store(self, segment: bytes) -> None:
        """Hold the keys of a segment (``timeline_workers.runtime.archive_segment``)."""
        self._arrived.append(segment)
        self._take()

    @workflow.signal
    def stop(self, reason: str = "stopped") -> None:
        """End the archive: what it holds is gone."""
        self._stopping = reason or "stopped"

    @workflow.signal
    def continue_as_new(self) -> None:
        """Begin a new run now, as for a drill; nothing is lost."""
        self._continue_now = True

    @workflow.query
    def value_at(self, question: Question = None) -> Any:
        """As a worker's `value_at`: ``{"key": …, "at": …, "unit": "s"}``."""
        return self._answer("value_at", question)

    @workflow.query
    def spans(self, question: Question = None) -> Any:
        """As a worker's `spans`: ``{"key": …, "start": …, "end": …}``."""
        return self._answer("spans", question)

    @workflow.query
    def change(self, question: Question = None) -> Any:
        """As a worker's `change`: ``{"key": …, "start": …, "end": …, "every": "1m"}``."""
        return self._answer("change", question)

    @workflow.query
    def keys(self, question: Question = None) -> Any:
        """As a worker's `keys`; a key that has come back to the worker is listed here as well."""
        return self._answer("keys", {} if question is None else question)

    @workflow.query
    def status(self) -> dict[str, Any]:
        """What this archive holds, and what ails it."""
        info = workflow.info()
        return {
            "archive_of": self._input.spec.worker_id,
            "node": self._input.spec.node.name,
            "expression": self._input.spec.node.expression,
            "partition": self._input.spec.partition,
            "runs": self._input.runs,
            "history_events": info.get_current_history_length(),
            "history_bytes": info.get_current_history_size(),
            "refused": self._refused,
            "last_refusal": self._last_refusal or None,
            "state": None if self._archive is None else self._archive.status(),
        }

    @workflow.query
    def fingerprints(self, life: str) -> bytes:
        """What tells keys that are not here, of that life of the worker, from those that may be."""
        archive = self._opened()
        return archive.fingerprints() if archive.life == life else b""

    @workflow.query
    def recall(self, question: dict[str, Any]) -> bytes:
        """For the worker: segments of ``keys``, of at most about ``limit`` bytes (``Recalled``, packed)."""
        archive = self._opened()
        names, life = question["keys"], question["life"]
        held = [name for name in names if name in archive] if archive.life == life else []
        segments, rest = archive.recall(held, life, question["limit"])
        return pack_recalled(Recalled(segments, rest, held))

    def _opened(self) -> Archive:
        if self._archive is None:
            raise not_ready(workflow.info().workflow_id)
        return self._archive

    def _answer(self, question: str, details: Question) -> Any:
        archive = self._opened()
        try:
            asked = check_question(details, self._input.spec.source.time_unit)
            return check_reply(archive.keys(asked) if question == "keys" else archive.ask(question, asked))
        except QuestionError as error:
            raise refused_question(error) from None

    def _open(self, kept: list[Entry]) -> None:
        pieces = [body for kind, body in [*kept, *self._tail] if kind == "state"]
        self._archive = Archive.restore(self._input.spec, pieces) if pieces else Archive(self._input.spec)
        self._arrived[:0] = [body for kind, body in [*kept, *self._tail] if kind == "segment"]
        self._tail = []
        self._take()

    def _take(self) -> None:
        if self._archive is None:
            return
        for segment in self._arrived:
            try:
                self._archive.add(segment)
            except StateError as error:
                self._refused += 1
                self._last_refusal = f"segment of {len(segment)} bytes: {error}"
                workflow.logger.error("payload refused: %s", self._last_refusal)
        self._arrived.clear()

    def _should_continue(self) -> bool:
        if self._continue_now:
            return True
        return workflow.info().is_continue_as_new_suggested() and carry.has_worked_enough(
            self._input.carried, 0
        )

    async def _continue(self) -> None:
        assert self._archive is not None
        archive, self._archive = self._archive, None  # what arrives from here on goes to the next run
        entries: list[Entry] = [("state", piece) for piece in archive.snapshot()]
        carried = None
        while sum(len(body) for _, body in entries) > carry.INLINE_STATE_BYTES:
            carried = await carry.keep(entries, carried)
            entries = [("segment", segment) for segment in self._arrived]
            self._arrived = []
        entries += [("segment", segment) for segment in self._arrived]
        if self._stopping:
            return
        workflow.continue_as_new(
            args=[
                self._input.model_copy(
                    update={
                        "runs": self._input.runs + 1,
                        "refused": self._refused,
                        "last_refusal": self._last_refusal,
                        "carried": carried,
                    }
                ),
                pack(entries),
            ]
        )
