/**
 * Timelines: the pieces of some nodes and keys, put together from what a player says.
 *
 * A piece holds from its start until the next one begins; a number with a slope grows by it per second. What is said
 * twice, as after a jump back, changes nothing. Before its first piece nothing is known of a lane.
 */
import type { ChangesPart, Level, Revised } from "./messages";

export type Value = boolean | number | string | null;
export type Key = boolean | number | string | null;

/** From `start` on the value is `value`; `slope` of exact numbers, null of anything else. */
export interface Piece {
  start: number;
  value: Value;
  slope: number | null;
}

/** The pieces of one node for one key, in order. */
export interface Lane {
  node: string;
  key: Key;
  pieces: Piece[];
}

/** A stretch in which two timelines differ; `end` Infinity: it lasts. */
export interface Difference {
  start: number;
  end: number;
  before: Piece | null;
  after: Piece | null;
}

const COMPARED = 1e-9; // values of slopes are sums of floats

export class Timelines {
  readonly #lanes = new Map<string, Lane>();

  /** All lanes of which something is known. */
  lanes(): Iterable<Lane> {
    return this.#lanes.values();
  }

  /** The pieces of a lane, in order; not to be changed. */
  pieces(node: string, key: Key): readonly Piece[] {
    return this.#lanes.get(laneOf(node, key))?.pieces ?? [];
  }

  /** Replaces all that is known of a lane. */
  set(node: string, key: Key, pieces: readonly Piece[]): void {
    this.#lanes.set(laneOf(node, key), { node, key, pieces: compacted(pieces) });
  }

  /** The piece that holds at an instant; null: nothing is known there. */
  pieceAt(node: string, key: Key, at: number): Piece | null {
    return holding(this.pieces(node, key), at);
  }

  /** The value at an instant; undefined: nothing is known there. */
  valueAt(node: string, key: Key, at: number): Value | undefined {
    const piece = this.pieceAt(node, key, at);
    return piece === null ? undefined : valueOf(piece, at);
  }

  /** Takes in the levels of a snapshot. */
  addLevels(levels: readonly Level[], at: number): void {
    for (const level of levels) {
      const start = level.since ?? at;
      const slope = level.slope ?? null;
      const value = typeof level.value === "number" && slope ? level.value - slope * (at - start) : level.value;
      this.#put(level.node, level.key, { start, value, slope });
    }
  }

  /** Takes in the changes of a frame. */
  addChanges(part: ChangesPart): void {
    for (const [start, node, key, value, slope] of part.changes as [number, string, Key, Value, number | null][]) {
      this.#put(node, key, { start, value, slope: slope ?? null });
    }
  }

  /**
   * Takes in a revision of what was shown up to `upto`, and says what was shown and is so no longer.
   */
  revise(revision: Revised, upto: number): Difference[] {
    if (!revision.node || !revision.pieces) return [];
    const { node, key = null, from } = revision;
    const before = this.pieces(node, key);
    const said = revision.pieces as [number, Value, number | null][];
    const pieces = said.map(([start, value, slope]) => ({ start, value, slope: slope ?? null }));
    const after = compacted([
      ...before.filter((piece) => piece.start < from),
      ...pieces,
      ...before.filter((piece) => piece.start > upto),
    ]);
    this.#lanes.set(laneOf(node, key), { node, key, pieces: after });
    return differences(before, after, from, upto);
  }

  #put(node: string, key: Key, piece: Piece): void {
    const name = laneOf(node, key);
    const lane = this.#lanes.get(name)?.pieces;
    if (lane === undefined) {
      this.#lanes.set(name, { node, key, pieces: [piece] });
      return;
    }
    const place = placeAfter(lane, piece.start);
    if (lane[place - 1]?.start === piece.start) lane[place - 1] = piece;
    else lane.splice(place, 0, piece);
  }
}

/** What names a lane: keys of different types are different. */
export function laneOf(node: string, key: Key): string {
  return `${node} ${JSON.stringify(key)}`;
}

/** The value of a piece at an instant that it holds at. */
export function valueOf(piece: Piece, at: number): Value {
  if (typeof piece.value !== "number" || !piece.slope) return piece.value;
  return rounded(piece.value + piece.slope * (at - piece.start));
}

/** The piece that holds at `at` in pieces in order. */
export function holding(pieces: readonly Piece[], at: number): Piece | null {
  return pieces[placeAfter(pieces, at) - 1] ?? null;
}

/** How many pieces start at `at` or before it. */
export function placeAfter(pieces: readonly Piece[], at: number): number {
  let low = 0;
  let high = pieces.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if ((pieces[middle] as Piece).start <= at) low = middle + 1;
    else high = middle;
  }
  return low;
}

/** Where two timelines differ in `[from, to]`; the last stretch of what lasts ends at Infinity. */
export function differences(
  before: readonly Piece[],
  after: readonly Piece[],
  from: number,
  to: number,
): Difference[] {
  const starts = new Set([from]);
  for (const piece of [...before, ...after]) if (piece.start > from && piece.start <= to) starts.add(piece.start);
  const edges = [...starts].sort((a, b) => a - b);
  const found: Difference[] = [];
  edges.forEach((start, i) => {
    const end = edges[i + 1] ?? Infinity;
    const pair = { before: holding(before, start), after: holding(after, start) };
    if (sameAt(pair.before, pair.after, start)) return;
    const last = found.at(-1);
    if (last?.end === start && last.before === pair.before && last.after === pair.after) last.end = end;
    else found.push({ start, end, ...pair });
  });
  return found;
}

function sameAt(one: Piece | null, other: Piece | null, at: number): boolean {
  if (one === null || other === null) return one === other;
  return same(valueOf(one, at), valueOf(other, at)) && (one.slope ?? 0) === (other.slope ?? 0);
}

function same(one: Value, other: Value): boolean {
  if (typeof one === "number" && typeof other === "number") return Math.abs(one - other) <= COMPARED;
  return one === other;
}

function compacted(pieces: readonly Piece[]): Piece[] {
  const found: Piece[] = [];
  for (const piece of pieces) {
    const last = found.at(-1);
    if (last?.start === piece.start) found[found.length - 1] = piece;
    else if (last === undefined || !sameAt(last, piece, piece.start)) found.push(piece);
  }
  return found;
}

/** To the microsecond, the resolution of times. */
function rounded(value: number): number {
  return Math.abs(value) < 2 ** 33 ? Math.round(value * 1e6) / 1e6 : value;
}
