"""Every kind of bad event of a source with ``key: id``, ``time: t`` in seconds and the columns below, with
the reason it is refused for and words that its message must hold.
"""

from __future__ import annotations

from typing import NamedTuple

COLUMNS = {"state": "string", "n": "int", "x": "float", "ok": "bool"}


class Bad(NamedTuple):
    payload: bytes
    reason: str
    words: str


def with_column(text: str) -> bytes:
    return b'{"id": "a", "t": 1, ' + text.encode("utf-8", "surrogatepass") + b"}"


BAD = [
    Bad(b"", "malformed-json", "empty"),
    Bad(b"  \n ", "malformed-json", "empty"),
    Bad(b"{nonsense", "malformed-json", "byte 1"),
    Bad(b'{"id": "a", "t": 1', "malformed-json", "truncated"),
    Bad(b'{"id": "a", "t": 1,}', "malformed-json", "trailing comma"),
    Bad(b'{"id": "a", "t": 1}{"id": "b", "t": 1}', "malformed-json", "trailing characters"),
    Bad(b'\xef\xbb\xbf{"id": "a", "t": 1}', "malformed-json", "byte order mark"),
    Bad(b"[1, 2]", "malformed-json", "an array, not a JSON object"),
    Bad(b'"text"', "malformed-json", "a string, not a JSON object"),
    Bad(b"null", "malformed-json", "null, not a JSON object"),
    Bad(b"17", "malformed-json", "a number, not a JSON object"),
    Bad(b"\xff\xfe\x00", "malformed-json", "UTF-8"),
    Bad(b'{"id": "a", "t": 1, "unused": "\xff"}', "malformed-json", "UTF-8"),
    Bad(with_column('"state": "\\ud800"'), "malformed-json", "'state' has half of a surrogate pair"),
    Bad(with_column('"x": NaN'), "malformed-json", "'x' has NaN"),
    Bad(with_column('"x": -Infinity'), "malformed-json", "'x' has -Infinity"),
    Bad(with_column('"deep": {"y": [NaN]}'), "malformed-json", "'deep.y' has NaN"),
    Bad(b"[" * 200_000, "malformed-json", "nested too deeply"),
    Bad(with_column('"deep": ' + "[" * 100_000 + "]" * 100_000), "malformed-json", "nested too deeply"),
    Bad(b"{}", "missing-key", "'id' is missing"),
    Bad(b'{"t": 1}', "missing-key", "'id' is missing"),
    Bad(b'{"id": null, "t": 1}', "missing-key", "'id' is missing or null"),
    Bad(b'{"id": "", "t": 1}', "missing-key", "empty string"),
    Bad(b'{"id": 1.5, "t": 1}', "wrong-key-type", "1.5 is a float"),
    Bad(b'{"id": true, "t": 1}', "wrong-key-type", "True is a bool"),
    Bad(b'{"id": ["a"], "t": 1}', "wrong-key-type", "an array or object"),
    Bad(b'{"id": 9223372036854775808, "t": 1}', "int-out-of-range", "9223372036854775808"),
    Bad(b'{"id": "' + b"k" * 2_000 + b'", "t": 1}', "too-large", "1,024"),
    Bad(b'{"id": "a"}', "missing-time", "'t' is missing"),
    Bad(b'{"id": "a", "t": null}', "missing-time", "'t' is missing or null"),
    Bad(b'{"id": "a", "t": "noon"}', "bad-time", "'noon'"),
    Bad(b'{"id": "a", "t": false}', "bad-time", "False"),
    Bad(b'{"id": "a", "t": [1]}', "bad-time", "[1]"),
    Bad(b'{"id": "a", "t": 1e300}', "bad-time", "years 1 to 9999"),
    Bad(b'{"id": "a", "t": 99999999999999999999999999}', "bad-time", "years 1 to 9999"),
    Bad(b'{"id": "a", "t": -62135596801}', "bad-time", "years 1 to 9999"),
    Bad(with_column('"n": 9223372036854775808'), "int-out-of-range", "'n' has 9223372036854775808"),
    Bad(with_column('"n": -9223372036854775809'), "int-out-of-range", "'n' has -9223372036854775809"),
    Bad(with_column('"n": ' + "9" * 5_000), "int-out-of-range", "64 bits"),
    Bad(with_column('"x": 1e999'), "not-finite", "'x' has inf"),
    Bad(with_column('"state": 5'), "wrong-type", "'state' has 5, an int"),
    Bad(with_column('"state": ["on"]'), "wrong-type", "'state' has ['on']"),
    Bad(with_column('"n": 1.0'), "wrong-type", "'n' has 1.0, a float"),
    Bad(with_column('"n": "1"'), "wrong-type", "'n' has '1', a string"),
    Bad(with_column('"x": true'), "wrong-type", "'x' has True, a bool"),
    Bad(with_column('"ok": 0'), "wrong-type", "'ok' has 0, an int"),
    Bad(with_column('"state": "' + "s" * 1_000_000 + '"'), "too-large", "'state' has 1,000,000 bytes"),
    Bad(with_column('"unused": "' + "s" * 1_100_000 + '"'), "too-large", "1,048,576"),
    Bad(b"s" * 6_000_000, "too-large", "6,000,000"),
]
# What `max_ahead` refuses: only where events have a time of publishing.
AHEAD = Bad(b'{"id": "a", "t": 253402300000}', "time-too-far-ahead", "max_ahead")
# Odd, and good all the same.
GOOD = [
    b'{"id": "odd", "t": 1, "state": "on", "unknown": 1, "nested": {"a": [1, null]}}',
    b' {"id": "odd", "t": 1, "state": null}\r\n',
    b'{"id": "odd", "t": 1.5, "n": 9223372036854775807, "x": 1, "ok": true}',
    b'{"id": "odd", "t": 1, "unused": "' + b"s" * 1_000_000 + b'"}',
    b'{"id": "odd", "t": 1, "unused": 123456789012345678901234567890}',
]
