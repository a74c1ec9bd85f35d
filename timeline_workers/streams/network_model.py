"""The models of a network: sources, streams of operators, metrics, outputs and tests, by name."""

from __future__ import annotations

from datetime import date
from typing import Annotated, Any, Final, Literal as Choice

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from timeline_workers.metric.model import NAME_PATTERN, Microseconds, Name, Output, Positive, Source, unset

NODE_PATTERN: Final = r"^[A-Za-z][A-Za-z0-9_-]{0,63}$"
"""A name in a network: no dot, which stands before the branch of a split."""
RESERVED_NAMES: Final = {
    "nothing": "an output goes to nothing",
    "rest": "it is the branch of a split that takes what no other takes",
    "all": "it means every node",
}
NOT_BUILT: Final = (
    "dedupe",
    "throttle",
    "changed",
    "window",
    "sql",
    "join",
    "enrich",
    "ticker",
    "emit",
    "clear",
)
"""Operators that the project is to have and that no release has: named, so that nobody looks for a typo."""

NodeName = Annotated[str, Field(pattern=NODE_PATTERN)]


def _reserved(name: str) -> str:
    if name in RESERVED_NAMES:
        raise ValueError(f"{name!r} is a reserved name: {RESERVED_NAMES[name]}; choose another")
    return name


Named = Annotated[NodeName, AfterValidator(_reserved)]


def _one_or_more(value: object) -> object:
    return [value] if isinstance(value, str) else value


def _as_text(value: object) -> object:
    """``value`` with the times that YAML has read as such as the text that an event has."""
    if isinstance(value, dict):
        return {name: _as_text(one) for name, one in value.items()}
    if isinstance(value, list):
        return [_as_text(one) for one in value]
    return value.isoformat() if isinstance(value, date) else value


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)

    @model_validator(mode="before")
    @classmethod
    def _not_built(cls, data: Any) -> Any:
        for word in NOT_BUILT:
            if isinstance(data, dict) and word in data and word not in cls.model_fields:
                raise ValueError(f"{word}: no release has this operator yet; leave it out")
        return data


class Sample(_Part):
    """One of ``one_in`` events, always the same: by the hash of the columns ``by``, by default of the key."""

    one_in: Annotated[int, Field(ge=1, strict=True)]
    by: Annotated[tuple[Name, ...], BeforeValidator(_one_or_more)] = ()


class Stream(_Part):
    """Events made of events, one by one, in this order: ``explode``, ``where``, ``derive``, ``sample``,
    ``split``.

    ``reads``: a source, a stream or a branch of a split, in a file ``from``; ``merge``: several of them
    instead. ``explode``: the dotted path of a list in an event of a source, of which each element becomes an
    event with the element in the place of the list. ``where``: the condition on which an event passes.
    ``derive``: columns from expressions, each seeing those before it. ``split``: branches by name, each with
    its condition; an event goes into the first whose condition it fits, else into the branch ``rest``.
    """

    description: str = ""
    reads: Annotated[Name | None, Field(alias="from")] = unset()
    merge: tuple[Name, ...] = ()
    explode: Name | None = unset()
    where: Name | None = unset()
    derive: dict[Name, Name] = Field(default_factory=dict)
    sample: Sample | None = unset()
    split: dict[NodeName, Name] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _one_input(self) -> Stream:
        if self.reads is not None and self.merge:
            raise ValueError("a stream has either from or merge; leave out one of them")
        if "rest" in self.split:
            raise ValueError("the branch rest takes what no other takes, without a condition; leave it out")
        return self

    @property
    def inputs(self) -> tuple[str, ...]:
        """What it reads, in order."""
        return self.merge if self.reads is None else (self.reads,)


class StreamMetric(_Part):
    """A metric over a source or a stream, ``reads``, in a file ``from``. The rest as a metric file has it."""

    description: str = ""
    reads: Annotated[Name | None, Field(alias="from")] = unset()
    expression: Name
    retention: Microseconds | None = unset()
    key_ttl: Positive | None = unset()
    fuse: Annotated[bool, Field(strict=True)] = False


class StreamOutput(_Part):
    """Where the events of a source or a stream go: ``nothing``, which counts them, or a topic."""

    reads: Annotated[Name | None, Field(alias="from")] = unset()
    to: Output | Choice["nothing"]


Row = Annotated[dict[str, Any], BeforeValidator(_as_text)]


class NetworkTest(_Part):
    """Events in, and all events that then come out ``at`` a stream, in order. ``input``: by source, or those
    of the only one. An expected event says ``at``, its time, ``key`` and as many columns as it likes, null
    being missing. ``refused``: how many events, or elements of lists, are no events."""

    name: Name
    at: Name
    input: dict[Name, tuple[Row, ...]] | tuple[Row, ...]
    expect: tuple[Row, ...] = ()
    refused: Annotated[int, Field(ge=0, strict=True)] = 0


class Network(_Part):
    """A network, as its file has it; the names of all its parts are different."""

    network: Annotated[str, Field(pattern=NAME_PATTERN)]
    description: str = ""
    sources: dict[Named, Source] = Field(default_factory=dict)
    streams: dict[Named, Stream] = Field(default_factory=dict)
    metrics: dict[Named, StreamMetric] = Field(default_factory=dict)
    outputs: dict[Named, StreamOutput] = Field(default_factory=dict)
    tests: tuple[NetworkTest, ...] = ()


SECTIONS: Final[dict[str, type[BaseModel]]] = {
    "sources": Source,
    "streams": Stream,
    "metrics": StreamMetric,
    "outputs": StreamOutput,
}
"""The parts of a network that have names, and their models."""


def field_names(model: type[BaseModel]) -> list[str]:
    """The fields of ``model`` as a file writes them."""
    return [field.alias or name for name, field in model.model_fields.items()]
