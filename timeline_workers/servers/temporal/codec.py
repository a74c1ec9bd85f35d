"""Payloads that Temporal's servers cannot read: the data converter, with encryption where there are keys.

With keys, every payload is encrypted before it leaves the process: inputs, results, signals, updates, queries
and their answers, memos, summaries and details, headers, activities and local activities, and the messages
and stack traces of failures. What Temporal itself must read cannot be: ids of workflows and activities, names
of types, signals and queries, task queues, and search attributes (names of metrics and nodes).

Payloads that are not encrypted are read as they are, so keys can be introduced while workflows run.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from typing import Any

from temporalio.api.common.v1 import Payload
from temporalio.api.errordetails.v1 import QueryFailedFailure
from temporalio.client import Interceptor, OutboundInterceptor, QueryWorkflowInput, WorkflowQueryFailedError
from temporalio.common import RawValue
from temporalio.contrib.pydantic import PydanticPayloadConverter
from temporalio.converter import (
    DataConverter,
    DefaultFailureConverterWithEncodedAttributes,
    PayloadCodec,
)
from temporalio.exceptions import FailureError
from temporalio.service import RPCError
from temporalio.worker import (
    HandleQueryInput,
    Interceptor as WorkerInterceptor,
    WorkflowInboundInterceptor,
    WorkflowInterceptorClassInput,
)

from timeline_workers.errors import CodecError
from timeline_workers.settings.credentials import CodecKey

from .encryption import Keyring

ENCODING = b"binary/encrypted"
_KEY_ID = "encryption-key-id"
_CIPHER = {"encryption-cipher": b"AES-256-GCM"}


class EncryptionCodec(PayloadCodec):
    """Encrypts whole payloads, their metadata included, with the first key; decrypts with the one named."""

    def __init__(self, keys: Sequence[CodecKey]) -> None:
        self._ring = Keyring(keys)

    async def encode(self, payloads: Sequence[Payload]) -> list[Payload]:
        """Encrypt each payload."""
        name = self._ring.key_id.encode()
        return [
            Payload(
                metadata={"encoding": ENCODING, _KEY_ID: name, **_CIPHER},
                data=self._ring.encrypt(payload.SerializeToString()),
            )
            for payload in payloads
        ]

    async def decode(self, payloads: Sequence[Payload]) -> list[Payload]:
        """Decrypt each payload that is encrypted. Raises CodecError (see ``Keyring.decrypt``)."""
        return [
            self._open(payload) if payload.metadata.get("encoding") == ENCODING else payload
            for payload in payloads
        ]

    def _open(self, payload: Payload) -> Payload:
        name = payload.metadata.get(_KEY_ID, b"").decode(errors="replace")
        return Payload.FromString(self._ring.decrypt(name, payload.data))


class NoKeys(PayloadCodec):
    """Changes nothing, and refuses payloads that are encrypted.

    It must be a codec that says so: a signal that only the payload converter refuses would be dropped by the
    worker that gets it.
    """

    async def encode(self, payloads: Sequence[Payload]) -> list[Payload]:
        """Return the payloads as they are."""
        return list(payloads)

    async def decode(self, payloads: Sequence[Payload]) -> list[Payload]:
        """Return the payloads as they are. Raises CodecError when one is encrypted."""
        for payload in payloads:
            if payload.metadata.get("encoding") == ENCODING:
                name = payload.metadata.get(_KEY_ID, b"").decode(errors="replace")
                raise CodecError(
                    f"a payload is encrypted with the key {name!r:.80}, and no keys are given here; set "
                    "TIMELINE_CODEC_KEYS or TIMELINE_CODEC_KEY_FILE"
                )
        return list(payloads)


# Values are JSON by pydantic; `bytes` stay raw (encoding binary/plain): base64 would inflate batches.
PLAIN = DataConverter(payload_converter_class=PydanticPayloadConverter, payload_codec=NoKeys())
"""The data converter of clients, workers and replays where payloads are not encrypted."""


def data_converter(keys: Sequence[CodecKey]) -> DataConverter:
    """The data converter that encrypts with the first of ``keys``; ``PLAIN`` when there are none."""
    if not keys:
        return PLAIN
    return dataclasses.replace(
        PLAIN,
        payload_codec=EncryptionCodec(keys),
        failure_converter_class=DefaultFailureConverterWithEncodedAttributes,
    )


class SealedRefusals(Interceptor, WorkerInterceptor):
    """Encrypts why a worker refuses a question, and gives it to clients in the worker's own words.

    Temporal carries the message of a query's failure in the open, and without encoded attributes. So the
    worker's side makes the refusal an answer, ``{"error": …}``, which is encrypted as answers are, and the
    client's side raises it as the WorkflowQueryFailedError that it was. Other clients see the answer.
    """

    def __init__(self, converter: DataConverter) -> None:
        self._converter = converter

    def intercept_client(self, next: OutboundInterceptor) -> OutboundInterceptor:
        """See ``temporalio.client.Interceptor``."""
        return _Asking(next, self._converter)

    def workflow_interceptor_class(
        self, input: WorkflowInterceptorClassInput
    ) -> type[WorkflowInboundInterceptor] | None:
        """See ``temporalio.worker.Interceptor``."""
        return _Answering


class _Answering(WorkflowInboundInterceptor):
    async def handle_query(self, input: HandleQueryInput) -> Any:
        try:
            return await super().handle_query(input)
        except Exception as error:
            return {"error": _words(error)}


class _Asking(OutboundInterceptor):
    def __init__(self, next: OutboundInterceptor, converter: DataConverter) -> None:
        super().__init__(next)
        self._converter = converter

    async def query_workflow(self, input: QueryWorkflowInput) -> Any:
        try:
            answer = await super().query_workflow(dataclasses.replace(input, ret_type=RawValue))
        except WorkflowQueryFailedError as error:
            # The task failed before the question came up; then the failure is there whole.
            if (told := await self._decoded(error.__context__)) is None:
                raise
            raise WorkflowQueryFailedError(told) from error
        if answer is None:
            return None
        if answer.payload.data.startswith(b'{"error":'):
            said = json.loads(answer.payload.data)
            if said.keys() == {"error"}:  # no answer of a workflow of ours is such an object
                raise WorkflowQueryFailedError(said["error"])
        hints = [input.ret_type] if input.ret_type else None
        return self._converter.payload_converter.from_payloads([answer.payload], hints)[0]

    async def _decoded(self, answer: BaseException | None) -> str | None:
        """The message of the failure that comes with an error of the server, if one does."""
        for detail in answer.grpc_status.details if isinstance(answer, RPCError) else ():
            found = QueryFailedFailure()
            if detail.Unpack(found) and found.HasField("failure"):
                return _words(await self._converter.decode_failure(found.failure))
        return None


def _words(error: BaseException) -> str:
    # The text of a failure repeats its type.
    return error.message if isinstance(error, FailureError) else str(error)
