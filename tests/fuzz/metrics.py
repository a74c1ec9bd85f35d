"""Fuzzing metric files: a file is a metric that can be planned or is refused with what is wrong."""

from __future__ import annotations

from collections import Counter
from random import Random
from typing import Any

import yaml

from tests.fuzz import expressions, mutate
from tests.fuzz.findings import Finding, Report, judged
from timeline_workers.errors import ExpressionError, MetricError
from timeline_workers.metric.load import load_metric
from timeline_workers.metric.model import Metric
from timeline_workers.plan.physical import plan, workers

WORDS = (
    *(
        "name:",
        "source:",
        "topic:",
        "key:",
        "time:",
        "time_unit:",
        "columns:",
        "allowed_lateness:",
        "max_ahead:",
    ),
    *(
        "partitions:",
        "retention:",
        "key_ttl:",
        "idle_timeout:",
        "expression:",
        "path:",
        "type:",
        "description:",
    ),
    *(
        "per-key",
        "string",
        "int",
        "1h",
        "5",
        "-1",
        "null",
        "~",
        "true",
        "yes",
        "[]",
        "{}",
        "&a",
        "*a",
        "<<: *a",
    ),
    *(
        "!!python/object:os.system",
        "!!binary",
        "? ",
        "- ",
        "|\n",
        ">\n",
        "---\n",
        "...\n",
        "\n",
        "  ",
        "\t",
        ":",
    ),
    *(
        "#",
        '"',
        "'",
        "2001-01-01",
        "0x10",
        "1_000",
        ".inf",
        "99999999999999999999d",
        "\x00",
        "{",
        "}",
        "@",
        "`",
    ),
)
_ANY = "duration_where(latest_event_to_state(state) == 'play')"


def _valid(rng: Random) -> dict[str, Any]:
    source: dict[str, Any] = {"topic": "events", "key": "id", "time": "t"}
    if rng.random() < 0.7:
        source["time_unit"] = rng.choice(("s", "ms", "us", "ns", "iso"))
        source["allowed_lateness"] = rng.choice(("1h", "0s", "5m", "10 sec"))
    if rng.random() < 0.5:
        source["columns"] = {"state": "string", "n": {"type": "int", "path": "a.n"}, "flag": "bool"}
    if rng.random() < 0.5:
        source["partitions"] = rng.choice((1, 4, 4096, "per-key"))
    if rng.random() < 0.3:
        source["idle_timeout"] = "5m"
    metric = {"name": "m", "source": source, "expression": expressions.valid(rng, 2)}
    if rng.random() < 0.5:
        metric["expression"] = _ANY
    if rng.random() < 0.3:
        metric |= {"retention": "7d", "key_ttl": "1d", "description": "what it says"}
    return metric


def _input(rng: Random) -> str:
    kind = rng.randrange(10)
    data = _valid(rng)
    if kind < 4:
        data = mutate.inside(rng, data)
    elif kind < 5:
        data = mutate.value(rng, 4)
    dumped = yaml.safe_dump(data, sort_keys=False, allow_unicode=rng.random() < 0.5) + "\n"
    if kind == 6:
        layers = [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 12)]
        return "\n".join(
            ["a0: &a0 [1]", *layers, f"{rng.choice(('name', 'source', 'expression'))}: *a11", dumped]
        )
    if kind == 7 and rng.random() < 0.1:
        deep = rng.choice((50, 50, 50, 300))
        return "name: " + "[" * deep + "]" * deep + "\n"
    return mutate.text(rng, dumped, WORDS) if kind >= 8 else dumped


def judge(text: str) -> str:
    """What became of one file."""
    try:
        metric = load_metric(text if "\n" in text else text + "\n")
    except MetricError as error:
        if not str(error).strip() or len(str(error)) > 20_000:
            raise Finding(text, f"the error has {len(str(error))} characters") from error
        return "refused"
    except Exception as error:
        raise Finding(text, f"load_metric raises {error!r}") from error
    if Metric.model_validate_json(metric.model_dump_json()) != metric:
        raise Finding(text, "as JSON it is another metric")
    try:
        planned = plan(metric)
    except (MetricError, ExpressionError):
        return "read, and refused by the plan"
    except Exception as error:
        raise Finding(text, f"plan raises {error!r}") from error
    if metric.source.partitions != "per-key" and not workers(planned, "p0") and len(planned.nodes) > 1:
        raise Finding(text, "its plan has no workers")
    return "planned"


def run(rng: Random, count: int, report: Report) -> Counter[str]:
    """See ``findings.Target``."""
    return Counter(judged(report, judge, _input(rng)) for _ in range(count))
