"""The state of a client: over any sockets that are lost, what it hears is what one socket would have told."""

from __future__ import annotations

from hypothesis import given, strategies as st

from timeline_workers.events.times import from_microseconds, question_time
from timeline_workers.playback.client_state import ClientState
from timeline_workers.playback.replies import Frame, RecordsPart, State
from timeline_workers.playback.requests import EventsChannel, Open, Play, Seek, SetLimits

SECOND = 1_000_000
EVENTS = EventsChannel(channel="ev", events="topic")
Instants = st.lists(st.integers(0, 40).map(lambda n: n * SECOND // 4 + n % 3), max_size=20).map(sorted)


def state_of(start: int, end: int, epoch: int) -> State:
    return State(
        status="playing",
        position=seconds(start),
        speed=1.0,
        loop=False,
        start=seconds(start),
        end=seconds(end),
        epoch=epoch,
    )


def seconds(micros: int) -> int | float:
    found = from_microseconds(micros, "s")
    assert not isinstance(found, str)
    return found


def frames(instants: list[int], start: int, end: int, cuts: list[int]) -> list[Frame]:
    """What a server sends of a window that it cuts at some instants."""
    ends = sorted({end, *(cut for cut in cuts if start <= cut < end)})
    found, after = [], start - 1
    for number, to in enumerate(ends, 1):
        records = [[seconds(at), "k", {}, at] for at in instants if after < at <= to]
        part = RecordsPart(count=len(records), records=records)
        found.append(
            Frame(
                epoch=1,
                frame=number,
                from_=seconds(max(after, start)),
                to=seconds(to),
                channels={"ev": part} if records else {},
            )
        )
        after = to
    return found


@given(Instants, st.lists(st.integers(0, 10 * SECOND), max_size=8), st.lists(st.integers(0, 4), max_size=4))
def test_lost_sockets_lose_and_repeat_nothing(
    instants: list[int], cuts: list[int], losses: list[int]
) -> None:
    """After each loss the server plays what the client asks for; ``losses``: frames until then."""
    client, end = ClientState(), 10 * SECOND
    client.done(Open(channels=[EVENTS], as_of=5))
    client.done(SetLimits(records=50))
    start, heard, epochs = 0, [], []
    for loss in [*losses, None]:
        epochs.append(client.heard(state_of(start, end, 1)).epoch)  # type: ignore[union-attr]
        for frame in frames(instants, start, end, cuts)[:loss]:
            shown = client.heard(frame)
            assert isinstance(shown, Frame)
            for part in shown.channels.values():
                assert isinstance(part, RecordsPart)
                assert part.count == len(part.records)
                heard += [record[3] for record in part.records]
        client.lost()
        opened, limits, play = client.again()
        assert opened == Open(channels=[EVENTS], as_of=5)
        assert limits == SetLimits(records=50)
        assert isinstance(play, Play)
        start = question_time(play.start, "s")
    assert heard == [at for at in instants if at <= end]
    assert epochs == sorted(epochs)


def test_a_live_edge_played_again_is_not_shown() -> None:
    """A server that has nothing new plays from its edge, which was shown before."""
    client = ClientState()
    client.heard(state_of(0, SECOND, 1))
    client.heard(frames([SECOND], 0, SECOND, [])[0])
    client.lost()
    again = client.heard(frames([SECOND, 2 * SECOND], SECOND, 2 * SECOND, [SECOND + 1])[0])
    assert isinstance(again, Frame)
    assert again.channels == {}


def test_what_stands_still_is_opened_only() -> None:
    client = ClientState()
    assert client.again() == []
    client.done(Open(channels=[EVENTS]))
    client.heard(state_of(0, SECOND, 1).model_copy(update={"status": "ended"}))
    client.lost()
    assert client.again() == [Open(channels=[EVENTS])]
    client.heard(state_of(0, SECOND, 1).model_copy(update={"loop": True}))
    client.heard(frames([], 0, SECOND // 2, [])[0])
    client.lost()
    assert [type(one) for one in client.again()] == [Open, Play, Seek]
