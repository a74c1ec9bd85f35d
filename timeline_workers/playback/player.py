"""Player: the state machine of the protocol ``timeline.dvr.v1``, without I/O and without a clock.

It is told what a client said (``receive``), what its reads gave (``answered``) and what time it is (every
call says ``now``, microseconds of a clock that never goes back; ``tick`` says nothing else). Each call
returns an ``Output``: messages to send, reads to do, and when to call ``tick`` if nothing happens before.

Requests are answered one by one, in order: while one waits for a read, the next ones wait for it, and playing
goes on. ``wants_more`` says whether more of them should be taken from the socket. Errors change nothing.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Generator

from pydantic_core import from_json

from .codes import CloseCode, RefusedRequest
from .outbox import Outbox, Output
from .playhead import Playhead, Settings
from .reads import Answer, Look, LookAnswer, Read, ReadFailed
from .replies import Failed, Hello, Limits, Range, Reply
from .requests import CHANNELS, KEYS_OF_SNAPSHOT, LONGEST_REQUEST, Ack, AnyRequest, read_request
from .transport import Transport
from .watch import Watch

MOST_WAITING = 64  # requests

Reading = Generator[Read, Answer, None]


class Player:
    """One socket's player. ``version``: of the server, told in hello."""

    def __init__(self, *, version: str = "", settings: Settings | None = None) -> None:
        self._settings = settings or Settings()
        self._version = version
        self._outbox = Outbox()
        self._head = Playhead(self._outbox, self._settings)
        self._watch = Watch(self._head)
        self._transport = Transport(self._head, self._watch)
        self._waiting: deque[AnyRequest | RefusedRequest] = deque()
        self._serving: tuple[Reading, Reply] | None = None
        self._closed = False

    @property
    def wants_more(self) -> bool:
        """Whether requests should be taken from the socket: few are waiting."""
        return len(self._waiting) < MOST_WAITING

    def start(self, now: int) -> Output:
        """The socket is open: hello follows."""
        self._head.now = now
        self._serve(self._hello(), None)
        return self._done()

    def receive(self, now: int, text: str | bytes) -> Output:
        """A message from the client."""
        self._come_to(now)
        if self._closed:
            return self._done()
        if len(text) > LONGEST_REQUEST or (isinstance(text, str) and len(text.encode()) > LONGEST_REQUEST):
            return self._close(CloseCode.TOO_LONG)
        try:
            said = from_json(text, allow_inf_nan=True)
        except ValueError:
            return self._close(CloseCode.NOT_JSON)
        self._ask(said)
        return self._done()

    def request(self, now: int, said: object) -> Output:
        """The same, of a message that is decoded already."""
        self._come_to(now)
        if not self._closed:
            self._ask(said)
        return self._done()

    def answered(self, now: int, number: int, answer: Answer) -> Output:
        """The answer to read ``number``; one that nobody waits for any more is dropped."""
        self._head.now = max(now, self._head.now)
        if not self._closed:
            self._outbox.answered(number, answer)
        return self._done()

    def tick(self, now: int) -> Output:
        """It is ``now``."""
        self._head.now = max(now, self._head.now)
        return self._done()

    def _come_to(self, now: int) -> None:
        """What was due before a message came, is done before it."""
        self._head.now = max(now, self._head.now)
        self._head.advance()

    def _ask(self, said: object) -> None:
        try:
            request: AnyRequest | RefusedRequest = read_request(said)
            if isinstance(request, Ack):
                self._transport.acknowledge(request)
                if request.id is None:
                    return
        except RefusedRequest as refusal:
            request = refusal
        self._waiting.append(request)
        self._serve_waiting()

    def _serve_waiting(self) -> None:
        while self._serving is None and self._waiting:
            request = self._waiting.popleft()
            if isinstance(request, RefusedRequest):
                self._refuse(request, request.reply)
            else:
                self._serve(self._transport.serve(request), request.id)

    def _serve(self, reading: Reading, reply: Reply) -> None:
        """Go on with a request until it is done, or waits for a read."""
        self._serving = (reading, reply)
        self._go_on(None)

    def _go_on(self, answer: Answer | None) -> None:
        assert self._serving is not None
        reading, reply = self._serving
        try:
            if isinstance(answer, ReadFailed):
                read = reading.throw(_refusal(answer))
            else:
                read = next(reading) if answer is None else reading.send(answer)
        except StopIteration:
            self._serving = None
        except RefusedRequest as refusal:
            self._serving = None
            self._refuse(refusal, reply)
        else:
            self._outbox.read(read, self._take)

    def _take(self, answer: Answer) -> None:
        self._go_on(answer)
        self._serve_waiting()

    def _refuse(self, refusal: RefusedRequest, reply: Reply) -> None:
        self._outbox.say(
            Failed(
                reply=reply,
                code=refusal.reason,
                message=str(refusal),
                field=refusal.field,
                hint=refusal.hint,
                span=None if refusal.span is None else list(refusal.span),
            )
        )

    def _hello(self) -> Reading:
        head, found = self._head, None
        try:
            found = yield Look((), head.view)
        except (
            RefusedRequest
        ) as refusal:  # nothing is known of the store then, and the socket is of use later
            self._refuse(refusal, None)
        word = head.wording.time_or_none
        known = Range(start=None, live=None, final=None)
        if isinstance(found, LookAnswer):
            self._watch.learn(found)
            final = min(found.final.values(), default=None)
            known = Range(start=word(found.start), live=word(found.live), final=word(final))
        limits = Limits(
            frames_per_second=head.frames_per_second,
            records=head.due.limit,
            idle_limit=None,
            unacknowledged=self._settings.unacknowledged,
            channels=CHANNELS,
            keys=KEYS_OF_SNAPSHOT,
        )
        self._outbox.say(
            Hello(
                version=self._version,
                range=known,
                limits=limits,
                capabilities=["events", "timelines", "what-if", "as-of"],
                now=word(found.now) if isinstance(found, LookAnswer) else None,
            )
        )

    def _close(self, code: CloseCode) -> Output:
        self._closed = True
        self._outbox.close(code)
        return self._outbox.take(None)

    def _done(self) -> Output:
        """What is due by now, and the output of it all."""
        if self._closed:
            return self._outbox.take(None)
        head = self._head
        head.advance()
        self._watch.advance()
        wakes = [head.wake(), self._watch.wake()]
        if head.blocked_since is not None:
            patience = head.blocked_since + self._settings.ack_patience
            if head.now >= patience:
                return self._close(CloseCode.NOT_ACKNOWLEDGED)
            wakes.append(patience)
        return self._outbox.take(min((wake for wake in wakes if wake is not None), default=None))


def _refusal(failed: ReadFailed) -> RefusedRequest:
    return RefusedRequest(
        failed.reason, failed.message, field=failed.field, hint=failed.hint, span=failed.span
    )
