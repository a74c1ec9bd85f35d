"""``TableDeclaration``: what a ``tables:`` file says of one event table; ``read_tables`` reads the file.

::

    tables:
      playback:                                    # the name by which it is opened
        address: postgresql://reader@db/analytics  # redshift://…, dynamodb:REGION, parquet:PATH, jsonl:PATH
        table: public.playback_events              # of a file: its path is enough
        time: at                                   # a timestamp, or a number of ``unit``
        key: session_id
        payload: event                             # without it the row's columns are the event
        settle: 10s                                # rows may appear so long behind the newest one

Passwords need not stand here: PGPASSWORD, ``~/.pgpass`` and the usual settings of AWS are read. Paths are
relative to the file. Errors: TableError, which names the file, the table, the field, the rule and the fix.
"""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import Annotated, Any, Final, Literal as Choice
from urllib.parse import urlsplit

import yaml
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    model_validator,
)

from timeline_workers.errors import Code, TableError, UnknownNameError
from timeline_workers.language.suggestions import nearest
from timeline_workers.metric.model import Microseconds
from timeline_workers.settings.field_rules import broken_rule

from .time_column import Unit

Name = Annotated[str, Field(min_length=1)]
# YAML makes a date of one that has no quotes.
Instant = Annotated[Name, BeforeValidator(lambda said: said.isoformat() if isinstance(said, date) else said)]
SERVERS: Final = ("postgresql", "postgres", "redshift", "dynamodb")
FILES: Final = ("parquet", "jsonl")
_SLOW_TO_ASK: Final = ("redshift", "dynamodb")


def _address(address: str) -> str:
    scheme, colon, rest = address.partition(":")
    if not colon or scheme not in (*SERVERS, *FILES):
        near = nearest(scheme, (*SERVERS, *FILES))
        raise ValueError(
            f"{address!r} begins with no kind of a table"
            + (f" (did you mean {near}:?)" if near else "")
            + "; write postgresql://…, redshift://…, dynamodb:REGION, parquet:PATH or jsonl:PATH"
        )
    if scheme in FILES and not rest.removeprefix("//"):
        raise ValueError(f"{address!r} names no file; write {scheme}:PATH")
    return address


