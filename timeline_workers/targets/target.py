"""``Target``: where messages of alerts go. A kind of target is a model here, and a sender of its name.

Durations are microseconds. Secrets are places (``secrets``), never themselves.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Final, Literal as Choice, TypeAlias
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, TypeAdapter

from timeline_workers.metric.model import NAME_PATTERN, Name, Positive
from timeline_workers.metric.topics import topic_problem

from .secrets import Address, SecretReference

SECOND: Final = 1_000_000
DAY: Final = 86_400 * SECOND
_LABEL = r"^[a-zA-Z_][a-zA-Z0-9_]*$"
_SECRET_SETTING = re.compile(r"password|secret|\.pem$")
_TABLE = r"^[a-z_][a-z0-9_]{0,62}(\.[a-z_][a-z0-9_]{0,62})?$"


def _http(address: Address) -> Address:
    if address.text is not None:
        parts = urlsplit(address.text)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError(f"{address.text!r:.60} is no address of HTTP; write https://HOST/PATH")
    return address


def _postgres(address: Address) -> Address:
    if address.text is not None and urlsplit(address.text).scheme not in ("postgresql", "postgres"):
        raise ValueError(
            f"{address.text!r:.60} is no address of PostgreSQL; write postgresql://USER@HOST:PORT/DATABASE"
        )
    return address


def _topic(name: str) -> str:
    if problem := topic_problem(name):
        raise ValueError(problem)
    return name


def _absolute(path: str) -> str:
    if not Path(path).is_absolute():
        raise ValueError(f"{path!r:.60} is no absolute path; write one that begins with /")
    return path


def _setting(value: object) -> object:
    """A setting of Kafka's library, which wants text."""
    if isinstance(value, bool):
        return str(value).lower()
    return str(value) if isinstance(value, int | float) else value


def _named(value: object) -> object:
    if isinstance(value, Mapping):
        return value
    raise ValueError("secrets are named here, and do not stand here themselves; write NAME: {env: VARIABLE}")


def _public(config: dict[str, str]) -> dict[str, str]:
    for name in config:
        if _SECRET_SETTING.search(name):
            raise ValueError(f"{name} is a secret; write it under secrets, as {name}: {{env: VARIABLE}}")
    return config


HttpAddress = Annotated[Address, AfterValidator(_http)]
PostgresAddress = Annotated[Address, AfterValidator(_postgres)]
Setting = Annotated[str, BeforeValidator(_setting)]


class BaseTarget(BaseModel):
    """What every target says. ``give_up``: for how long a message is tried; ``most``: how many messages may
    wait; beyond that the oldest becomes a dead letter; ``at_once``: how many are sent together.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Choice["target"] = "target"
    name: Annotated[str, Field(pattern=NAME_PATTERN)]
    description: str = ""
    give_up: Positive = DAY
    most: Annotated[int, Field(ge=1, le=100_000)] = 10_000
    at_once: Annotated[int, Field(ge=1, le=100)] = 8


class Webhook(BaseTarget):
    """An HTTP receiver. ``secret``: keys that requests are signed with, the newest first, apart by white
    space; ``token``: what they are authorized by (``Authorization: Bearer``).
    """

    what: Choice["webhook"]
    url: HttpAddress
    secret: SecretReference | None = None
    token: SecretReference | None = None
    timeout: Positive = 10 * SECOND


class Alertmanager(BaseTarget):
    """Prometheus' Alertmanager, by the address that its API is under. ``labels``: more of them for each
    alert.
    """

    what: Choice["alertmanager"]
    url: HttpAddress
    token: SecretReference | None = None
    labels: dict[Annotated[str, Field(pattern=_LABEL)], Name] = {}
    timeout: Positive = 10 * SECOND


class AppriseTarget(BaseTarget):
    """Slack, Telegram, mail and whatever else Apprise knows. ``url``: where its URL stands, which is a
    secret."""

    what: Choice["apprise"]
    url: SecretReference


class PulsarTarget(BaseTarget):
    """A topic of the broker that events come from."""

    what: Choice["pulsar"]
    topic: Annotated[str, AfterValidator(_topic)]
    at_once: Annotated[int, Field(ge=1, le=100)] = 100


class KafkaTarget(BaseTarget):
    """A topic of Kafka. ``servers``: host:port, apart by commas; ``config`` and ``secrets``: further settings
    of its library (librdkafka)."""

    what: Choice["kafka"]
    servers: Name
    topic: Annotated[str, Field(pattern=r"^[a-zA-Z0-9._-]{1,249}$")]
    config: Annotated[dict[str, Setting], AfterValidator(_public)] = {}
    secrets: Annotated[dict[str, SecretReference], BeforeValidator(_named)] = {}
    at_once: Annotated[int, Field(ge=1, le=100)] = 100


class PostgresTarget(BaseTarget):
    """A table of PostgreSQL with a row for each episode, which is made where it is missing."""

    what: Choice["postgres"]
    url: PostgresAddress
    table: Annotated[str, Field(pattern=_TABLE)] = "timeline_alerts"
    at_once: Annotated[int, Field(ge=1, le=100)] = 100


class FileTarget(BaseTarget):
    """A file of the machine that the worker process is on, to which a line of JSON is added."""

    what: Choice["file"]
    path: Annotated[str, AfterValidator(_absolute)]
    at_once: Annotated[int, Field(ge=1, le=100)] = 100


class StdoutTarget(BaseTarget):
    """The standard output of the worker process."""

    what: Choice["stdout"]
    at_once: Annotated[int, Field(ge=1, le=100)] = 100


class TemporalTarget(BaseTarget):
    """A workflow for each episode, which has its id. ``signal``: what it is told every message by, the first
    included; without it, it is started with the first and hears of no other. ``address`` and ``namespace``:
    those of the worker processes, unless another is given.
    """

    what: Choice["temporal"]
    workflow: Name
    task_queue: Name
    signal: Name | None = None
    address: Name | None = None
    namespace: Name | None = None


Target: TypeAlias = (
    Webhook
    | Alertmanager
    | AppriseTarget
    | PulsarTarget
    | KafkaTarget
    | PostgresTarget
    | FileTarget
    | StdoutTarget
    | TemporalTarget
)
AnyTarget = Annotated[Target, Field(discriminator="what")]
KINDS: Final[dict[str, type[BaseTarget]]] = {
    "webhook": Webhook,
    "alertmanager": Alertmanager,
    "apprise": AppriseTarget,
    "pulsar": PulsarTarget,
    "kafka": KafkaTarget,
    "postgres": PostgresTarget,
    "file": FileTarget,
    "stdout": StdoutTarget,
    "temporal": TemporalTarget,
}
_ADAPTER: TypeAdapter[Target] = TypeAdapter(AnyTarget)


def read_target(raw: Any) -> Target:
    """A target from its fields. Raises pydantic's ValidationError."""
    return _ADAPTER.validate_python(raw)


def place_of(target: Target) -> str:
    """Where ``target`` is, in a word or two, for people; no secret."""
    match target:
        case Webhook() | Alertmanager() | PostgresTarget():
            return target.url.shown
        case AppriseTarget():
            return target.url.shown
        case PulsarTarget():
            return target.topic
        case KafkaTarget():
            return f"{target.topic} of {target.servers}"
        case FileTarget():
            return target.path
        case StdoutTarget():
            return "standard output"
        case TemporalTarget():
            return f"{target.workflow} on {target.task_queue}"
