"""The text of a message, by the templates of its rule: Jinja2 in its sandbox.

A template sees what ``WORDS`` lists, and nothing else: no attribute that begins with an underscore, no
function but Jinja's own filters. Rendering never fails: where a template cannot be used, the plain text is
there with the reason.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any, Final

from jinja2 import StrictUndefined, Template, TemplateError, TemplateSyntaxError, meta
from jinja2.sandbox import SandboxedEnvironment

from timeline_workers.language.suggestions import nearest

from .episodes import Message

WORDS: Final = {
    "rule": "the name of the rule",
    "description": "what its file says of it",
    "expression": "what is true, with `for` and `keep`",
    "key": "the key",
    "kind": "fire, moved, resolve, reopen, withdraw or merged",
    "firing": "whether the episode goes on",
    "start": "when it began, a time in UTC",
    "end": "when it ended; none while it goes on",
    "as_of": "the instant as of which this is known",
    "duration": "how long it has been, up to `end` or `as_of`",
    "episode": "its id",
    "seq": "the number of the message within the episode",
    "page": "whether somebody is woken",
    "into": "of `merged`, the id of the episode that it is part of",
}
TITLE: Final = "{{ rule }}: {{ key }} {{ kind }}"
TEXT: Final = (
    "{{ expression }}\n"
    "{% if kind == 'withdraw' %}Late data corrected it: it was not true at {{ start }}."
    "{% elif kind == 'merged' %}It is part of {{ into }}."
    "{% elif firing %}True since {{ start }}, for {{ duration }}."
    "{% else %}True from {{ start }} to {{ end }}, for {{ duration }}.{% endif %}"
)
MOST_CHARACTERS: Final = 16_384
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def template_problem(text: str) -> str:
    """Why ``text`` is no template, with what to write instead; "" where it is one."""
    try:
        tree = _environment().parse(text)
    except TemplateSyntaxError as error:
        return f"line {error.lineno} of the template: {error.message}"
    unknown = sorted(meta.find_undeclared_variables(tree) - WORDS.keys())
    if not unknown:
        return ""
    near = nearest(unknown[0], WORDS)
    hint = f"did you mean {near}?" if near else f"a message has {', '.join(WORDS)}"
    return f"the template uses `{unknown[0]:.40}`, and a message has none; {hint}"


def rendered(template: str, message: Message, more: Mapping[str, str] | None = None) -> str:
    """``template`` with the fields of ``message``; ``more``: ``description`` and ``expression``.

    At most ``MOST_CHARACTERS``; of a template that fails, the id and the kind, and why.
    """
    try:
        text = "".join(_limited(_compiled(template), _fields(message) | dict(more or {})))
    except (TemplateError, ArithmeticError, TypeError, ValueError, LookupError, AttributeError) as error:
        return f"{message.episode} {message.kind} (the template fails: {error})"[:MOST_CHARACTERS]
    return text if len(text) <= MOST_CHARACTERS else f"{text[: MOST_CHARACTERS - 1]}…"


def _limited(template: Template, fields: Mapping[str, Any]) -> Any:
    size = 0
    for part in template.generate(fields):
        yield part
        size += len(part)
        if size > MOST_CHARACTERS:
            return


def _fields(message: Message) -> dict[str, Any]:
    end = message.as_of if message.end is None else message.end
    return {
        "rule": message.rule,
        "description": "",
        "expression": message.rule,
        "key": message.key,
        "kind": message.kind,
        "firing": message.is_firing,
        "start": _time(message.start),
        "end": None if message.end is None else _time(message.end),
        "as_of": _time(message.as_of),
        "duration": timedelta(microseconds=max(0, end - message.start)),
        "episode": message.episode,
        "seq": message.seq,
        "page": message.page,
        "into": message.into,
    }


def _time(instant: int) -> datetime:
    return _EPOCH + timedelta(microseconds=instant)


@lru_cache(maxsize=1)
def _environment() -> SandboxedEnvironment:
    return SandboxedEnvironment(undefined=StrictUndefined, autoescape=False)


@lru_cache(maxsize=256)
def _compiled(text: str) -> Template:
    return _environment().from_string(text)
