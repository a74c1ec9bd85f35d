/** Views: what this page can show, each of which is loaded when it is first looked at. */

export const views = {
  metrics: { title: "Metrics", load: () => import("./metrics/Metrics.svelte") },
  metric: { title: "Metric", load: () => import("./metric/Metric.svelte") },
  key: { title: "Key", load: () => import("./key/KeyView.svelte") },
  fleet: { title: "Fleet", load: () => import("./fleet/Fleet.svelte") },
  aggregates: { title: "Aggregates", load: () => import("./aggregates/Aggregates.svelte") },
  edit: { title: "Edit", load: () => import("./edit/Edit.svelte") },
  letters: { title: "Dead letters", load: () => import("./letters/Letters.svelte") },
};

export type ViewName = keyof typeof views;

/** The view that an address names; Metrics where it names none. */
export function viewOf(said: string | null): ViewName {
  return said !== null && said in views ? (said as ViewName) : "metrics";
}
