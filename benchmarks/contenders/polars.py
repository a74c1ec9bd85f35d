"""Polars, one thread (``POLARS_MAX_THREADS``): sort by key and time, carry forward within a key, sum per key.

Columns: a frame with int keys and Categorical strings, built before. JSON lines: ``scan_ndjson`` with the
columns declared. Its time covers collecting the lazy frame.
"""

from __future__ import annotations

from typing import Any

from .job import SECOND, Collect, Job, Run, main, number_of


def prepare(job: Job) -> tuple[Run, Collect]:
    import numpy as np
    import polars as pl

    if job.options["form"] == "jsonl":
        schema: dict[str, Any] = {"key": pl.String, "time": pl.Int64}
        schema |= {name: pl.String if values else pl.Float64 for name, values in job.values.items()}
        events = pl.scan_ndjson(job.lines_file(), schema=schema)
    else:
        data: dict[str, Any] = {"key": np.asarray(job.key), "time": np.asarray(job.time)}
        for name, values in job.values.items():
            column = np.asarray(job.column(name))
            if values:
                table = pl.Series(values).cast(pl.Enum(values))
                index = pl.Series(np.where(column < 0, 0, column)).cast(pl.UInt32)
                known = pl.Series(column >= 0)
                text = table.gather(index)
                data[name] = pl.select(pl.when(known).then(text)).to_series()
            else:
                data[name] = column
        events = pl.DataFrame(data).lazy()
    plan = _PLANS[job.metric](events, job.horizon)

    def run() -> Any:
        return plan.collect()

    def collect(rows: Any) -> Any:
        numbers = rows["key"].to_list()
        if job.options["form"] == "jsonl":
            numbers = map(number_of, numbers)
        return zip(numbers, rows["duration"].to_list(), strict=True)

    return run, collect


def _sorted(events: Any, horizon: int) -> Any:
    import polars as pl

    until = pl.col("time").shift(-1, fill_value=horizon).over("key")
    return events.sort("key", "time").with_columns(until=until)


def _carried(*columns: Any) -> list[Any]:
    return [column.forward_fill().over("key") for column in columns]


def _cirr(events: Any, horizon: int) -> Any:
    import polars as pl

    time, until, state = pl.col("time"), pl.col("until"), pl.col("playerStateChange")
    filled = _sorted(events, horizon).with_columns(
        *_carried(
            state,
            pl.col("cdn"),
            pl.when(pl.col("userAction") == "seek").then(time).alias("sought"),
            pl.when(state == "play").then(pl.lit(1)).alias("played"),
        )
    )
    begin = pl.max_horizontal(time, pl.col("sought") + 5 * SECOND)
    counted = (state == "buffer") & pl.col("played").is_not_null() & (pl.col("cdn") == "CDN1")
    length = pl.when(counted).then((until - begin).clip(lower_bound=0)).otherwise(0)
    return filled.group_by("key").agg(duration=length.sum())


def _playtime(events: Any, horizon: int) -> Any:
    import polars as pl

    state = pl.col("playerStateChange")
    filled = _sorted(events.select("key", "time", state), horizon).with_columns(*_carried(state))
    length = pl.when(state == "play").then(pl.col("until") - pl.col("time")).otherwise(0)
    return filled.group_by("key").agg(duration=length.sum())


def _outlier(events: Any, horizon: int) -> Any:
    import polars as pl

    time, place = pl.col("time"), pl.col("lat_long")
    moved = place.ne_missing(place.shift(1).over("key"))
    filled = _sorted(events, horizon).with_columns(
        *_carried(
            pl.when(pl.col("km") > 900 * pl.col("hours")).then(time).alias("far"),
            pl.when(pl.col("amount") > 1000).then(time).alias("spent"),
            pl.when(moved).then(time).alias("moved"),
        )
    )
    both = pl.min_horizontal(pl.col("moved") + 70 * SECOND, pl.col("spent").fill_null(0) + 60 * SECOND)
    end = pl.max_horizontal(pl.col("far").fill_null(0) + 600 * SECOND, both)
    length = (pl.min_horizontal(pl.col("until"), end) - time).clip(lower_bound=0)
    return filled.group_by("key").agg(duration=length.sum())


_PLANS = {"cirr": _cirr, "playtime": _playtime, "outlier": _outlier}

if __name__ == "__main__":
    main(prepare)
