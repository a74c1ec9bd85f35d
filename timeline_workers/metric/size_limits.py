"""Limits on the size of a metric: what is beyond is refused when the metric is read or applied, with the
reason.

The definition of a metric travels in the input of each of its workers and in the catalog, which Temporal
bounds at 2 MiB. Metrics that were registered by an earlier release are not measured again.

Other limits are where they apply: events in ``events.rules.Limits``, expressions in ``language.lexicon`` and
``language.nesting``, graphs in ``plan.physical``, questions in ``answers.json_questions``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from timeline_workers.errors import MetricError
from timeline_workers.language.lexicon import MAX_WINDOW

from .model import Metric, Source

METRIC_FILE_BYTES = 1 << 18
MAX_COLUMNS = 500
NAME_BYTES = 256
DESCRIPTION_BYTES = 4_096


def refuse_oversized(metric: Metric) -> None:
    """Raise MetricError when a part of ``metric`` is larger than it may be; names all of them."""
    found = list(_problems(metric))
    if found:
        raise MetricError("\n".join(f"metric {metric.name!r}: {problem}" for problem in found))


def refuse_oversized_source(source: Source, what: str) -> None:
    """Raise MetricError when a part of ``source``, called ``what``, is larger than it may be."""
    found = list(_source_problems(source))
    if found:
        raise MetricError("\n".join(f"{what}: {problem}" for problem in found))


def _source_problems(source: Source) -> Iterator[str]:
    if len(source.columns) > MAX_COLUMNS:
        yield (
            f"source.columns: {len(source.columns):,} columns are declared, and {MAX_COLUMNS} are the most; "
            "declare those that the expression uses"
        )
    names = {"source.key": source.key, "source.time": source.time, "source.topic": source.topic}
    for number, (name, spec) in enumerate(source.columns.items(), 1):
        names[f"source.columns: the name of column {number}"] = name
        if spec.path is not None:
            names[f"source.columns: the path of column {number}"] = spec.path
    for what, text in names.items():
        if (size := len(text.encode(errors="surrogatepass"))) > NAME_BYTES:
            yield f"{what}: {text[:40]!r}… has {size:,} bytes, and {NAME_BYTES} are the most; write less"
    yield from _too_long(
        {
            "source.allowed_lateness": source.allowed_lateness,
            "source.clock_skew": source.clock_skew,
            "source.max_ahead": source.max_ahead,
            "source.idle_timeout": source.idle_timeout,
        }
    )


def _problems(metric: Metric) -> Iterator[str]:
    yield from _source_problems(metric.source)
    if any("\ud800" <= c <= "\udfff" for c in metric.description):
        yield "description: it has half of a surrogate pair, which is no text; take it out"
    if (size := len(metric.description.encode(errors="surrogatepass"))) > DESCRIPTION_BYTES:
        yield f"description: it has {size:,} bytes, and {DESCRIPTION_BYTES:,} are the most; shorten it"
    yield from _too_long({"retention": metric.retention, "key_ttl": metric.key_ttl})


def _too_long(durations: Mapping[str, int | None]) -> Iterator[str]:
    for what, duration in durations.items():
        if duration is not None and duration > MAX_WINDOW:
            yield f"{what}: it is longer than 10,000 years; write a shorter one, or leave it out"
