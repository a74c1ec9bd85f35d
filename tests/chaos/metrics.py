"""The metrics of a run: four over one topic, all but one of which read it in the same way."""

from __future__ import annotations

from timeline_workers.metric.model import Metric, Source

LATENESS, LONG_LATENESS = 60, 150  # seconds

_PLAYER = {"playerStateChange": "string", "userAction": "string", "cdnChange": "string"}
CIRR = """duration_where(
    latest_event_to_state(playerStateChange) == "buffer" && has_existed(playerStateChange == "play")
    && !has_existed_within(userAction == "seek", 5s) && latest_event_to_state(cdnChange) == "CDN1")"""
COUNTS = 'event_count_within(userAction == "seek", 30s) + event_count(bitrate >= 1750)'
BY_CDN = """duration_where(latest_event_to_state(playerStateChange) == "buffer")
    | aggregate(group_by(cdnChange), count, sum)"""


def metrics(topic: str, partitions: int | None = None) -> list[Metric]:
    """The metrics of a run over ``topic``, with so many ``partitions`` each (None: four, and once three).

    All but the second share their source, and so leaves; the last is the first again, with one worker for
    all derived nodes of a partition. The second declares a column more and is more patient: an event that is
    late or ill-typed for the others may be fine for it. Its keys leave the workers for archives when they
    are idle, and many come back.
    """
    patient = {**_PLAYER, "bitrate": "int"}
    many, fewer = partitions or 4, partitions or 3
    return [
        _metric("chaos-cirr", CIRR, topic, _PLAYER, LATENESS, many),
        _metric("chaos-counts", COUNTS, topic, patient, LONG_LATENESS, fewer, key_ttl=20_000_000),
        _metric("chaos-by-cdn", BY_CDN, topic, _PLAYER, LATENESS, many),
        _metric("chaos-cirr-fused", CIRR, topic, _PLAYER, LATENESS, many, fuse=True),
    ]


def _metric(
    name: str,
    expression: str,
    topic: str,
    columns: dict[str, str],
    lateness: int,
    partitions: int,
    key_ttl: int | None = None,
    fuse: bool = False,
) -> Metric:
    source = {
        "topic": topic,
        "key": "session_id",
        "time": "timestamp",
        "columns": columns,
        "allowed_lateness": f"{lateness}s",
        "partitions": partitions,
    }
    read = Source.model_validate(source)
    return Metric(name=name, source=read, expression=expression, key_ttl=key_ttl, fuse=fuse)
