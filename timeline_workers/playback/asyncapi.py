"""AsyncAPI document of the protocol ``timeline.dvr.v1``, made from the models of requests and replies.

``document`` is a plain mapping; ``python docs/generate_dvr.py`` writes it as ``docs/dvr.asyncapi.yaml``.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterable
from typing import Any, Final

from pydantic import BaseModel
from pydantic.json_schema import JsonSchemaMode, models_json_schema

from .codes import CloseCode, DvrCode
from .replies import PROTOCOL, AnyMessage, Message
from .requests import REQUESTS, Request

VERSION: Final = "1.0.0"  # of the protocol
ADDRESS: Final = "/api/dvr"

_CLOSES = {
    CloseCode.NOT_JSON: "a message was not JSON text",
    CloseCode.TOO_LONG: "a message was longer than 64 KiB",
    CloseCode.RESTART: "the server restarts; open the socket again, and the channels, and play from there",
    CloseCode.NO_TOKEN: "there was no token, or a wrong one",
    CloseCode.FOREIGN_ORIGIN: "the page comes from another site",
    CloseCode.NOT_ACKNOWLEDGED: "no frame was acknowledged for 60 s while the window was full",
    CloseCode.TOO_MANY_SOCKETS: "this token has 8 sockets already",
}


def messages() -> dict[str, type[Message]]:
    """The models of what the server says, by ``type``."""
    return {model.model_fields["type"].default: model for model in AnyMessage.__args__}


def schemas() -> dict[str, Any]:
    """JSON Schema of every model, by its name; references are to ``#/components/schemas``.

    Requests as they are taken, replies as they are sent.
    """
    sides: list[tuple[type[BaseModel], JsonSchemaMode]] = [
        (model, "validation") for model in REQUESTS.values()
    ]
    sides += [(model, "serialization") for model in messages().values()]
    _, found = models_json_schema(sides, by_alias=True, ref_template="#/components/schemas/{model}")
    named: dict[str, Any] = found["$defs"]
    for action, request in REQUESTS.items():
        named[request.__name__]["required"] = ["action", *named[request.__name__].get("required", [])]
        named[request.__name__]["properties"]["action"] = {"const": action, "type": "string"}
    for model in messages().values():
        schema = named[model.__name__]
        schema["required"] = [name for name in schema["properties"] if name not in model.optional]
    return named


def document() -> dict[str, Any]:
    """The whole document."""
    closes = "\n".join(f"- {int(code)}: {why}" for code, why in _CLOSES.items())
    description = (
        f"A WebSocket with the subprotocol `{PROTOCOL}`; each message is one JSON text.\n\n"
        f"Codes of errors: {', '.join(DvrCode)}.\n\nThe server closes the socket with\n\n{closes}\n"
    )
    requests, replies = list(REQUESTS.values()), list(messages().values())
    return {
        "asyncapi": "3.0.0",
        "info": {"title": "Timeline DVR", "version": VERSION, "description": description},
        "defaultContentType": "application/json",
        "channels": {
            "dvr": {
                "address": ADDRESS,
                "description": "One playhead over the channels that were opened.",
                "messages": {m.__name__: {"$ref": f"#/components/messages/{m.__name__}"} for m in _both()},
                "bindings": {"ws": {"method": "GET"}},
            }
        },
        "operations": {
            "ask": _operation("receive", "What a client says.", requests),
            "tell": _operation("send", "What the server says.", replies),
        },
        "components": {"messages": {m.__name__: _message(m) for m in _both()}, "schemas": schemas()},
    }


def _both() -> list[type[Request] | type[Message]]:
    return [*REQUESTS.values(), *messages().values()]


def _operation(action: str, summary: str, models: Iterable[type[BaseModel]]) -> dict[str, Any]:
    return {
        "action": action,
        "channel": {"$ref": "#/channels/dvr"},
        "summary": summary,
        "messages": [{"$ref": f"#/channels/dvr/messages/{model.__name__}"} for model in models],
    }


def _message(model: type[BaseModel]) -> dict[str, Any]:
    text = inspect.cleandoc(model.__doc__ or "")
    return {
        "name": model.__name__,
        "summary": text.partition("\n")[0],
        "payload": {"$ref": f"#/components/schemas/{model.__name__}"},
    }
