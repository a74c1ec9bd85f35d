/** Metrics: what the server says of those that are applied. */
import type { Failure, KeyList, MetricDetail, Overview } from "./rest";
import { ask, RequestFailed } from "./server";

/** All that are applied, and how they are. Raises RequestFailed. */
export function listMetrics(): Promise<Overview> {
  return ask<Overview>("metrics");
}

/**
 * An applied metric: its definition and its nodes; with `states` how it is, for which its workers are asked. Raises
 * RequestFailed. One that is not there is no fault of the server's, and none is written into the console.
 */
export async function describeMetric(name: string, states = false): Promise<MetricDetail> {
  const path = `metrics/${encodeURIComponent(name)}`;
  const found = await ask<MetricDetail | Failure>(path, { states, refuse: false });
  if ("code" in found) throw new RequestFailed(found);
  return found;
}

/** The busiest keys of a metric. Raises RequestFailed. */
export function listKeys(name: string, limit = 200): Promise<KeyList> {
  return ask<KeyList>(`metrics/${encodeURIComponent(name)}/keys`, { limit });
}
