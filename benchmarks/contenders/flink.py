"""Apache Flink over a file of JSON lines, with exactly-once checkpoints every second, on all cores.

``api`` ``sql``: the metric as SQL with OVER windows in event time; every event gives a row with the duration
up to the horizon as known then, appended to files that checkpoints commit. ``api`` ``python``: a
KeyedProcessFunction with keyed state does the same computation (``byhand``) and gives a row per key at the
end. The file is compressed, so that one reader takes it in order. Its time covers everything from the import
of PyFlink to the end of the job: its start-up is in it, as the feeder's is in ours.
"""

from __future__ import annotations

import gzip
import os
import sys
import tempfile
import threading
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from .byhand import SEEK_WINDOW, SESSIONS
from .job import AT_END, FIRST, NOTES, Collect, Job, Run, main, number_of

CHECKPOINTS = "1s"
_LOOK_SECONDS = 0.05


def prepare(job: Job) -> tuple[Run, Collect]:
    scratch = tempfile.TemporaryDirectory(prefix="timeline-flink-")
    AT_END.append(scratch.cleanup)
    home = Path(scratch.name)
    events = home / "events.jsonl.gz"
    with gzip.open(events, "wb", compresslevel=1) as out:
        out.writelines(job.lines())
    settings = {
        "parallelism.default": str(len(os.sched_getaffinity(0))),
        "execution.checkpointing.interval": CHECKPOINTS,
        "execution.checkpointing.mode": "EXACTLY_ONCE",
        "execution.checkpointing.dir": f"file://{home}/checkpoints",
        "table.local-time-zone": "UTC",
        # Its Python workers run in this environment, not in whatever `python` is on the path.
        "python.executable": sys.executable,
        "python.client.executable": sys.executable,
        "restart-strategy.type": "none",  # a failure is to be seen
        "rest.bind-address": "127.0.0.1",
        "rest.address": "127.0.0.1",
        "taskmanager.memory.managed.size": "1g",
    }
    work = _sql if job.options["api"] == "sql" else _python

    def run() -> None:
        threading.Thread(target=_note_first, args=(home / "out", time.perf_counter()), daemon=True).start()
        work(job, events, home / "out", settings)

    def collect(_: object) -> Iterable[tuple[int, int]]:
        latest: dict[str, tuple[int, int]] = {}
        for file in (path for path in (home / "out").rglob("*") if path.is_file()):
            for line in file.read_text().splitlines():
                key, time, duration = line.strip().strip('"').split(",")
                latest[key] = max(latest.get(key, (-1, 0)), (int(time), int(duration)))
        return ((number_of(key), duration) for key, (_, duration) in latest.items())

    return run, collect


def _note_first(out: Path, began: float) -> None:
    """Note when the job writes its first row, into a file that is not committed yet."""
    while not any(path.is_file() for path in out.rglob("*")):
        time.sleep(_LOOK_SECONDS)
    NOTES[FIRST] = time.perf_counter() - began


def _sql(job: Job, events: Path, out: Path, settings: dict[str, str]) -> None:
    from pyflink.common import Configuration
    from pyflink.table import EnvironmentSettings, TableEnvironment

    configuration = Configuration()
    for name, value in settings.items():
        configuration.set_string(name, value)
    chosen = EnvironmentSettings.new_instance().in_streaming_mode().with_configuration(configuration)
    environment = TableEnvironment.create(chosen.build())
    columns = ", ".join(f"{name} STRING" for name in job.values)
    environment.execute_sql(f"""
CREATE TABLE events (
  `key` STRING, `time` BIGINT, {columns},
  ts AS TO_TIMESTAMP_LTZ(`time` / 1000, 3),
  WATERMARK FOR ts AS ts - INTERVAL '0.001' SECOND
) WITH ('connector' = 'filesystem', 'path' = '{events}', 'format' = 'json')""")
    environment.execute_sql(f"""
CREATE TABLE durations (`key` STRING, `time` BIGINT, duration BIGINT)
WITH ('connector' = 'filesystem', 'path' = '{out}', 'format' = 'csv')""")
    environment.execute_sql(stalls(job.horizon)).wait()


