/** Keys and values as text, and back. */
import type { Key, Value } from "timeline-player";

/** A value as it is read; text in quotes, so that it is told from numbers. */
export function valueText(value: Value | undefined): string {
  if (value === undefined) return "–";
  if (value === null) return "unknown";
  if (typeof value === "number") return numberText(value);
  return typeof value === "string" ? JSON.stringify(value) : String(value);
}

/** A number as it is read: up to nine digits. */
export function numberText(value: number): string {
  return Number.isInteger(value) ? String(value) : String(Number(value.toPrecision(9)));
}

/** How many there are of something. */
export function counted(count: number, noun: string): string {
  return `${count} ${noun}${count === 1 ? "" : "s"}`;
}

/** A key in an address or a field: text as it is, and as JSON what would read as something else. */
export function keyText(key: Key): string {
  return typeof key === "string" && keyOf(key) === key ? key : JSON.stringify(key);
}

/** The key that a text names. */
export function keyOf(text: string): Key {
  if (/^(-?\d+(\.\d+)?([eE][-+]?\d+)?|true|false|null|".*")$/.test(text)) {
    try {
      return JSON.parse(text) as Key;
    } catch {
      return text;
    }
  }
  return text;
}
