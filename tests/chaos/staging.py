"""Playing one scene, from the start of the servers to its report."""

from __future__ import annotations

import asyncio
import json
import traceback
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager, suppress
from dataclasses import asdict, dataclass, field
from statistics import median
from time import monotonic
from typing import Any

from tests.chaos.harness import configure, supervised
from tests.chaos.recording import Recorded, add_store
from tests.chaos.scene import Act, Course, Scene, SceneError, log_events
from tests.chaos.settling import Ending, Tell, settle
from tests.chaos.stacks import TOPIC, Stack
from tests.chaos.traffic import still
from tests.chaos.verdict import Shown, Verdict, verdict
from tests.chaos.watching import Watch, watching
from timeline_workers.plan.physical import plan
from timeline_workers.servers.temporal.temporal_client import connect
from workflows.client import ask

# Everything is applied when nothing has waited for longer than this.
CALM_SECONDS = 6.0
OK_SECONDS = 60.0
START_SECONDS = 150.0
IDLE_KEYS = 60
DRAIN_SECONDS = 150.0


@dataclass(slots=True)
class Played:
    """What became of one act: see ``Act``. ``seen``: (state, cause) as `get` showed them while it lasted;
    ``said``: warnings and errors in the logs; ``right_after``: seconds from the end of ``heal`` until every
    stored message was applied; ``verdict``: whether `get` was truthful. ``trouble``: why it could not be
    played.
    """

    name: str
    fault: str
    operator: str
    lost: str
    seen: list[tuple[str, str]] = field(default_factory=list)
    said: list[str] = field(default_factory=list)
    right_after: float | None = None
    verdict: Verdict = field(default_factory=Verdict)
    trouble: str = ""

    @property
    def ok(self) -> bool:
        """Whether all was as it must be."""
        return not self.trouble and self.verdict.true


@dataclass(slots=True)
class SceneReport:
    """One scene. ``ok``: no difference, every act as it must be; ``history``: what the store of it holds in
    the end; ``not_played``: acts that were left out.
    """

    scene: str
    about: str
    stack: str
    seed: int
    acts: list[Played] = field(default_factory=list)
    stored: int = 0
    lost: int = 0
    compared: dict[str, int] = field(default_factory=dict)
    differences: dict[str, int] = field(default_factory=dict)
    shown: list[str] = field(default_factory=list)
    seconds: float = 0.0
    gets: dict[str, float] = field(default_factory=dict)
    history: dict[str, int] = field(default_factory=dict)
    trouble: str = ""
    not_played: list[str] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """Whether all was as it must be."""
        return not self.differences and not self.trouble and all(act.ok for act in self.acts)

    def json(self) -> str:
        """The report as JSON."""
        return json.dumps({"ok": self.ok, **asdict(self)}, indent=2, default=str, ensure_ascii=False)


async def play(
    scene: Scene,
    seed: int,
    stacks: AbstractAsyncContextManager[Stack],
    tell: Tell = print,
    acts: Sequence[str] = (),
) -> SceneReport:
    """Play ``scene`` (or those of its ``acts``) once. Leaves no process behind, however it ends."""
    report = SceneReport(scene.name, scene.about, scene.stack, seed)
    begun = monotonic()
    chosen = [act for act in scene.acts if not acts or act.name in acts]
    try:
        async with stacks as stack:
            recorded = None if scene.history is None else Recorded(add_store(stack, scene.history))
            configure(stack, scene.settings)
            stack.add_programs(scene.workers, scene.feeders)
            tell(f"{scene.name}: seed {seed}; logs in {stack.directory / 'logs'}")
            try:
                scene.prepare(stack)
                await stack.start()
                async with supervised(stack):
                    await _play(scene, chosen, seed, stack, recorded, report, tell)
            finally:
                for program in stack.programs.values():
                    program.thaw()  # what is stopped cannot end
                scene.clean_up(stack)
    except Exception as error:  # the others are played all the same, and this one's report says why not
        report.trouble = f"{type(error).__name__}: {error}"
        tell(traceback.format_exc())
    report.seconds = round(monotonic() - begun, 1)
    played = {act.name for act in report.acts}
    report.not_played = [act.name for act in scene.acts if act.name not in played]
    return report


