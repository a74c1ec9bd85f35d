"""Definition files: what is written is read back as the same metric or source."""

from __future__ import annotations

from typing import Any

from hypothesis import given, strategies as st

from timeline_workers.metric.definition_file import expression_places, metric_file, source_file
from timeline_workers.metric.load import load_metric, load_source
from timeline_workers.metric.model import Metric, NamedSource, Source

Durations = st.integers(1, 10**12)
Texts = st.text(st.characters(exclude_categories=["Cc", "Cs", "Zl", "Zp"]), min_size=1, max_size=12)
Names = st.from_regex(r"\A[A-Za-z][A-Za-z0-9_.-]{0,20}\Z")
Columns = st.dictionaries(
    Texts,
    st.fixed_dictionaries(
        {"type": st.sampled_from(["bool", "int", "float", "string"])},
        optional={"path": Texts, "on_bad_value": st.sampled_from(["refuse", "missing"])},
    ),
    max_size=3,
)
Plain = st.fixed_dictionaries(
    {"topic": Names, "key": Texts, "time": Texts},
    optional={
        "time_unit": st.sampled_from(["s", "ms", "us", "ns", "iso"]),
        "columns": Columns,
        "allowed_lateness": st.just(0) | Durations,
        "clock_skew": Durations,
        "max_ahead": Durations,
        "idle_timeout": Durations,
        "partitions": st.integers(1, 8) | st.just("per-key"),
    },
)
Changelogs = st.fixed_dictionaries({"topic": Names, "changelog": st.sampled_from([True, "max"])})
Sources = (Plain | Changelogs).map(Source.model_validate)
Extras: st.SearchStrategy[dict[str, Any]] = st.fixed_dictionaries(
    {},
    optional={
        "description": st.text(st.characters(codec="ascii", exclude_categories=["Cc"]), max_size=30),
        "retention": Durations,
        "key_ttl": Durations,
        "fuse": st.just(True),
        "output": st.just({"topic": "out"}),
        "history": st.fixed_dictionaries(
            {}, optional={"events": st.booleans(), "nodes": st.just("all"), "retention": Durations}
        ),
    },
)
EXPRESSIONS = ("has_existed(x == 1)", 'has_existed(x == "a: b")\n  && !has_existed(y == 2)\n')


@given(Names, Sources, st.sampled_from(EXPRESSIONS), Extras)
def test_a_metric_is_read_back(name: str, source: Source, expression: str, extras: dict[str, Any]) -> None:
    metric = Metric(name=name, source=source, expression=expression, **extras)
    file = metric_file(metric)
    assert load_metric(file) == metric
    places = expression_places(file, expression)
    for line, text in zip(places or (), expression.splitlines(), strict=True):
        assert file.splitlines()[line[0] - 1][line[1] - 1 :].startswith(text)


@given(Names, Sources)
def test_a_source_is_read_back(name: str, source: Source) -> None:
    stored = NamedSource(name=name, source=source)
    assert load_source(source_file(stored)) == stored
