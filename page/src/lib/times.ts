/** Times and durations as text. Times are seconds; small ones count from a start of their own, others are UTC. */

const CLOCK_FROM = 1e7; // seconds: below it a time is no date of anybody's

/** A time as it is read: `14`, or `2026-11-30 14:02:07`. */
export function timeText(seconds: number): string {
  if (!Number.isFinite(seconds)) return "…";
  if (Math.abs(seconds) < CLOCK_FROM) return String(rounded(seconds));
  const whole = new Date(Math.floor(seconds) * 1000);
  if (Number.isNaN(whole.getTime())) return String(seconds);
  const text = whole.toISOString().slice(0, 19).replace("T", " ");
  const part = rounded(seconds - Math.floor(seconds));
  return part ? text + String(part).slice(1) : text;
}

/** A time of a tick, as short as the step to the next one allows. */
export function tickText(seconds: number, step: number): string {
  if (Math.abs(seconds) < CLOCK_FROM) return timeText(rounded(seconds));
  const text = timeText(seconds);
  if (step >= 86_400) return text.slice(0, 10);
  return step >= 60 ? text.slice(11, 16) : text.slice(11);
}

/** A time that was written: a number of seconds, or a date and time in UTC. Null: it is neither. */
export function readTime(text: string): number | null {
  const said = text.trim();
  if (said === "") return null;
  const number = Number(said);
  if (Number.isFinite(number)) return number;
  const zoned = /(Z|[+-]\d\d:?\d\d)$/i.test(said) ? said : `${said.replace(" ", "T")}${said.includes(":") ? "Z" : ""}`;
  const found = Date.parse(zoned);
  return Number.isNaN(found) ? null : found / 1000;
}

/** What is said of a text that is no time. */
export function noTime(text: string): string {
  const said = text.trim();
  return `${said ? `“${said}” is no time` : "there is no time"}; write seconds, as 14, or a date and time in UTC, as 2026-11-30 14:02`;
}

/** A duration as it is read: `4 s`, `2 min 5 s`, `3 h`. */
export function durationText(seconds: number): string {
  if (!Number.isFinite(seconds)) return "without end";
  const sign = seconds < 0 ? "−" : "";
  let rest = Math.abs(seconds);
  if (rest < 60) return `${sign}${rounded(rest)} s`;
  const parts: string[] = [];
  for (const [unit, length] of [["d", 86_400], ["h", 3600], ["min", 60]] as const) {
    const count = Math.floor(rest / length);
    if (count) parts.push(`${count} ${unit}`);
    rest -= count * length;
  }
  if (rounded(rest)) parts.push(`${rounded(rest)} s`);
  return sign + parts.slice(0, 3).join(" ");
}

/** To the microsecond, the resolution of times. */
export function rounded(seconds: number): number {
  return Math.abs(seconds) < 2 ** 33 ? Math.round(seconds * 1e6) / 1e6 : seconds;
}

/** A number of bytes as it is read. */
export function bytesText(bytes: number): string {
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let [value, unit] = [bytes, 0];
  while (value >= 1024 && unit < units.length - 1) [value, unit] = [value / 1024, unit + 1];
  return `${unit === 0 ? value : Number(value.toPrecision(3))} ${units[unit]}`;
}