async def _play(
    scene: Scene,
    acts: Sequence[Act],
    seed: int,
    stack: Stack,
    recorded: Recorded | None,
    report: SceneReport,
    tell: Tell,
) -> None:
    client = await connect()
    plans = [plan(metric) for metric in scene.metrics(TOPIC)]
    for planned in plans:
        await ask.apply(client, planned.metric, continue_as_new_after=scene.hand_over)
    for feeder in stack.feeders:
        await feeder.up()
    places = [stack.directory / "nothing-sent"]
    async with watching(client, plans, places, everybody=scene.everybody) as watch:
        course = Course(
            stack, client, plans, seed, scene.hand_over, watch, tell, places, stack.partitions,
            recorded=recorded,
        )  # fmt: skip
        try:
            # Keys that are idle from the beginning, so that some leave for archives.
            await course.send(list(still(seed, IDLE_KEYS, 1.0)))
            stream = await course.stream(scene.rate, rush=scene.rush)
            await course.until(lambda: stream.stored >= scene.rush, "the rush is stored", START_SECONDS)
            stored = monotonic()
            await course.until(
                lambda: _is_fed(watch, stored) and _is_well(watch),
                "every metric is ok and fed", START_SECONDS,
            )  # fmt: skip
            await scene.set_up(course)
            for act in acts:
                played = await _act(act, course)
                report.acts.append(played)
                tell(_words(played))
                if played.trouble:
                    break
            for program in stack.programs.values():
                await program.up()
            await _end(stream)
        except SceneError as error:
            report.trouble = str(error)
        finally:
            for stream in course.streams:
                stream.stop()
    ending = Ending(
        stack, client, plans, seed, places, course.partitions, DRAIN_SECONDS,
        kept=course.kept, recreated=watch.recreated, later=watch.later.keys(), lost=lambda _: course.lost,
        forgotten=course.forgotten, counts=scene.counts, may_miss=scene.may_miss_confirmed,
        letterless=frozenset() if scene.letters_stay else frozenset(course.kept), recorded=recorded,
    )  # fmt: skip
    settled = await settle(ending, (), tell)
    last = await watch.get()
    report.stored, report.lost = settled.stored, settled.lost
    report.compared, report.differences = settled.compared, settled.differences
    report.shown, report.history = settled.shown, settled.history
    wrong = [m for m, state in last.states.items() if state == "ok"]
    if settled.differences and wrong:
        report.shown.append(f"`get` says ok in the end: {', '.join(wrong)}")
    report.gets = _gets(watch.shown)
    looks = [
        *((one.begun, asdict(one)) for one in watch.shown),
        *((one.at, asdict(one)) for one in watch.facts),
    ]
    lines = [json.dumps(look, ensure_ascii=False) for _, look in sorted(looks, key=lambda one: one[0])]
    (stack.directory / "looks.jsonl").write_text("\n".join(lines) + "\n")


async def _end(stream: Any) -> None:
    """Have the stream send its end marks."""
    code = await asyncio.to_thread(stream.stop)
    if code != 0:
        raise SceneError(f"{stream.name} ended with code {code}; see {stream.log}")


def _is_well(watch: Watch, states: frozenset[str] = frozenset({"ok"})) -> bool:
    return bool(watch.facts) and watch.waiting < CALM_SECONDS and watch.says(states)


def _is_fed(watch: Watch, until: float) -> bool:
    """Whether everything that was stored by then is applied."""
    if not watch.facts or watch.facts[-1].at <= until:
        return False
    return all(oldest is None or oldest > until for oldest in watch.facts[-1].waiting.values())


async def _act(act: Act, course: Course) -> Played:
    watch, played = course.watch, Played(act.name, act.fault, act.operator, act.lost)
    shown, facts = len(watch.shown), len(watch.facts)
    logs = [name for name in course.stack.programs if name.startswith(("worker", "feeder"))]
    before = {name: course.log(name) for name in logs}
    begun = monotonic()
    course.tell(f"  {act.name}: {act.fault}")
    healed = None
    try:
        await act.inflict(course)
        await asyncio.sleep(act.hold)
        await act.heal(course)
        healed = monotonic()
        await course.until(
            lambda: watch.facts[-1].at > healed and watch.waiting < CALM_SECONDS,
            f"{act.name}: every stored message is applied", act.within,
        )  # fmt: skip
        played.right_after = round(max(0.0, monotonic() - healed), 1)
        begun_to_be_right = monotonic()
        # One more look than the law allows, so that a late one is seen.
        await course.until(
            lambda: (_is_well(watch, act.ends) and watch.shown[-1].begun > begun_to_be_right),
            f"{act.name}: `get` shows every metric as {' or '.join(sorted(act.ends))}", OK_SECONDS,
        )  # fmt: skip
    except Exception as error:
        played.trouble = f"{type(error).__name__}: {error}"
        if healed is None:
            with suppress(Exception):  # what comes after it is compared on a system that is whole
                await act.heal(course)
    own = watch.shown[shown:]
    played.verdict = verdict(own, watch.facts[facts:], ends_ill="ok" not in act.ends)
    played.seen = _seen(own)
    usual = set(log_events("\n".join(before.values())))
    new = log_events("\n".join(course.log(name)[len(text) :] for name, text in before.items()))
    played.said = [line for line in new if line not in usual]
    course.tell(f"    {monotonic() - begun:.0f} s")
    return played


def _seen(shown: Sequence[Shown]) -> list[tuple[str, str]]:
    """Each state but ok with the first cause that it had, in the order in which they were seen."""
    found: dict[str, str] = {}
    for one in shown:
        if one.error is not None:
            found.setdefault("no answer", one.error)
        for metric, state in one.states.items():
            if state != "ok":
                found.setdefault(state, one.causes.get(metric, ""))
    return list(found.items())


def _gets(shown: Sequence[Shown]) -> dict[str, float]:
    took = [one.ended - one.begun for one in shown]
    return (
        {"asked": len(took), "median": round(median(took), 2), "longest": round(max(took), 2)} if took else {}
    )


def _words(played: Played) -> str:
    found = played.verdict
    parts = [
        f"seen {[state for state, _ in played.seen]}",
        f"answers {found.oldest} s old at most, `get` said so after {found.noticed} s",
        f"all applied {played.right_after} s after, ok {found.again} s after that",
    ]
    if found.lies:
        parts.append(f"LIES {len(found.lies)}: {found.lies[0]}")
    if found.late:
        parts.append(f"LATE {found.late}")
    if played.trouble:
        parts.append(f"TROUBLE {played.trouble}")
    return "    " + "; ".join(parts)
