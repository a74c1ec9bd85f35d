"""Real receivers for targets, on loopback: HTTP that verifies signatures, Debian's Alertmanager, mail."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
import shutil
import socket
import subprocess
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from email import message_from_bytes
from email.message import Message as Mail
from pathlib import Path
from typing import Any
from urllib.request import urlopen

from aiohttp import web
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, Envelope, Session

from deploy.cluster_ports import free_ports
from timeline_workers.alerts.episodes import Message
from timeline_workers.alerts.sink_messages import SinkMessage
from timeline_workers.targets.sending import Parcel

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
SECOND = 1_000_000
AT = 1_796_000_000 * SECOND


class WrongSignatureError(ValueError):
    """A request was not signed by the secret."""


def parcel(key: str | int = "k", seq: int = 1, kind: str = "fire", number: int = 0, **more: Any) -> Parcel:
    """A message of key ``key``, whose episode begins at ``AT``."""
    over = kind in ("resolve", "withdraw", "merged")
    message = Message(
        kind=kind,  # type: ignore[arg-type]
        rule="stalled",
        key=key,
        episode=more.pop("episode", f"stalled/{key}/{AT}"),
        seq=seq,
        start=AT,
        end=AT + 5 * SECOND if over else None,
        as_of=AT + 9 * SECOND,
        **{"page": not over, **more},
    )
    return Parcel(number or seq, SinkMessage(message, f"{key} is stalled", f"{kind} of {key}, number {seq}"))


class Receiver:
    """An HTTP receiver as the standard says: it verifies, and takes each id once. ``requests``: the ids of
    all requests; ``taken``: the events, by id; ``answer``: what it answers to an id, a status and headers;
    ``check``: whether requests must be signed.
    """

    def __init__(self) -> None:
        self.requests: list[str] = []
        self.headers: list[Mapping[str, str]] = []
        self.taken: dict[str, dict[str, Any]] = {}
        self.answer: Callable[[str], tuple[int, dict[str, str]]] = lambda name: (200, {})
        self.check = True
        self.key = base64.b64decode(SECRET.removeprefix("whsec_"))

    async def hear(self, request: web.Request) -> web.Response:
        body = await request.read()
        name = verified(request.headers, body, self.key) if self.check else request.headers["webhook-id"]
        self.requests.append(name)
        self.headers.append(dict(request.headers))
        status, headers = self.answer(name)
        if status == 200:
            self.taken.setdefault(name, json.loads(body))
        return web.Response(status=status, headers=headers, text=f"{status} of {request.path}")


def verified(headers: Mapping[str, str], body: bytes, key: bytes) -> str:
    """The id of a request that is signed by ``key``. Raises WrongSignatureError."""
    name, at = headers["webhook-id"], headers["webhook-timestamp"]
    if abs(time.time() - int(at)) > 300:
        raise WrongSignatureError(f"{name} is of {at}")
    wanted = base64.b64encode(hmac.digest(key, f"{name}.{at}.".encode() + body, hashlib.sha256)).decode()
    given = [one.partition(",") for one in headers["webhook-signature"].split()]
    if not any(version == "v1" and hmac.compare_digest(mac, wanted) for version, _, mac in given):
        raise WrongSignatureError(f"the signature of {name} is wrong")
    return name


@asynccontextmanager
async def http_receiver(receiver: Receiver, port: int = 0) -> AsyncIterator[str]:
    """``receiver`` at the address that is given."""
    application = web.Application()
    application.router.add_post("/{path:.*}", receiver.hear)
    runner = web.AppRunner(application)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", port)
        await site.start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


class Postbox:
    """What a mail server has got; ``refuses``: what it says to a mail, "" to take it."""

    def __init__(self) -> None:
        self.mails: list[Mail] = []
        self.refuses = ""

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        if self.refuses:
            return self.refuses
        assert isinstance(envelope.content, bytes)
        self.mails.append(message_from_bytes(envelope.content))
        return "250 OK"


@contextmanager
def mail_server() -> Iterator[tuple[Postbox, str]]:
    """A mail server, and the URL by which Apprise sends it mail."""
    box = Postbox()
    (port,) = free_ports(1)
    controller = Controller(box, hostname="127.0.0.1", port=port)
    controller.start()
    try:
        yield box, f"mailto://127.0.0.1:{port}?from=timeline@example.com&to=oncall@example.com&mode=insecure"
    finally:
        controller.stop()


class NoAlertmanagerError(Exception):
    """There is no Alertmanager here; the message says why."""


@contextmanager
def alertmanager(directory: Path) -> Iterator[str]:
    """The address of an Alertmanager that serves meanwhile. Raises NoAlertmanagerError."""
    program = shutil.which("prometheus-alertmanager")
    if program is None:
        raise NoAlertmanagerError("no Alertmanager is here: apt-get install prometheus-alertmanager")
    port, cluster = free_ports(2)
    config = directory / "alertmanager.yml"
    config.write_text("route: {receiver: nobody}\nreceivers: [{name: nobody}]\n")
    url = f"http://127.0.0.1:{port}"
    with (directory / "alertmanager.log").open("wb") as log:
        process = subprocess.Popen(
            [
                program,
                f"--config.file={config}",
                f"--storage.path={directory / 'alertmanager'}",
                f"--web.listen-address=127.0.0.1:{port}",
                f"--cluster.listen-address=127.0.0.1:{cluster}",
            ],
            stdout=log,
            stderr=log,
        )
    try:
        until_it_listens(process, port)
        yield url
    finally:
        process.kill()
        process.wait()


def until_it_listens(process: subprocess.Popen[bytes], port: int, within: float = 30.0) -> None:
    """Return when something takes connections on ``port``. Raises NoAlertmanagerError when it has ended."""
    end = time.monotonic() + within
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            if process.poll() is not None or time.monotonic() > end:
                raise NoAlertmanagerError(f"it does not come up: exit code {process.poll()}") from None
            time.sleep(0.05)  # between two looks; the loop ends by what it sees
        else:
            return


async def alerts_of(url: str) -> dict[str, dict[str, Any]]:
    """The alerts that an Alertmanager has now and are not over, by their episode."""

    def ask() -> Any:
        with urlopen(f"{url}/api/v2/alerts") as answer:
            return json.load(answer)

    return {one["labels"]["episode"]: one for one in await asyncio.to_thread(ask)}
