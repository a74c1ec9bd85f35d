/** Metrics: what the server says of those that are applied. */
import type { KeyList, MetricDetail, Overview } from "./rest";
import { ask } from "./server";

/** All that are applied, and how they are. Raises RequestFailed. */
export function listMetrics(): Promise<Overview> {
  return ask<Overview>("metrics");
}

/** An applied metric: its definition and its nodes. Raises RequestFailed. */
export function describeMetric(name: string): Promise<MetricDetail> {
  return ask<MetricDetail>(`metrics/${encodeURIComponent(name)}`);
}

/** The busiest keys of a metric. Raises RequestFailed. */
export function listKeys(name: string, limit = 200): Promise<KeyList> {
  return ask<KeyList>(`metrics/${encodeURIComponent(name)}/keys`, { limit });
}
