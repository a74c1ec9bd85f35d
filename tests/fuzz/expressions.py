"""Fuzzing the parser: a text is a tree, which is written and read again as the same one, or an error that
shows a place in the text.
"""

from __future__ import annotations

from collections import Counter
from random import Random

from tests.fuzz import mutate
from tests.fuzz.findings import Finding, Report, judged
from timeline_workers.errors import ExpressionError
from timeline_workers.language.canonical import canonical, to_text
from timeline_workers.language.check import check
from timeline_workers.language.lexicon import FUNCTIONS
from timeline_workers.language.parser import parse

WORDS = (
    *FUNCTIONS,
    *FUNCTIONS.values(),
    *(
        "aggregate",
        "group_by",
        "col",
        "count",
        "sum",
        "avg",
        "min",
        "max",
        "true",
        "false",
        "and",
        "or",
        "not",
    ),
    *(
        "null",
        "None",
        "x",
        "a.b",
        "userAction",
        "`odd name`",
        "``",
        '"play"',
        "'it'",
        '"\\u00e9"',
        '"\\ud83d"',
    ),
    *(
        "1",
        "0",
        "600",
        "-1",
        "1.5",
        "1e3",
        "1e999",
        "9223372036854775808",
        "5s",
        "10 sec",
        "0s",
        "1.5us",
        "7q",
    ),
    *("99999999999d", "&&", "||", "&", "|", "!", "~", "==", "!=", "<", "<=", ">", ">=", "+", "-", "*", "/"),
    *(
        "(",
        ")",
        ",",
        "((((",
        "))))",
        "# note\n",
        "// note\n",
        " ",
        "\n",
        "\t",
        "\\",
        "=",
        "===",
        "$",
        "..",
        "'",
    ),
)
_EVENT = ('userAction == "seek"', "n > 5", "!flag", 'a == "x" && n < 1e3', "flag", "`odd name` != 'q'")


def valid(rng: Random, depth: int = 4) -> str:
    """A random expression that the parser takes, in either spelling."""
    made = _boolean(rng, depth) if rng.random() < 0.6 else _number(rng, depth)
    if rng.random() < 0.1:
        functions = rng.sample(("count", "sum", "avg", "min", "max"), rng.randrange(1, 4))
        made = f"{made} | aggregate(group_by(region), {', '.join(functions)})"
    return made


def _window(rng: Random) -> str:
    return f"{rng.choice((1, 5, 250))}{rng.choice(('s', 'ms', ' sec', 'm', 'us', 'h', 'd'))}"


def _spelling(rng: Random, name: str) -> str:
    return FUNCTIONS[name] if rng.random() < 0.4 else name


def _boolean(rng: Random, depth: int) -> str:
    kind = rng.randrange(7) if depth else rng.randrange(3)
    if kind == 0:
        return f"{_spelling(rng, 'has_existed')}({rng.choice(_EVENT)})"
    if kind == 1:
        return f"{_spelling(rng, 'has_existed_within')}({rng.choice(_EVENT)}, {_window(rng)})"
    if kind == 2:
        literal = rng.choice(('"play"', "'it'", "5", "true", "1.5", "`odd name`"))
        return f"{_spelling(rng, 'latest_event_to_state')}(s) == {literal}"
    if kind == 3:
        return f"{_boolean(rng, depth - 1)} {rng.choice(('&&', '||', '&', '|'))} {_boolean(rng, depth - 1)}"
    if kind == 4:
        return f"{rng.choice('!~')}({_boolean(rng, depth - 1)})"
    if kind == 5:
        return f"{_number(rng, depth - 1)} {rng.choice(('<', '<=', '>', '>=', '==', '!='))} {_number(rng, 0)}"
    return f"has_existed_within({_boolean(rng, depth - 1)}, {_window(rng)})"


def _number(rng: Random, depth: int) -> str:
    kind = rng.randrange(6) if depth else rng.randrange(3)
    if kind == 0:
        return str(rng.choice((0, 1, 600, -3, 0.5, "5s", "1e3")))
    if kind == 1:
        return f"{_spelling(rng, 'event_count')}({rng.choice(_EVENT)})"
    if kind == 2:
        return "latest_event_to_state(n)"
    if kind == 3:
        return f"{_spelling(rng, 'duration_where')}({_boolean(rng, depth - 1)})"
    if kind == 4:
        return f"({_number(rng, depth - 1)} {rng.choice('+-*/')} {_number(rng, 0)})"
    return f"duration_in_cur_state({_boolean(rng, depth - 1)})"


def _input(rng: Random) -> str:
    kind = rng.randrange(10)
    if kind < 2:
        return valid(rng)
    if kind < 8:
        return mutate.text(rng, valid(rng), WORDS)
    if kind == 8:
        return rng.choice(("", " ")).join(rng.choices(WORDS, k=rng.randrange(1, 30)))
    deep = rng.choice((50, 99, 100, 101, 300, 2_000))
    return rng.choice(
        (
            "(" * deep + "flag" + ")" * deep,
            "!" * deep + "has_existed(flag)",
            "has_existed(" * deep + "flag" + ")" * deep,
            " || ".join(["has_existed(flag)"] * deep),
            "-" * deep + "5",
            "".join(map(chr, rng.choices(range(1, 0x250), k=deep))),
            "x" * rng.choice((60_000, 65_537)),
        )
    )


def judge(text: str) -> str:
    """What became of one text."""
    try:
        tree = parse(text)
    except ExpressionError as error:
        _check_error(text, error)
        return "refused"
    except Exception as error:
        raise Finding(text, f"parse raises {error!r}") from error
    written = to_text(tree)
    try:
        again = parse(written)
    except ExpressionError as error:
        raise Finding(text, f"what is written of it, {written!r}, is not read: {error}") from error
    if again != tree or to_text(again) != written:
        raise Finding(text, f"what is written of it, {written!r}, is another tree")
    try:
        check(tree, text=text)
        short = canonical(tree)
        check(short)
    except ExpressionError as error:
        _check_error(text, error)
        return "parsed, and refused by the check"
    except Exception as error:
        raise Finding(text, f"check raises {error!r}") from error
    if canonical(parse(to_text(short))) != short:
        raise Finding(text, f"its canonical form {to_text(short)!r} has another canonical form")
    return "parsed"


def _check_error(text: str, error: ExpressionError) -> None:
    if not str(error).strip():
        raise Finding(text, "the error says nothing")
    if error.span is None:
        if len(text) <= 65_536 and error.text is not None:
            raise Finding(text, f"the error shows no place: {error}")
        return
    start, end = error.span
    if not 0 <= start <= end <= len(text) + 1 or start > len(text):
        raise Finding(text, f"the error shows {error.span}, outside the text")


def run(rng: Random, count: int, report: Report) -> Counter[str]:
    """See ``findings.Target``."""
    return Counter(judged(report, judge, _input(rng)) for _ in range(count))