def stalls(horizon: int) -> str:
    """The metric ``stalls``: what each event closes, summed, and what is open up to the horizon."""
    so_far = "(PARTITION BY `key` ORDER BY ts ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW)"
    in_order = "(PARTITION BY `key` ORDER BY ts)"
    return f"""
INSERT INTO durations
SELECT `key`, `time`,
       SUM(CASE WHEN held THEN GREATEST(0, `time` - GREATEST(since, began)) ELSE 0 END) OVER {so_far}
         + CASE WHEN holds THEN GREATEST(0, {horizon} - GREATEST(`time`, begins)) ELSE 0 END
FROM (
  SELECT `key`, `time`, ts, holds, begins,
         LAG(`time`, 1) OVER {in_order} AS since,
         LAG(holds, 1, FALSE) OVER {in_order} AS held,
         LAG(begins, 1) OVER {in_order} AS began
  FROM (
    SELECT `key`, `time`, ts,
           (LAST_VALUE(playerStateChange) OVER {so_far} = 'buffer'
             AND MAX(CASE WHEN playerStateChange = 'play' THEN 1 ELSE 0 END) OVER {so_far} = 1) IS TRUE
             AS holds,
           COALESCE(MAX(CASE WHEN userAction = 'seek' THEN `time` END) OVER {so_far}, 0) + {SEEK_WINDOW}
             AS begins
    FROM events
  )
)"""


def _python(job: Job, events: Path, out: Path, settings: dict[str, str]) -> None:
    import json

    from pyflink.common import Configuration, Duration, Row, Types, WatermarkStrategy
    from pyflink.common.serialization import Encoder
    from pyflink.common.watermark_strategy import TimestampAssigner
    from pyflink.datastream import KeyedProcessFunction, StreamExecutionEnvironment
    from pyflink.datastream.connectors.file_system import FileSink, FileSource, StreamFormat
    from pyflink.datastream.state import ValueStateDescriptor

    make, horizon = SESSIONS[job.metric], job.horizon
    columns = make.columns

    class Times(TimestampAssigner):  # type: ignore[misc]
        def extract_timestamp(self, value: Any, record_timestamp: int) -> int:
            return int(value[1] // 1000)

    class Session(KeyedProcessFunction):  # type: ignore[misc]
        def open(self, runtime_context: Any) -> None:
            described = ValueStateDescriptor("session", Types.PICKLED_BYTE_ARRAY())
            self.state = runtime_context.get_state(described)

        def process_element(self, value: Any, ctx: Any) -> Iterable[str]:
            session = self.state.value()
            if session is None:
                session = make()
                ctx.timer_service().register_event_time_timer(horizon // 1000 + 1)
            _, now, *event = value
            session.hear(now, tuple(event))
            self.state.update(session)
            return ()

        def on_timer(self, timestamp: int, ctx: Any) -> Iterable[str]:
            session = self.state.value()
            session.advance(horizon)
            yield f"{ctx.get_current_key()},{horizon},{session.duration}"

    def decode(line: str) -> Row:
        event = json.loads(line)
        return Row(event["key"], event["time"], *[event.get(name) for name in columns])

    configuration = Configuration()
    for name, value in settings.items():
        configuration.set_string(name, value)
    environment = StreamExecutionEnvironment.get_execution_environment(configuration)
    source = FileSource.for_record_stream_format(StreamFormat.text_line_format(), str(events)).build()
    row = Types.ROW([Types.STRING(), Types.LONG(), *[Types.STRING() for _ in columns]])
    in_time = WatermarkStrategy.for_bounded_out_of_orderness(Duration.of_millis(1))
    (
        environment.from_source(source, WatermarkStrategy.no_watermarks(), "events")
        .map(decode, output_type=row)
        .assign_timestamps_and_watermarks(in_time.with_timestamp_assigner(Times()))
        .key_by(lambda value: value[0], key_type=Types.STRING())
        .process(Session(), output_type=Types.STRING())
        .sink_to(FileSink.for_row_format(str(out), Encoder.simple_string_encoder()).build())
    )
    environment.execute("metric")


if __name__ == "__main__":
    main(prepare, rehearse=False)
