import { expect, test } from "vitest";

import { command, query } from "./commands";
import { csvOf } from "./files";
import { durationText, readTime, tickText, timeText } from "./times";
import { keyOf, keyText } from "./values";

test("small times are seconds, others dates", () => {
  expect(timeText(14.5)).toBe("14.5");
  expect(timeText(1_796_083_541.25)).toBe("2026-12-01 00:05:41.25");
  expect(tickText(1_796_083_541, 1)).toBe("00:05:41");
});

test("times are read as they are written", () => {
  for (const time of [0, 14.5, -3, 1_796_083_541.25]) expect(readTime(timeText(time))).toBe(time);
  expect(readTime("2026-11-30T23:25:41+01:00")).toBe(1_796_077_541);
  expect(readTime("soon")).toBeNull();
});

test("durations are read in units", () => {
  expect(durationText(4)).toBe("4 s");
  expect(durationText(3725.5)).toBe("1 h 2 min 5.5 s");
});

test("keys keep their types in an address", () => {
  for (const key of ["s1", 7, "7", true, "true", null, "null", 'a"b', '"x"', "", "-"]) {
    expect(keyOf(keyText(key))).toBe(key);
  }
  expect(keyText("s1")).toBe("s1");
});

test("commands quote what a shell would take for something else", () => {
  expect(query("cirr", "--at", 14)).toBe("timeline query cirr --at 14 --unit s");
  expect(command("timeline", "query", "it's", 14, "a b")).toBe(`timeline query 'it'\\''s' 14 'a b'`);
});

test("CSV quotes what needs it", () => {
  expect(csvOf([{ a: 1, b: 'x"y' }, { a: null, b: { c: 2 } }])).toBe('a,b\r\n1,"x""y"\r\n,"{""c"":2}"\r\n');
});
