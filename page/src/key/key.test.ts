import { describe, expect, test } from "vitest";

import { giveColours } from "./draw";
import { rowsOf } from "./rows";
import { nearest, Scale } from "./scale";
import { stretch } from "./stretch";

describe("rows", () => {
  const node = (name: string, ...inputs: string[]) => ({ node: name, expression: name, kind: "boolean" as const, inputs });
  const nodes = [node("a"), node("not", "a"), node("b"), node("and", "not", "b"), node("or", "and", "a")];

  test("a node stands below what it is computed from", () => {
    const rows = rowsOf(nodes, new Set());
    expect(rows.map((row) => [row.node, row.depth])).toEqual([["a", 3], ["not", 2], ["b", 2], ["and", 1], ["or", 0]]);
  });

  test("a row's label has a dot for what has a row of its own", () => {
    const all = [
      { ...node("a"), expression: "has_existed(x == 1)" },
      { ...node("b"), expression: "latest_event_to_state(y)" },
      { ...node("c", "b"), expression: 'latest_event_to_state(y) == "z"' },
      { ...node("d", "c"), expression: '!(latest_event_to_state(y) == "z")' },
      { ...node("e", "a", "d"), expression: 'has_existed(x == 1) && !(latest_event_to_state(y) == "z")' },
      { ...node("f", "e"), expression: 'duration_where(has_existed(x == 1) && !(latest_event_to_state(y) == "z"))' },
    ];
    const labels = rowsOf(all, new Set()).map((row) => row.label);
    expect(labels).toEqual(["has_existed(x == 1)", "latest_event_to_state(y)", '· == "z"', "!·", "· && ·", "duration_where(·)"]);
  });

  test("a folded row hides what stands under it, and says how much", () => {
    const rows = rowsOf(nodes, new Set(["and"]));
    expect(rows.map((row) => [row.node, row.below, row.folded])).toEqual([["and", 3, true], ["or", 4, false]]);
  });
});

describe("scale", () => {
  const scale = new Scale(100, 200, 500);

  test("times and places go both ways", () => {
    expect(scale.x(120)).toBe(100);
    expect(scale.time(100)).toBe(120);
  });

  test("zooming keeps what it is around where it was", () => {
    const zoomed = scale.zoomed(0.5, 120);
    expect(zoomed.x(120)).toBeCloseTo(100);
    expect(zoomed.to - zoomed.from).toBeCloseTo(50);
  });

  test("ticks are round, and far enough from each other", () => {
    expect(scale.ticks()).toEqual([120, 150, 180]);
    expect(scale.step() / scale.resolution).toBeGreaterThanOrEqual(80);
    expect(new Scale(0, 3 * 365 * 86_400, 800).step() % 86_400).toBe(0);
  });

  test("the nearest change is found within reach only", () => {
    expect(nearest([1, 5, 9], 5.4, 1)).toBe(5);
    expect(nearest([1, 5, 9], 7, 1)).toBeNull();
    expect(nearest([], 7, 1)).toBeNull();
  });
});

test("no two values of a lane have one colour, and none changes its own", () => {
  const states = (...values: string[]) => values.map((value, start) => ({ start, value, slope: null }));
  const colours = new Map<string, number>();
  giveColours(states("init", "buffer", "pause", "buffer", "play"), colours);
  expect([...colours]).toEqual([["init", 0], ["buffer", 1], ["pause", 2], ["play", 3]]);
  giveColours(states("seek", "init"), colours);
  expect([...colours.entries()].slice(3)).toEqual([["play", 3], ["seek", 4]]);
});

describe("a stretch", () => {
  const worked = [
    { start: 0, value: 0, slope: 0 },
    { start: 10, value: 0, slope: 1 },
    { start: 14, value: 4, slope: 0 },
    { start: 19, value: 4, slope: 1 },
    { start: 22, value: 7, slope: 0 },
  ];

  test("has the change of a number", () => {
    expect(stretch(worked, 12, 20)).toMatchObject({ change: 3, least: 2, greatest: 5, seconds: 8 });
  });

  test("counts what begins at its start, and not what begins at its end", () => {
    const counted = [{ start: 1, value: 1, slope: 0 }, { start: 5, value: 2, slope: 0 }, { start: 9, value: 3, slope: 0 }];
    expect(stretch(counted, 5, 9).change).toBe(1);
  });

  test("has how long each value held, its share, and the longest time", () => {
    const flags = [2, 4, 8, 9].map((start, i) => ({ start, value: i % 2 === 0, slope: null }));
    const found = stretch(flags, 0, 10);
    expect(found.held).toEqual([
      { value: false, seconds: 5, share: 0.5, longest: 4, times: 2 },
      { value: true, seconds: 3, share: 0.3, longest: 2, times: 2 },
      { value: undefined, seconds: 2, share: 0.2, longest: 2, times: 1 },
    ]);
  });
});
