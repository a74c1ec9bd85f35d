/**
 * Stretch: the numbers of a part of a lane: the change of a number, and how long which value held.
 *
 * Durations are exact to the microsecond, as they are added as whole microseconds.
 */
import { holding, valueOf, type Piece, type Value } from "timeline-player";

/** How long a value held in a stretch: together, its share of the stretch, the longest time at once, how often. */
export interface Held {
  value: Value | undefined;
  seconds: number;
  share: number;
  longest: number;
  times: number;
}

export interface StretchNumbers {
  from: number;
  to: number;
  seconds: number;
  /** Of a number that is known at both ends. */
  change: number | null;
  /** Of a number: its least and greatest value. */
  least: number | null;
  greatest: number | null;
  held: Held[];
}

/** The numbers of `[from, to)`. `isNumber`: the values are numbers that change, and not states that are numbers. */
export function stretch(
  pieces: readonly Piece[],
  from: number,
  to: number,
  isNumber = pieces.some((piece) => piece.slope !== null),
): StretchNumbers {
  const edges = [from, ...pieces.map((piece) => piece.start).filter((start) => start > from && start < to), to];
  const held = new Map<string, Held & { micros: number }>();
  let least = Infinity;
  let greatest = -Infinity;
  let run = null as { name: string; micros: number } | null;
  for (let i = 0; i + 1 < edges.length; i++) {
    const [start, end] = [edges[i] as number, edges[i + 1] as number];
    const piece = holding(pieces, start);
    const micros = Math.round(end * 1e6) - Math.round(start * 1e6);
    if (piece && typeof piece.value === "number" && isNumber) {
      for (const at of [start, end]) {
        const value = valueOf(piece, at) as number;
        least = Math.min(least, value);
        greatest = Math.max(greatest, value);
      }
      continue;
    }
    const value = piece?.value;
    const name = JSON.stringify(value) ?? "";
    const one = held.get(name) ?? { value, seconds: 0, share: 0, longest: 0, times: 0, micros: 0 };
    if (run?.name === name) run.micros += micros;
    else {
      run = { name, micros };
      one.times += 1;
    }
    one.micros += micros;
    one.longest = Math.max(one.longest, run.micros / 1e6);
    held.set(name, one);
  }
  const whole = Math.round(to * 1e6) - Math.round(from * 1e6);
  return {
    from,
    to,
    seconds: whole / 1e6,
    change: isNumber ? changeOf(pieces, from, to) : null,
    least: least === Infinity ? null : least,
    greatest: greatest === -Infinity ? null : greatest,
    held: [...held.values()]
      .map(({ micros, ...one }) => ({ ...one, seconds: micros / 1e6, share: whole ? micros / whole : 0 }))
      .sort((a, b) => b.seconds - a.seconds),
  };
}

/** From just before `from` to just before `to`, as a question for the change has it: what begins at `to` does not count. */
function changeOf(pieces: readonly Piece[], from: number, to: number): number | null {
  const known = pieces.find((piece) => piece.start >= from && piece.start < to && typeof piece.value === "number");
  const first = before(pieces, from) ?? known?.value;
  const last = before(pieces, to);
  return typeof first === "number" && typeof last === "number" ? Math.round((last - first) * 1e6) / 1e6 : null;
}

function before(pieces: readonly Piece[], at: number): Value {
  const piece = pieces.findLast((one) => one.start < at);
  return piece ? valueOf(piece, at) : null;
}
