"""Each mistake in a text: where the caret stands, what is said."""

from __future__ import annotations

import pytest

from timeline_workers.errors import ExpressionError
from timeline_workers.language.parser import parse

# The text, with the place of the mistake between «», and words that the error must hold.
MISTAKES = [
    ("« »", "is empty", "has_existed"),
    ("«#» nothing", "is empty"),
    ('a == «"x»', "string", "never closed"),
    ("a == «'x»\n'", "string", "never closed"),
    ("«`x == 1»", "column name", "never closed"),
    ("«(»a == b", "this ( is never closed"),
    ("(a == «(»b", "this ( is never closed"),
    ("has_existed«(»a", "this ( is never closed"),
    ("a == b«)»", "this ) closes nothing"),
    (r'a == "x«\q»"', "unknown escape", r"\uXXXX"),
    (r'a == "«\u»12"', "unknown escape"),
    (r'a == «"\ud800"»', "surrogate"),
    ("a «=» b", "unexpected character", "write =="),
    ("a «<>» b", "`<>` is not an operator", "=="),
    ("a «%» b", "unexpected character", "+ - * /"),
    ("a == «“»x”", "unexpected character", "plain quotes"),
    ("a ==« »", "after `==`", "found the end"),
    ("a && «&&» b", "after `&&`", "found `&&`"),
    ("«*» a", "a function, a column or a value"),
    ("a == «!»b", "cannot follow `==`", "parentheses"),
    ("a «b»", "operator", "before `b`"),
    ("(a «b»)", "closing )"),
    ("a«,» b", "comma"),
    ("a < b «<» c", "chained", "&&"),
    ("a «and» b", "not an operator", "&&"),
    ("a == 10 «and» b", "not an operator", "&&"),
    ("a «or» b", "not an operator", "||"),
    ("«not» a", "not an operator", "!"),
    ("«not»(a)", "not a function", "!"),
    ("a == «True»", "not a word", "true"),
    ("a == «null»", "null", "False wherever a side is unknown"),
    ("«has_exsted»(a)", "no function", "did you mean has_existed?"),
    ("«TL_HasExistd»(a)", "no function", "did you mean TL_HasExisted?"),
    ("«frobnicate»(a)", "no function", "latest_event_to_state"),
    ("has_existed(«)»", "needs one argument"),
    ("has_existed(a, «5s»)", "takes one argument, not 2"),
    ("has_existed_within(a«)»", "duration such as 5s"),
    ("has_existed_within(a, 5s, «6s»)", "takes two arguments, not 3"),
    ("has_existed_within(a, «0s»)", "longer than 0"),
    ("has_existed_within(a, «-5»)", "longer than 0"),
    ('has_existed_within(a, «"5s"»)', "expected a duration", "5s"),
    ("has_existed_within(a, «0.0000001»)", "whole number of microseconds"),
    ("has_existed_within(a, 5 «parsecs»)", "unknown unit"),
    ("has_existed_within(a, 5«secnd»)", "unknown unit", "did you mean second?"),
    ("has_existed_within(a, «9999999d»)", "10,000 years"),
    ("«1.5us» == a", "whole number of microseconds"),
    ("a == «9223372036854775808»", "64 bits", "float"),
    ("a == -«9223372036854775809»", "64 bits"),
    ("a == «" + "9" * 5000 + "»", "64 bits"),
    ("a == «1e999»", "too large"),
    ("a == «1.5.2»", "is not a number"),
    ("a == «5.»", "is not a number"),
    ("a == «.»5", "unexpected character", "0.5"),
    ("col(«x») == 1", "needs a string"),
    ("«``» == 1", "cannot be empty"),
    ('col(«""») == 1', "cannot be empty"),
    ('latest_event_to_state(«"x"»)', "needs a column", "latest_event_to_state(x)"),
    ("latest_event_to_state(«x == 1»)", "needs a column"),
    ("a «||» aggregate(group_by(b), count)", "means or", "|"),
    ("has_existed(«aggregate»(group_by(b), count))", "last step"),
    ("«aggregate»(group_by(b), count)", "last step"),
    ("a | «aggregate»(group_by(b), count) && c", "last step"),
    ("«group_by»(b)", "aggregate"),
    ("a | aggregate(«count»)", "group_by(column)"),
    ("a | «aggregate()»", "group_by(column)"),
    ("a | aggregate(group_by(b)«)»", "at least one function"),
    ("a | aggregate(group_by(b), «cnt»)", "count, sum, avg, min, max", "did you mean count?"),
    ("a | aggregate(group_by(b), «mean»)", "avg"),
    ("a | aggregate(group_by(b), count, «count»)", "twice"),
    ("a | aggregate(group_by(«1»), count)", "needs a column"),
    ("a == 1\n  && has_existed(b «c»)", "line 2, column 20"),
    ("a«;»", "unexpected character"),
]


@pytest.mark.parametrize("mistake", MISTAKES, ids=[case[0][:60] for case in MISTAKES])
def test_the_caret_stands_under_the_mistake(mistake: tuple[str, ...]) -> None:
    """The error names the place of the mistake, the rule and the way out."""
    marked, *words = mistake
    start, end = marked.index("«"), marked.index("»") - 1
    text = marked.replace("«", "").replace("»", "")
    with pytest.raises(ExpressionError) as caught:
        parse(text)
    assert caught.value.span is not None
    where = caught.value.span
    assert (where[0], min(where[1], len(text))) == (start, min(end, len(text)))
    for word in words:
        assert word in str(caught.value)


def test_the_error_shows_the_line_and_a_caret() -> None:
    """str(error) shows line and column, the line, carets of the mistake's width, and the hint."""
    with pytest.raises(ExpressionError) as caught:
        parse('a == 1 &&\n\thas_exsted(b == "x")')
    assert str(caught.value).splitlines() == [
        "line 2, column 2: there is no function `has_exsted`",
        '  \thas_exsted(b == "x")',
        "  \t^^^^^^^^^^",
        "did you mean has_existed?",
    ]


def test_a_long_line_is_cut_around_the_mistake() -> None:
    """An error in a line of thousands of characters stays readable, and the caret stands right."""
    text = "a == 1 || " * 40 + "oops(b)" + " || a == 1" * 40
    with pytest.raises(ExpressionError) as caught:
        parse(text)
    _, line, caret, *_ = str(caught.value).splitlines()
    assert len(line) < 120
    assert line[caret.index("^") :].startswith("oops(b)")


def test_length_is_limited() -> None:
    """An expression over 64 Ki characters is refused by its length."""
    with pytest.raises(ExpressionError, match="65536"):
        parse("a" + " " * 65_536)


def test_depth_is_limited_where_it_goes_too_far() -> None:
    """Too deep a nesting names the limit and the place."""
    with pytest.raises(ExpressionError, match="deeper than 100 levels"):
        parse("!" * 201 + "a")
