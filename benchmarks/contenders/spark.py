"""PySpark, ``local[1]``, JVM and Python bound to one core: the metric as Spark SQL (``sql``).

The table is cached in memory and the query has run twice over all of it before, so that the JVM is warm. Its
time covers the query and collecting its rows.
"""

from __future__ import annotations

import csv
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from .job import AT_END, Collect, Job, Run, main
from .sql import query


def prepare(job: Job) -> tuple[Run, Collect]:
    from pyspark.sql import SparkSession

    scratch = tempfile.TemporaryDirectory(prefix="timeline-spark-")
    AT_END.append(scratch.cleanup)
    spark = (
        SparkSession.builder.master("local[1]")
        .config("spark.driver.memory", "6g")
        .config("spark.driver.bindAddress", "127.0.0.1")
        .config("spark.driver.host", "127.0.0.1")
        .config("spark.ui.enabled", "false")
        .config("spark.sql.shuffle.partitions", "1")
        .config("spark.local.dir", scratch.name)
        .config("spark.sql.warehouse.dir", f"{scratch.name}/warehouse")
        .getOrCreate()
    )
    AT_END.append(spark.stop)
    file = Path(scratch.name, "events.csv")
    with file.open("w", newline="") as out:
        columns = [job.texts(name) for name in job.values]
        csv.writer(out).writerows(zip(job.key, job.time, *columns, strict=True))
    schema = "key int, time bigint, " + ", ".join(f"{name} string" for name in job.values)
    table = spark.read.csv(str(file), schema=schema).coalesce(1).cache()
    table.count()
    table.createOrReplaceTempView("events")
    text = query(job.metric, job.horizon)

    def run() -> list[Any]:
        rows: list[Any] = spark.sql(text).collect()
        return rows

    def collect(rows: list[Any]) -> Iterable[tuple[int, int]]:
        return ((row.key, row.duration) for row in rows)

    for _ in range(2):
        run()
    return run, collect


if __name__ == "__main__":
    main(prepare, rehearse=False)
