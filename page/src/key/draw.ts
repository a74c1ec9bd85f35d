/**
 * Drawing of lanes on a canvas: a Boolean by height, a state by colour and its text, a number as a line.
 *
 * What is no longer so is drawn struck through in a strip of its own below the lane. Pieces narrower than a pixel are
 * drawn together. Coordinates are CSS pixels; the canvas is scaled by who calls.
 */
import { placeAfter, valueOf, type Difference, type Piece } from "timeline-player";

import { timeText } from "../lib/times";
import { counted, valueText } from "../lib/values";
import type { Scale } from "./scale";

export const EVENTS_HEIGHT = 40;
export const LANE_HEIGHT = 34;
export const BEFORE_HEIGHT = 18;
const EDGE = 5;
const LEAST_TEXT = 26; // pixels that a text needs at least

/** The colours of a lane, from the page's style. */
export interface Theme {
  ink: string;
  faint: string;
  line: string;
  on: string;
  off: string;
  number: string;
  event: string;
  before: string;
  palette: string[];
  font: string;
}

export interface DrawnLane {
  kind: "boolean" | "state" | "numeric" | "ratio";
  top: number;
  pieces: readonly Piece[];
  before: readonly Difference[];
  /** Which colour each value has so far: a value that is new gets the next one. */
  colours: Map<string, number>;
}

/** The colours that the style of an element says. */
export function themeOf(element: Element): Theme {
  const style = getComputedStyle(element);
  const colour = (name: string) => style.getPropertyValue(`--${name}`).trim() || "#888";
  return {
    ink: colour("ink"),
    faint: colour("faint"),
    line: colour("line"),
    on: colour("on"),
    off: colour("off"),
    number: colour("number"),
    event: colour("event"),
    before: colour("before"),
    palette: Array.from({ length: 8 }, (_, i) => colour(`state-${i}`)),
    font: `12px ${style.fontFamily}`,
  };
}

/** The vertical lines of ticks. */
export function drawGrid(ctx: CanvasRenderingContext2D, scale: Scale, height: number, theme: Theme): void {
  ctx.strokeStyle = theme.line;
  ctx.lineWidth = 1;
  ctx.beginPath();
  for (const tick of scale.ticks()) {
    const x = Math.round(scale.x(tick)) + 0.5;
    ctx.moveTo(x, 0);
    ctx.lineTo(x, height);
  }
  ctx.stroke();
}

/** Events as marks, with their texts where there is room. */
export function drawEvents(
  ctx: CanvasRenderingContext2D,
  scale: Scale,
  events: readonly { time: number; text: string; late: boolean }[],
  top: number,
  theme: Theme,
): void {
  ctx.font = theme.font;
  ctx.textBaseline = "middle";
  let last = -Infinity;
  events.forEach((event, i) => {
    const x = scale.x(event.time);
    if (x < -4 || x > scale.width + 4 || x - last < 0.5) return;
    last = x;
    ctx.fillStyle = event.late ? theme.before : theme.event;
    ctx.beginPath();
    if (event.late) ctx.rect(x - 4, top + 8, 8, 8);
    else ctx.arc(x, top + 12, 4, 0, 2 * Math.PI);
    ctx.fill();
    const next = events[i + 1];
    const room = (next ? scale.x(next.time) : scale.width) - x - 6;
    ctx.fillStyle = theme.ink;
    if (room > LEAST_TEXT) ctx.fillText(cut(ctx, event.text, room), x - 3, top + 28);
  });
}

/** One lane, `end` being where what is known ends. */
export function drawLane(
  ctx: CanvasRenderingContext2D,
  scale: Scale,
  lane: DrawnLane,
  end: number,
  theme: Theme,
): void {
  ctx.save();
  ctx.font = theme.font;
  ctx.textBaseline = "middle";
  const top = lane.top + EDGE;
  const height = LANE_HEIGHT - 2 * EDGE;
  if (lane.kind === "numeric" || lane.kind === "ratio") drawNumber(ctx, scale, lane.pieces, end, top, height, theme);
  else {
    if (lane.kind === "state") giveColours(lane.pieces, lane.colours);
    eachPiece(lane.pieces, scale, end, (piece, from, to) =>
      drawHeld(ctx, lane, piece, from, to, top, height, theme),
    );
  }
  for (const one of lane.before) drawBefore(ctx, scale, lane, one, end, theme);
  ctx.restore();
}

function eachPiece(
  pieces: readonly Piece[],
  scale: Scale,
  end: number,
  draw: (piece: Piece, from: number, to: number) => void,
): void {
  const right = Math.min(scale.x(end), scale.width);
  let done = -1;
  for (let i = Math.max(placeAfter(pieces, scale.from) - 1, 0); i < pieces.length; i++) {
    const piece = pieces[i] as Piece;
    const from = Math.max(scale.x(piece.start), 0);
    if (from > right) break;
    const next = pieces[i + 1];
    const to = Math.min(next ? scale.x(next.start) : right, right);
    if (to < 0 || (to - done < 0.5 && next)) continue;
    draw(piece, from, Math.max(to, from + 0.5));
    done = to;
  }
}

