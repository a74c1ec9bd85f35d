"""The metrics as SQL with window functions, over ``events(key, time, …)`` with one row per event.

No two events share an instant, so the order of time is total. Times are microseconds. Where an event need not
have a value, the last one is carried forward with IGNORE NULLS, which DuckDB, Spark and Flink know; the
queries of the Figure 9 shape need none, and run on PostgreSQL too.
"""

from __future__ import annotations

SECOND = 1_000_000

_CONNECTED = """
SELECT key, sum(CASE WHEN state = 'buffer' AND played {cdn}
                     THEN greatest(0, until - greatest(time, coalesce(sought + {seek}, time)))
                     ELSE 0 END) AS duration
FROM (
  SELECT key, time,
         last_value(playerStateChange IGNORE NULLS) OVER w AS state,
         max(CASE WHEN playerStateChange = 'play' THEN 1 ELSE 0 END) OVER w = 1 AS played,
         max(CASE WHEN userAction = 'seek' THEN time END) OVER w AS sought,
         {carried}
         lead(time, 1, {horizon}) OVER (PARTITION BY key ORDER BY time) AS until
  FROM events
  WINDOW w AS (PARTITION BY key ORDER BY time ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW)
) AS filled
GROUP BY key"""

_PLAYTIME = """
SELECT key, sum(CASE WHEN state = 'play' THEN until - time ELSE 0 END) AS duration
FROM (
  SELECT key, time,
         last_value(playerStateChange IGNORE NULLS) OVER w AS state,
         lead(time, 1, {horizon}) OVER (PARTITION BY key ORDER BY time) AS until
  FROM events
  WINDOW w AS (PARTITION BY key ORDER BY time ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW)
) AS filled
GROUP BY key"""

_OUTLIER = """
SELECT key,
       sum(greatest(0, least(until, greatest(coalesce(far, 0) + {far},
                                             least(moved + {moved}, coalesce(spent, 0) + {spent}))) - time))
         AS duration
FROM (
  SELECT key, time,
         max(CASE WHEN km > 900 * hours THEN time END) OVER w AS far,
         max(CASE WHEN amount > 1000 THEN time END) OVER w AS spent,
         max(CASE WHEN before IS NULL OR before <> lat_long THEN time END) OVER w AS moved,
         lead(time, 1, {horizon}) OVER (PARTITION BY key ORDER BY time) AS until
  FROM (SELECT *, lag(lat_long) OVER (PARTITION BY key ORDER BY time) AS before FROM events) AS e
  WINDOW w AS (PARTITION BY key ORDER BY time ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW)
) AS filled
GROUP BY key"""

_CDN = "last_value(cdn IGNORE NULLS) OVER w AS cdn,"

# Every event of the figure's shape is a change of state, so there is nothing to carry forward.
_FIGURE_REBUFFERING = """
SELECT key, sum(CASE WHEN playerStateChange = 'buffer' AND played
                     THEN greatest(0, until - greatest(time, coalesce(sought + {seek}, time)))
                     ELSE 0 END) AS duration
FROM (
  SELECT key, time, playerStateChange,
         max(CASE WHEN playerStateChange = 'play' THEN 1 ELSE 0 END) OVER w = 1 AS played,
         max(CASE WHEN userAction = 'seek' THEN time END) OVER w AS sought,
         lead(time, 1, {horizon}) OVER (PARTITION BY key ORDER BY time) AS until
  FROM events
  WINDOW w AS (PARTITION BY key ORDER BY time ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW)
) AS filled
GROUP BY key"""

_FIGURE_PLAY = """
SELECT key, sum(CASE WHEN playerStateChange = 'play' THEN until - time ELSE 0 END) AS duration
FROM (
  SELECT key, time, playerStateChange,
         lead(time, 1, {horizon}) OVER (PARTITION BY key ORDER BY time) AS until
  FROM events
) AS filled
GROUP BY key"""

_QUERIES = {
    "cirr": _CONNECTED.replace("{carried}", _CDN).replace("{cdn}", "AND cdn = 'CDN1'"),
    "playtime": _PLAYTIME,
    "outlier": _OUTLIER,
    "rebuffering": _FIGURE_REBUFFERING,
    "play": _FIGURE_PLAY,
}


def query(metric: str, horizon: int) -> str:
    """The query of a metric; it gives (key, duration in microseconds)."""
    return _QUERIES[metric].format(
        horizon=f"CAST({horizon} AS BIGINT)",
        seek=5 * SECOND,
        far=600 * SECOND,
        moved=70 * SECOND,
        spent=60 * SECOND,
    )
