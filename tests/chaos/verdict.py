"""The verdict on `timeline get`: what it showed, second by second, against what was so.

Pure. Times are seconds of the monotonic clock. An answer is *old* from the moment at which the broker
confirmed a message until the result workers have applied it. The law: ``BOUND`` seconds after that began,
`get` does not say ok, and it does again ``BOUND`` seconds after all is applied. (Whether answers are wrong
though everything is applied is seen in the end, when all of them are compared.)
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

BOUND = 10.0
# Every message is unapplied for a moment, and each side of the comparison is looked at once a second.
USUAL = 4.0


@dataclass(frozen=True, slots=True)
class Shown:
    """The answer of one `get`: asked at ``begun``, there at ``ended``. ``states`` and ``causes`` by metric;
    ``error`` where it could not say anything of metrics.
    """

    begun: float
    ended: float
    states: Mapping[str, str] = field(default_factory=dict)
    causes: Mapping[str, str] = field(default_factory=dict)
    error: str | None = None

    def says_ok(self, metric: str) -> bool:
        """Whether a reader takes the metric for well."""
        return self.error is None and self.states.get(metric) == "ok"


@dataclass(frozen=True, slots=True)
class Fact:
    """What was so at ``at``: by metric since when some message is stored and not applied (None: none is), and
    when all its result workers had last said so.
    """

    at: float
    waiting: Mapping[str, float | None]
    heard: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Spell:
    """A metric's answers were old from ``begin`` to ``end`` (None: to the last look)."""

    metric: str
    begin: float
    end: float | None


@dataclass(frozen=True, slots=True)
class Lie:
    """`get` said ok at ``at``, when a message had not been applied for ``after`` seconds."""

    metric: str
    at: float
    after: float


@dataclass(slots=True)
class Verdict:
    """``noticed``: the longest that a spell lasted before `get` said so (None: no spell, or none as long);
    ``again``: the longest until it said ok after a spell; ``late``: spells after which that took longer than
    the law allows; ``oldest``: how old answers became.
    """

    spells: list[Spell] = field(default_factory=list)
    lies: list[Lie] = field(default_factory=list)
    noticed: float | None = None
    again: float | None = None
    late: list[str] = field(default_factory=list)
    oldest: float = 0.0

    @property
    def true(self) -> bool:
        """Whether the law was kept."""
        return not self.lies and not self.late


def old_spells(facts: Sequence[Fact]) -> list[Spell]:
    """When answers were old for longer than they usually are.

    A spell ends at the last look that found it so: the one after it already found it over.
    """
    spells: list[Spell] = []
    for metric in sorted({name for fact in facts for name in fact.waiting}):
        begin: float | None = None
        last = 0.0
        for fact in facts:
            since = fact.waiting.get(metric)
            if since is not None and fact.at - since > USUAL:
                begin, last = since if begin is None else begin, fact.at
            elif begin is not None:
                spells.append(Spell(metric, begin, last))
                begin = None
        if begin is not None:
            spells.append(Spell(metric, begin, None))
    return spells


def _lies(one: Shown, facts: Sequence[Fact]) -> Iterator[Lie]:
    """A worker that says after a `get` that it still lacks a message had lacked it during the `get`, too."""
    for metric in one.states:
        proofs = (f.waiting[metric] for f in facts if f.heard.get(metric, 0.0) >= one.ended)
        since = next(proofs, None)
        if since is not None and one.says_ok(metric) and one.begun - since > BOUND:
            yield Lie(metric, one.begun, round(one.begun - since, 1))


def verdict(shown: Sequence[Shown], facts: Sequence[Fact], *, ends_ill: bool = False) -> Verdict:
    """Hold ``shown`` against ``facts``.

    ``ends_ill``: `get` rightly goes on to say that something is lost, so it need not say ok again.
    """
    found = Verdict(spells=old_spells(facts))
    ages = (f.at - since for f in facts for since in f.waiting.values() if since is not None)
    found.oldest = round(max(ages, default=0.0), 1)
    found.lies = [lie for one in shown for lie in _lies(one, facts)]
    for spell in found.spells:
        end = max((s.ended for s in shown), default=spell.begin) if spell.end is None else spell.end
        inside = [s for s in shown if spell.begin <= s.begun and s.ended <= end]
        first = next((s.ended for s in inside if not s.says_ok(spell.metric)), None)
        if first is not None and end - spell.begin > BOUND:
            found.noticed = max(found.noticed or 0.0, round(first - spell.begin, 1))
        if spell.end is None or ends_ill or first is None:
            continue
        again = next((s.ended for s in shown if s.begun >= spell.end and s.says_ok(spell.metric)), None)
        followed = any(o.metric == spell.metric and o.begin > spell.begin for o in found.spells)
        if again is not None:
            took = round(again - spell.end, 1)
            found.again = max(found.again or 0.0, took)
            if took > BOUND and not followed:
                found.late.append(f"{spell.metric}: ok {took} s after all was right")
        elif not followed and any(s.begun > spell.end + BOUND for s in shown):
            found.late.append(f"{spell.metric}: not ok again")
    return found
