"""Networks built in Python: the same tree as a file's.

>>> net = NetworkBuilder("bets")
>>> bets = net.source("bets", topic="bets", key="customer", time="t", columns={"stake": "float"})
>>> clean = net.stream("clean", bets, where="stake > 0", derive={"double": "stake * 2"})
>>> net.output("back", clean, topic="clean-bets")
>>> net.build().order
['clean']
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import ValidationError

from timeline_workers.errors import NetworkError

from .network_file import refuse_problems, validation_problems
from .network_model import Network
from .wiring import Wiring, wire


class NetworkBuilder:
    """A network that grows by a part at a time. The fields are those of a file; durations are texts."""

    def __init__(self, name: str, description: str = "") -> None:
        self._fields: dict[str, Any] = {"network": name, "description": description, "tests": []}

    def _add(self, section: str, name: str, fields: Mapping[str, Any]) -> str:
        parts = self._fields.setdefault(section, {})
        if name in parts:
            raise NetworkError(f"{section}.{name}: it is there already; choose another name")
        parts[name] = {field: value for field, value in fields.items() if value not in (None, (), {})}
        return name

    def source(self, name: str, **fields: Any) -> str:
        """Add a source; the fields are those of a metric's source. Returns its name."""
        return self._add("sources", name, fields)

    def stream(
        self,
        name: str,
        *inputs: str,
        explode: str | None = None,
        where: str | None = None,
        derive: Mapping[str, str] | None = None,
        sample: int | Mapping[str, Any] | None = None,
        split: Mapping[str, str] | None = None,
    ) -> str:
        """Add a stream of one input, or a merger of several. Returns its name."""
        reads: dict[str, Any] = {"from": inputs[0]} if len(inputs) == 1 else {"merge": inputs}
        fields = {
            "explode": explode,
            "where": where,
            "derive": dict(derive or {}),
            "split": dict(split or {}),
        }
        sampled = {"one_in": sample} if isinstance(sample, int) else sample
        return self._add("streams", name, {**reads, **fields, "sample": sampled})

    def metric(self, name: str, reads: str, expression: str, **fields: Any) -> str:
        """Add a metric over a source or a stream. Returns its name."""
        return self._add("metrics", name, {"from": reads, "expression": expression, **fields})

    def output(self, name: str, reads: str, *, topic: str | None = None) -> None:
        """Add an output into ``topic``; None: to nothing, counted."""
        self._add("outputs", name, {"from": reads, "to": "nothing" if topic is None else {"topic": topic}})

    def test(self, name: str, at: str, events: Any, expect: Sequence[Any], refused: int = 0) -> None:
        """Add a test."""
        fields = {"name": name, "at": at, "input": events, "expect": list(expect), "refused": refused}
        self._fields["tests"].append(fields)

    def build(self) -> Wiring:
        """The network, wired. Raises NetworkError that names all that is wrong."""
        name = f"network {self._fields['network']}"
        try:
            wiring = wire(Network.model_validate(self._fields))
        except ValidationError as error:
            raise NetworkError("\n".join(validation_problems(error, name))) from None
        refuse_problems(wiring, name)
        return wiring
