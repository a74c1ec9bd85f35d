"""Every setting that is refused names its variable, its value, the rule and the fix; so does every field of a
metric file.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from timeline_workers.errors import MetricError, SettingsError
from timeline_workers.events.times import to_microseconds
from timeline_workers.metric.load import load_metric
from timeline_workers.metric.model import ColumnSpec, Metric, Output, Source
from timeline_workers.settings.credentials import CodecAccess, PulsarAccess
from timeline_workers.settings.environment import FromEnvironment
from timeline_workers.settings.history_settings import HistorySettings
from timeline_workers.settings.timeline_settings import Settings

FIX = re.compile(
    r"[;,] (or )?(write|set|unset|name|leave|put|make|keep|shorten|give|use|did you mean|the fields are)\b"
    r"|; is the "
)
WRONG = ["abc", "-1", "1.5", "nan", "1e99", "/no/such/file", "a.b", "\udcff", " "]
SETTINGS: list[tuple[type[FromEnvironment], str]] = [
    (settings, field)
    for settings in (Settings, PulsarAccess, CodecAccess, HistorySettings)
    for field in settings.model_fields
]


@pytest.mark.parametrize(("settings", "field"), SETTINGS, ids=lambda one: getattr(one, "__name__", one))
def test_a_refused_setting_names_its_fix(
    settings: type[FromEnvironment], field: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a folder of its own: a file that can be written, as one for a log, is made when it is named."""
    monkeypatch.chdir(tmp_path)
    variable = settings.variable(field)
    refused = 0
    for value in WRONG:
        try:
            settings.from_env({variable: value})
        except SettingsError as error:
            refused += 1
            said = str(error)
            assert said.startswith(variable) or variable in said
            assert FIX.search(said), said
            assert "Input should be" not in said
    assert refused  # at the least what is no text


def test_a_number_says_its_bounds() -> None:
    with pytest.raises(SettingsError) as refused:
        Settings.from_env({"TIMELINE_STATE_BYTES": "abc"})
    assert str(refused.value) == (
        "TIMELINE_STATE_BYTES='abc': is not a whole number; write one from 1024 to 18874368, or unset it for "
        "16777216"
    )


GOOD: dict[str, Any] = {
    "name": "m",
    "source": {"topic": "t", "key": "k", "time": "t", "columns": {"x": {"type": "int"}}},
    "expression": "has_existed(x == 1)",
    "output": {"topic": "o"},
}
PLACES = [
    *((field,) for field in Metric.model_fields if field not in ("naming", "named_source")),
    *(("source", field) for field in Source.model_fields),
    *(("source", "columns", "x", field) for field in ColumnSpec.model_fields),
    *(("output", field) for field in Output.model_fields),
]


@pytest.mark.parametrize("place", PLACES, ids=".".join)
def test_a_refused_field_names_its_fix(place: tuple[str, ...]) -> None:
    refused = 0
    for value in (None, "", [], {"a": 1}, -1, 1.5, 1e400, True, "a b", "x" * 5_000, {}, 10**30):
        made = json.loads(json.dumps(GOOD))
        at = made
        for part in place[:-1]:
            at = at[part]
        at[place[-1]] = value
        try:
            load_metric(json.dumps(made).replace("Infinity", ".inf"))
        except MetricError as error:
            refused += 1
            for line in str(error).splitlines():
                assert FIX.search(line), (value, line)
                assert "Input should be" not in line
    assert refused


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns", "iso"])
@pytest.mark.parametrize("value", [float("nan"), float("inf"), 1e300, True, "x", [], 10**40, "2024-13-01"])
def test_a_wrong_time_names_its_fix(unit: str, value: object) -> None:
    with pytest.raises(Exception, match=FIX) as refused:
        to_microseconds(value, unit)
    assert type(refused.value).__name__ == "EventError"
