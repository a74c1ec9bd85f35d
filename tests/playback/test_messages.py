"""Messages of the player: what is taken, what is refused and how, and the document made from the models."""

from __future__ import annotations

import importlib.util
import json
import math
from pathlib import Path
from typing import Any

import pytest
import yaml

from timeline_workers.playback.asyncapi import document, messages, schemas
from timeline_workers.playback.codes import DvrCode, RefusedRequest
from timeline_workers.playback.replies import Failed, Frame, RecordsPart, State
from timeline_workers.playback.requests import (
    REQUESTS,
    AggregateChannel,
    EventsChannel,
    HealthChannel,
    LettersChannel,
    Loop,
    Open,
    Play,
    TimelinesChannel,
    WhatIfChannel,
    read_request,
)

TOP = Path(__file__).parents[2]


def refusal(said: object) -> RefusedRequest:
    with pytest.raises(RefusedRequest) as caught:
        read_request(said)
    return caught.value


def test_each_channel_of_open_has_its_kind() -> None:
    said = {
        "action": "open",
        "id": 7,
        "channels": [
            {"channel": "ev", "events": "playback-events", "keys": ["s1", 2]},
            {"channel": "cirr", "metric": "cirr", "nodes": "all", "keys": ["s1"]},
            {"channel": "load", "metric": "idle-by-region", "groups": "all"},
            {"channel": "try", "expression": "has_existed(x == 1)", "like": "cirr"},
            {"channel": "health"},
            {"channel": "letters", "topic": "playback-events"},
        ],
        "as_of": None,
    }
    request = read_request(said)
    assert isinstance(request, Open)
    assert [type(channel) for channel in request.channels] == [
        EventsChannel,
        TimelinesChannel,
        AggregateChannel,
        WhatIfChannel,
        HealthChannel,
        LettersChannel,
    ]
    assert request.id == 7
    assert request.model_fields_set == {"id", "channels", "as_of"}


@pytest.mark.parametrize(
    "said",
    [
        {"action": "play", "start": 0, "end": 10, "speed": 20, "loop": False},
        {"command": "PLAY", "start": 0, "end": 10, "speed": 20, "loop": "False"},
        {"command": "Play", "start": 0, "end": 10, "speed": 20},
    ],
)
def test_one_play_is_said_in_several_ways(said: dict[str, Any]) -> None:
    request = read_request(said)
    assert isinstance(request, Play)
    assert (request.start, request.end, request.speed, request.loop) == (0, 10, 20, False)


def test_a_loop_is_from_one_instant_to_another() -> None:
    request = read_request({"action": "loop", "from": 1, "to": "1970-01-01T00:00:02Z"})
    assert isinstance(request, Loop)
    assert (request.from_, request.to, request.off) == (1, "1970-01-01T00:00:02Z", False)