function drawHeld(
  ctx: CanvasRenderingContext2D,
  { kind, colours }: DrawnLane,
  piece: Piece,
  from: number,
  to: number,
  top: number,
  height: number,
  theme: Theme,
): void {
  const width = to - from;
  const { value } = piece;
  if (value === null) {
    ctx.strokeStyle = theme.faint;
    ctx.setLineDash([2, 3]);
    ctx.beginPath();
    ctx.moveTo(from, top + height - 1);
    ctx.lineTo(to, top + height - 1);
    ctx.stroke();
    ctx.setLineDash([]);
    return;
  }
  if (kind === "boolean") {
    ctx.fillStyle = value ? theme.on : theme.off;
    if (value) ctx.fillRect(from, top, width, height);
    else ctx.fillRect(from, top + height - 4, width, 4);
    if (value && width > LEAST_TEXT + 6) {
      ctx.fillStyle = "#fff";
      ctx.fillText("true", from + 5, top + height / 2);
    }
    return;
  }
  const colour = colours.get(String(value)) ?? 0;
  const shown = Math.max(width - (width > 3 ? 1 : 0), 0.5);
  ctx.fillStyle = theme.palette[colour % theme.palette.length] as string;
  ctx.fillRect(from, top, shown, height);
  // With more values than colours, stripes tell those of one colour from each other.
  ctx.fillStyle = "#fff";
  for (let i = 0; i < Math.floor(colour / theme.palette.length); i++) ctx.fillRect(from, top + 1 + 3 * i, shown, 1);
  if (width > LEAST_TEXT) {
    ctx.fillStyle = "#fff";
    ctx.fillText(cut(ctx, valueText(value), width - 10), from + 5, top + height / 2);
  }
}

function drawNumber(
  ctx: CanvasRenderingContext2D,
  scale: Scale,
  pieces: readonly Piece[],
  end: number,
  top: number,
  height: number,
  theme: Theme,
): void {
  let least = Infinity;
  let greatest = -Infinity;
  const right = Math.min(end, scale.to);
  const points: { x: number; to: number; first: number; last: number; slope: number }[] = [];
  eachPiece(pieces, scale, end, (piece, from, to) => {
    if (typeof piece.value !== "number") return;
    const first = valueOf(piece, Math.max(piece.start, scale.from)) as number;
    const last = valueOf(piece, Math.min(scale.time(to), right)) as number;
    least = Math.min(least, first, last);
    greatest = Math.max(greatest, first, last);
    points.push({ x: from, to, first, last, slope: piece.slope ?? 0 });
  });
  const unit = greatest > least ? height / (greatest - least) : 0;
  const y = (value: number) => (unit ? top + height - (value - least) * unit : top + height / 2);
  ctx.strokeStyle = theme.number;
  ctx.lineWidth = 2;
  ctx.beginPath();
  let at = -Infinity;
  for (const { x, to, first, last } of points) {
    if (x - at > 1) ctx.moveTo(x, y(first));
    else ctx.lineTo(x, y(first));
    ctx.lineTo(to, y(last));
    at = to;
  }
  ctx.stroke();
  ctx.fillStyle = theme.ink;
  for (const { x, to, first, slope } of points) {
    if (slope || to - x <= LEAST_TEXT) continue;
    const middle = y(first);
    const below = middle < top + height / 2;
    ctx.fillText(cut(ctx, valueText(first), to - x - 8), x + 4, below ? middle + 9 : middle - 8);
  }
}

function drawBefore(
  ctx: CanvasRenderingContext2D,
  scale: Scale,
  lane: DrawnLane,
  one: Difference,
  end: number,
  theme: Theme,
): void {
  const from = Math.max(scale.x(one.start), 0);
  const to = Math.min(scale.x(Math.min(one.end, end)), scale.width);
  if (to <= from) return;
  const top = lane.top + LANE_HEIGHT;
  const height = BEFORE_HEIGHT - 4;
  ctx.strokeStyle = theme.before;
  ctx.lineWidth = 1;
  ctx.strokeRect(from + 0.5, top + 0.5, Math.max(to - from - 1, 1), height - 1);
  ctx.fillStyle = theme.before;
  if (to - from > LEAST_TEXT) {
    const text = one.before ? valueText(valueOf(one.before, one.start)) : "no value";
    ctx.fillText(cut(ctx, text, to - from - 8), from + 4, top + height / 2 + 0.5);
  }
  ctx.lineWidth = 1.5;
  ctx.beginPath();
  ctx.moveTo(from, top + height / 2);
  ctx.lineTo(to, top + height / 2);
  ctx.stroke();
}

/** The times of an axis. */
export function drawAxis(ctx: CanvasRenderingContext2D, scale: Scale, label: (t: number, step: number) => string, theme: Theme): void {
  ctx.font = theme.font;
  ctx.textBaseline = "middle";
  ctx.fillStyle = theme.faint;
  const step = scale.step();
  for (const tick of scale.ticks()) ctx.fillText(label(tick, step), scale.x(tick) + 7, 15); // beside the playhead's head
}

/** What a canvas shows, in one sentence, for who does not see it. */
export function describe(lanes: number, events: number, scale: Scale): string {
  return `${counted(lanes, "lane")} and ${counted(events, "event")} from ${timeText(scale.from)} to ${timeText(scale.to)}`;
}

function cut(ctx: CanvasRenderingContext2D, text: string, room: number): string {
  if (ctx.measureText(text).width <= room) return text;
  let length = Math.floor((room / ctx.measureText(text).width) * text.length) - 1;
  while (length > 0 && ctx.measureText(`${text.slice(0, length)}…`).width > room) length--;
  return length > 0 ? `${text.slice(0, length)}…` : "";
}

/** The colours of a lane's values, of `all` lanes by their names. */
export function coloursOf(all: Map<string, Map<string, number>>, lane: string): Map<string, number> {
  let found = all.get(lane);
  if (!found) all.set(lane, (found = new Map<string, number>()));
  return found;
}

/** Gives the values of a lane colours in the order in which they first appear, so that no two have the same one. */
export function giveColours(pieces: readonly Piece[], colours: Map<string, number>): void {
  for (const { value } of pieces) {
    if (value !== null && !colours.has(String(value))) colours.set(String(value), colours.size);
  }
}
