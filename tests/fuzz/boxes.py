"""Fuzzing encrypted payloads: a box opens to what was put into it, or not at all."""

from __future__ import annotations

from collections import Counter
from random import Random

from tests.fuzz import mutate
from tests.fuzz.findings import Finding, Report, judged
from timeline_workers.errors import CodecError
from timeline_workers.servers.temporal.encryption import Keyring
from timeline_workers.settings.credentials import parse_keys

_RING = Keyring(parse_keys("k1:" + "A" * 43 + "= k2:" + "B" * 42 + "A="))


def _open(key: str, box: bytes, changed: bytes, plain: bytes) -> str:
    try:
        found = _RING.decrypt(key, changed)
    except CodecError:
        if changed == box and key == "k1":
            raise Finding((key, box), "a box that nobody touched does not open") from None
        return "refused"
    except Exception as error:
        raise Finding((key, changed), f"raises {error!r}") from error
    if found != plain or changed != box or key != "k1":
        raise Finding((key, changed), f"opens to {found!r} instead of {plain!r}")
    return "the same content"


def run(rng: Random, count: int, report: Report) -> Counter[str]:
    """See ``findings.Target``."""
    outcomes: Counter[str] = Counter()
    for _ in range(count):
        plain = rng.randbytes(rng.randrange(40))
        box = _RING.encrypt(plain)
        way = rng.randrange(10)
        changed = rng.randbytes(rng.randrange(80)) if way == 0 else mutate.flip(rng, box) if way < 8 else box
        key = rng.choice(("k1", "k1", "k1", "k2", "k3", ""))
        outcomes[judged(report, _open, key, box, changed, plain)] += 1
    return outcomes
