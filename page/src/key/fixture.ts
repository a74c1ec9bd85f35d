/**
 * Fixture: a stretch as files that `timeline eval` reproduces: the events, the expression, what was asked, the answers.
 *
 * The answers are those of the server to the very files, not what is on the screen.
 */
import { strToU8, zipSync } from "fflate";

import { command } from "../lib/commands";
import type { EvaluateAnswer, MetricDetail } from "../lib/rest";
import { send } from "../lib/server";

export interface Stretch {
  detail: MetricDetail;
  expression: string;
  payloads: readonly object[];
  from: number;
  to: number;
}

/** The files, as a ZIP archive. Raises RequestFailed. */
export async function fixture({ detail, expression, payloads, from, to }: Stretch): Promise<Uint8Array<ArrayBuffer>> {
  const events = payloads.map((payload) => `${JSON.stringify(payload)}\n`).join("");
  const unit = detail.time_unit;
  const range = [inUnit(from, unit), inUnit(to, unit)] as const;
  const asked = { expression, events, key: detail.key, time: detail.time, time_unit: unit };
  const [spans, change] = await Promise.all([
    send<EvaluateAnswer>("evaluate", { ...asked, spans: range }),
    send<EvaluateAnswer>("evaluate", { ...asked, change: range }),
  ]);
  const shell = (kind: string) =>
    command(
      ...["timeline", "eval", "@expression.txt", "--events", "events.jsonl", "--key", detail.key],
      ...["--time", detail.time, "--time-unit", unit, kind, ...range],
    );
  const lines = (found: EvaluateAnswer) => found.answers.map((one) => `${JSON.stringify(one)}\n`).join("");
  const files = {
    "events.jsonl": events,
    "expression.txt": `${expression}\n`,
    "spans.jsonl": lines(spans),
    "change.jsonl": lines(change),
    "ask.sh": `#!/bin/sh\n# Prints what spans.jsonl and change.jsonl hold.\n${shell("--spans")}\n${shell("--change")}\n`,
  };
  const bytes = Object.fromEntries(Object.entries(files).map(([name, text]) => [name, strToU8(text)]));
  return zipSync(bytes, { mtime: new Date(1980, 1, 1) }) as Uint8Array<ArrayBuffer>;
}

function inUnit(seconds: number, unit: MetricDetail["time_unit"]): number | string {
  if (unit === "iso") return new Date(seconds * 1000).toISOString();
  return Math.round(seconds * 1e6) / { s: 1e6, ms: 1e3, us: 1, ns: 1e-3 }[unit];
}
