import { describe, expect, test } from "vitest";

import { differences, Timelines, valueOf, type Piece } from "./timelines";

const piece = (start: number, value: Piece["value"], slope: number | null = null): Piece => ({ start, value, slope });
const level = { node: "n", key: "k", until: null, final: false };

describe("what is said twice", () => {
  test("changes nothing", () => {
    const found = new Timelines();
    const part = { count: 2, changes: [[1, "n", "k", true, null], [4, "n", "k", false, null]] };
    found.addChanges(part);
    found.addChanges(part);
    expect(found.pieces("n", "k")).toEqual([piece(1, true), piece(4, false)]);
  });

  test("a snapshot's level begins where it says, whatever its slope", () => {
    const found = new Timelines();
    found.addLevels([{ ...level, value: 2, since: 10, slope: 1 }], 12);
    expect(found.pieces("n", "k")).toEqual([piece(10, 0, 1)]);
    expect(found.valueAt("n", "k", 14)).toBe(4);
    expect(found.valueAt("n", "k", 9)).toBeUndefined();
  });

  test("keys of different types are different", () => {
    const found = new Timelines();
    found.addLevels([{ ...level, key: 1, value: true, since: 0 }], 0);
    expect(found.pieceAt("n", "1", 5)).toBeNull();
  });
});

describe("revisions", () => {
  const late = { type: "revision", epoch: 1, channel: "c", node: "n", key: "k", cause: "late event" } as const;

  test("say what was shown before, and only that", () => {
    const found = new Timelines();
    found.set("n", "k", [piece(0, false), piece(14, true), piece(19, false)]);
    const was = found.revise({ ...late, from: 13, pieces: [[13, true, null], [19, false, null]] }, 45);
    expect(found.pieces("n", "k")).toEqual([piece(0, false), piece(13, true), piece(19, false)]);
    expect(was).toEqual([{ start: 13, end: 14, before: piece(0, false), after: piece(13, true) }]);
  });

  test("leave alone what lies after the playhead", () => {
    const found = new Timelines();
    found.set("n", "k", [piece(0, 1), piece(50, 2)]);
    found.revise({ ...late, from: 10, pieces: [[10, 3, null]] }, 40);
    expect(found.pieces("n", "k")).toEqual([piece(0, 1), piece(10, 3), piece(50, 2)]);
  });
});

test("differences agree with a reading instant by instant", () => {
  let seed = 7;
  const random = (below: number) => (seed = (seed * 16_807) % 2_147_483_647) % below;
  const timeline = () => {
    const starts = [...new Set(Array.from({ length: 1 + random(6) }, () => random(20)))].sort((a, b) => a - b);
    return starts.map((start) => piece(start, random(3), random(2)));
  };
  const valueAt = (pieces: Piece[], at: number) => {
    const one = pieces.findLast(({ start }) => start <= at);
    return one ? `${valueOf(one, at)} ${one.slope}` : null;
  };
  for (let round = 0; round < 500; round++) {
    const [before, after] = [timeline(), timeline()];
    const found = differences(before, after, 0, 20);
    for (let at = 0; at < 20; at += 0.5) {
      const differs = valueAt(before, at) !== valueAt(after, at);
      expect(found.some(({ start, end }) => start <= at && at < end)).toBe(differs);
    }
  }
});