class TableDeclaration(BaseModel):
    """One table. ``settle``, ``look``: microseconds.

    ``unit``: of times that are numbers (seconds by default). ``columns``: those that are read as the event;
    None: all. ``position``: a column by which rows of one instant are ordered. ``settle``: rows that appear
    so long behind the newest are noticed while it plays. ``look``: how long what is known of the newest row
    is good enough, as where asking costs money.

    Of DynamoDB only: ``index``, ``partitions`` (the values of the partition attribute, or a pattern of
    ``strftime`` that gives the one of a time), and of a pattern ``since`` and ``until``: between which times
    there are partitions (``until`` None: until now).
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    address: Annotated[Name, AfterValidator(_address)]
    table: Name | None = None
    time: Name
    unit: Unit | None = None
    key: Name | None = None
    payload: Name | None = None
    columns: tuple[Name, ...] | None = None
    position: Name | None = None
    settle: Microseconds = 2_000_000
    look: Microseconds | None = None
    index: Name | None = None
    partitions: tuple[Name | int, ...] | Annotated[str, Field(pattern="%")] | None = None
    since: Instant | None = None
    until: Instant | None = None

    @model_validator(mode="after")
    def _fits_its_kind(self) -> TableDeclaration:
        if self.kind in FILES and self.table is not None:
            raise ValueError("table is for databases; a file's address is enough, so leave table out")
        if self.kind in SERVERS and self.table is None:
            raise ValueError("table is missing: which table or view of the database to read")
        if self.payload is not None and self.columns is not None:
            raise ValueError("payload and columns both say what the event is; leave one of them out")
        if self.kind != "dynamodb":
            for field in ("index", "partitions", "since", "until"):
                if getattr(self, field) is not None:
                    raise ValueError(f"{field} is for tables of DynamoDB; leave it out")
        elif isinstance(self.partitions, str) != (self.since is not None):
            raise ValueError(
                "a pattern in partitions and since go together: since says where the first partition is"
            )
        return self

    @property
    def kind(self) -> Choice["postgresql", "postgres", "redshift", "dynamodb", "parquet", "jsonl"]:
        """What keeps the table."""
        return self.address.partition(":")[0]  # type: ignore[return-value]

    @property
    def place(self) -> str:
        """The address less its kind."""
        return self.address.partition(":")[2].removeprefix("//")

    @property
    def seconds_to_look(self) -> float:
        """``look``, in seconds."""
        default = 5_000_000 if self.kind in _SLOW_TO_ASK else 200_000
        return (default if self.look is None else self.look) / 1_000_000

    def shown(self) -> str:
        """The address and table, as logs and errors may show them: without a password."""
        if self.kind in FILES:
            return self.address
        parts = urlsplit(self.address)
        where = self.address
        if parts.password is not None:
            where = self.address.replace(f":{parts.password}@", ":…@", 1)
        return f"{where.partition('?')[0]}, table {self.table}"


_FIX = "name a YAML file that declares tables, as docs/tables.md shows"


class _File(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    tables: Annotated[dict[Name, TableDeclaration], Field(min_length=1)]


def read_tables(path: Path) -> dict[str, TableDeclaration]:
    """The tables that a file declares, by name, in its order."""
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise TableError(f"{path}: {reason}; {_FIX}") from None
    except UnicodeDecodeError:
        raise TableError(f"{path} is no text in UTF-8; {_FIX}") from None
    try:
        said = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise TableError(f"{path} is no YAML: {error}; {_FIX}") from None
    return tables_of(said, folder=path.parent, file=str(path))


def tables_of(said: Any, *, folder: Path, file: str = "tables") -> dict[str, TableDeclaration]:
    """The tables of decoded YAML; paths are relative to ``folder``."""
    if not isinstance(said, dict) or "tables" not in said:
        raise TableError(f"{file} declares no tables; begin it with tables: and a name for each")
    try:
        found = _File.model_validate(said)
    except ValidationError as error:
        raise TableError(f"{file}: {_first_of(error, said)}") from None
    return {name: _resolved(one, folder) for name, one in found.tables.items()}


def _resolved(one: TableDeclaration, folder: Path) -> TableDeclaration:
    if one.kind not in FILES:
        return one
    return one.model_copy(update={"address": f"{one.kind}:{folder / Path(one.place).expanduser()}"})


def _first_of(error: ValidationError, said: dict[str, Any]) -> str:
    """The first mistake, with the table and the field that it is in."""
    first = error.errors()[0]
    where = [str(part) for part in first["loc"]]
    words = broken_rule(first)
    place = f"table {where[1]!r}" if len(where) > 1 else where[0]
    if len(where) < 3:
        return f"{place}: {words}"
    field = where[2]
    if first["type"] == "extra_forbidden":
        near = nearest(field, TableDeclaration.model_fields)
        return f"{place}: there is no field {field!r}" + (f"; did you mean {near}?" if near else "")
    if first["type"] == "missing":
        return f"{place}: {field} is missing; add a line {field}: with its value"
    if first["type"] == "value_error":
        return f"{place}: {field} is {first['input']!r:.80}: {words}"
    return f"{place}: {field}: {first['input']!r:.80} {words}"


def check_column(what: str, name: str, known: dict[str, Any] | list[str], table: str) -> None:
    """Raise TableError unless a column that a declaration names is one of the table's."""
    if name not in known:
        near = nearest(name, known)
        hint = f"did you mean {near!r}?" if near else f"it has {', '.join(map(repr, known)) or 'none'}"
        raise TableError(f"{table} has no column {name!r}, which {what} names; {hint}")


def declared(tables: dict[str, TableDeclaration], name: str) -> TableDeclaration:
    """The table of a name. Raises UnknownNameError."""
    if name not in tables:
        near = nearest(name, tables)
        hint = f"did you mean {near!r}?" if near else f"there are {', '.join(tables) or 'none'}"
        raise UnknownNameError(f"no table is declared as {name!r}; {hint}", code=Code.UNKNOWN_SOURCE)
    return tables[name]