@pytest.mark.parametrize(
    ("said", "code", "field"),
    [
        (None, DvrCode.BAD_MESSAGE, None),
        ([1], DvrCode.BAD_MESSAGE, None),
        ("play", DvrCode.BAD_MESSAGE, None),
        ({}, DvrCode.BAD_MESSAGE, "action"),
        ({"action": 7}, DvrCode.BAD_MESSAGE, "action"),
        ({"action": "play", "command": "play"}, DvrCode.BAD_MESSAGE, "action"),
        ({"action": "rewind"}, DvrCode.UNKNOWN_ACTION, "action"),
        ({"action": "play", "strat": 1}, DvrCode.BAD_MESSAGE, "strat"),
        ({"action": "play", "start": True}, DvrCode.BAD_TIME, "start"),
        ({"action": "play", "end": math.inf}, DvrCode.BAD_TIME, "end"),
        ({"action": "play", "speed": 0}, DvrCode.BAD_SPEED, "speed"),
        ({"action": "play", "speed": -1}, DvrCode.BAD_SPEED, "speed"),
        ({"action": "play", "speed": math.nan}, DvrCode.BAD_SPEED, "speed"),
        ({"action": "play", "speed": True}, DvrCode.BAD_SPEED, "speed"),
        ({"action": "play", "speed": "2"}, DvrCode.BAD_SPEED, "speed"),
        ({"action": "speed", "speed": 10_000_001}, DvrCode.BAD_SPEED, "speed"),
        ({"action": "play", "loop": "0"}, DvrCode.BAD_FLAG, "loop"),
        ({"action": "play", "loop": 1}, DvrCode.BAD_FLAG, "loop"),
        ({"action": "seek"}, DvrCode.BAD_MESSAGE, "to"),
        ({"action": "loop", "from": 1}, DvrCode.BAD_MESSAGE, None),
        ({"action": "ack", "frame": 0}, DvrCode.BAD_ACK, "frame"),
        ({"action": "ack", "frame": "3"}, DvrCode.BAD_ACK, "frame"),
        ({"action": "limits", "frames_per_second": 101}, DvrCode.BAD_RANGE, "frames_per_second"),
        ({"action": "open", "channels": []}, DvrCode.BAD_MESSAGE, "channels"),
        ({"action": "open", "channels": [{"channel": "x"}]}, DvrCode.BAD_MESSAGE, "channels"),
    ],
)
def test_a_wrong_request_names_code_and_field(said: object, code: DvrCode, field: str | None) -> None:
    error = refusal(said)
    assert (error.reason, error.field) == (code, field)
    assert str(error)


def test_a_refusal_knows_the_id_and_the_nearest_action() -> None:
    error = refusal({"action": "plya", "id": "a7"})
    assert error.reply == "a7"
    assert error.hint == "did you mean play?"
    assert "'plya'" in str(error)


def test_what_does_not_apply_is_left_out() -> None:
    state = State(
        status="playing", position=2.5, speed=10, loop=False, start=0, end=None, epoch=1, reply=None
    )
    said = json.loads(state.to_json())
    assert "reply" not in said
    assert said["end"] is None
    error = json.loads(Failed(reply=3, code=DvrCode.BAD_TIME, message="…").to_json())
    assert error == {"type": "error", "reply": 3, "code": "bad-time", "message": "…"}


def test_a_frame_has_its_bounds_under_their_names() -> None:
    frame = Frame(
        epoch=1, frame=2, from_=0, to=1, channels={"ev": RecordsPart(count=1, records=[[1, "k", {}, 5]])}
    )
    said = json.loads(frame.to_json())
    assert (said["from"], said["to"]) == (0, 1)
    assert Frame.model_validate(said) == frame


def test_the_document_is_what_the_models_say() -> None:
    """docs/dvr.asyncapi.yaml is what docs/generate_dvr.py makes; run it when this fails."""
    spec = importlib.util.spec_from_file_location("generate_dvr", TOP / "docs/generate_dvr.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert module.PAGE.read_text(encoding="utf-8") == module.page()


def test_every_reference_of_the_document_leads_somewhere() -> None:
    whole = document()
    found = 0

    def walk(part: Any) -> None:
        nonlocal found
        if isinstance(part, dict):
            if isinstance(target := part.get("$ref"), str):
                found += 1
                at: Any = whole
                for name in target.removeprefix("#/").split("/"):
                    at = at[name]
            for inner in part.values():
                walk(inner)
        elif isinstance(part, list):
            for inner in part:
                walk(inner)

    walk(whole)
    assert found > 50
    assert yaml.safe_load(yaml.safe_dump(whole)) == whole


def test_every_message_has_a_schema_with_its_fields() -> None:
    found = schemas()
    for action, request in REQUESTS.items():
        assert found[request.__name__]["properties"]["action"]["const"] == action
    for name, message in messages().items():
        assert found[message.__name__]["properties"]["type"]["const"] == name
        assert "type" in found[message.__name__]["required"]
