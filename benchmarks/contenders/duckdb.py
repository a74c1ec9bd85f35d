"""DuckDB, one thread, in memory: the metric as SQL with window functions (``sql``).

Columns: a table of its own with int keys and ENUM columns, loaded before. JSON lines: ``read_json`` with the
columns it needs declared. Its time covers the query and fetching the result as columns.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .job import Collect, Job, Run, main, number_of
from .sql import query


def prepare(job: Job) -> tuple[Run, Collect]:
    import duckdb

    connection = duckdb.connect(":memory:")
    connection.execute("SET threads=1")
    text = query(job.metric, job.horizon)
    if job.options["form"] == "jsonl":
        types = {"key": "VARCHAR", "time": "BIGINT"}
        types |= {name: "VARCHAR" if values else "DOUBLE" for name, values in job.values.items()}
        read = f"read_json('{job.lines_file()}', format='newline_delimited', columns={types})"
        text = text.replace("FROM events", f"FROM {read} AS events")
    else:
        load(connection, job)

    def run() -> Any:
        return connection.execute(text).fetchnumpy()

    def collect(rows: Any) -> Any:
        numbers = rows["key"].tolist()
        if job.options["form"] == "jsonl":
            numbers = map(number_of, numbers)
        return zip(numbers, map(int, rows["duration"].tolist()), strict=True)

    return run, collect


def load(connection: Any, job: Job) -> None:
    """Make the table ``events``."""
    import pyarrow as pa

    columns: dict[str, Any] = {"key": np.asarray(job.key), "time": np.asarray(job.time)}
    selected = ["key", "time"]
    for name, values in job.values.items():
        data = np.asarray(job.column(name))
        if values:
            listed = ", ".join(f"'{value}'" for value in values)
            connection.execute(f"CREATE TYPE of_{name} AS ENUM ({listed})")
            codes = pa.array(data.astype(np.int32), mask=data < 0)
            columns[name] = pa.DictionaryArray.from_arrays(codes, pa.array(values))
            selected.append(f"{name}::of_{name} AS {name}")
        else:
            columns[name] = data
            selected.append(name)
    connection.register("given", pa.table(columns))
    connection.execute(f"CREATE TABLE events AS SELECT {', '.join(selected)} FROM given")
    connection.unregister("given")


if __name__ == "__main__":
    main(prepare)
