/* Made by `npm run messages -w player` from docs/dvr.asyncapi.yaml; do not edit. */

export type AnyRequest =
  Open | Close | Play | Pause | Resume | Stop | SetSpeed | Seek | Step | Loop | At | Ack | SetLimits;
export type AnyMessage =
  Hello | Opened | State | Snapshot | Frame | Revised | Watermark | Looped | Skip | Gap | Stopped | Failed;
/**
 * What is wrong with a request, or with what it asks for.
 */
export type DvrCode =
  | "bad-message"
  | "unknown-action"
  | "bad-time"
  | "bad-range"
  | "bad-speed"
  | "bad-flag"
  | "bad-ack"
  | "not-playing"
  | "unknown-channel"
  | "unknown-metric"
  | "unknown-key"
  | "bad-expression"
  | "not-kept"
  | "too-many"
  | "overloaded"
  | "store-down";

export interface Said {
  AnyRequest?: AnyRequest;
  AnyMessage?: AnyMessage;
}
/**
 * Open channels under the playhead. Without ``axis``, ``as_of`` and ``edge`` these stay what they are.
 *
 * ``axis``: which time is played, that of events or that at which the store learnt of them. ``as_of``: the
 * instant of the store's time as of which it is asked; null: now. ``edge``: where live is, at the greatest
 * recorded time or at the watermark. One view holds for all channels of a socket.
 */
export interface Open {
  id?: number | string | null;
  action: "open";
  /**
   * @minItems 1
   */
  channels: (
    EventsChannel | TimelinesChannel | AggregateChannel | WhatIfChannel | HealthChannel | LettersChannel
  )[];
  axis?: "event" | "system";
  as_of?: number | string | null;
  edge?: "recorded" | "final";
}
/**
 * The events of a topic or stored source, of some keys or (None) of all.
 */
export interface EventsChannel {
  channel: string;
  events: string;
  keys?: (number | string)[] | null;
}
/**
 * Timelines of nodes of a metric: of all, of its result (``"result"``), or of those that are named.
 */
export interface TimelinesChannel {
  channel: string;
  metric: string;
  nodes?: ("all" | "result") | string[];
  keys?: (number | string)[] | null;
}
/**
 * Timelines of the groups of an aggregate.
 */
export interface AggregateChannel {
  channel: string;
  metric: string;
  groups: "all" | (number | string | boolean | null)[];
}
/**
 * Timelines of an expression that need not be applied, over the events that ``like`` (a metric) reads.
 */
export interface WhatIfChannel {
  channel: string;
  expression: string;
  like: string;
  nodes?: ("all" | "result") | string[];
  keys?: (number | string)[] | null;
}
/**
 * How metrics were: a record each time that one became ok, lagging, down, …
 */
export interface HealthChannel {
  channel: "health";
}
/**
 * The dead letters of a topic.
 */
export interface LettersChannel {
  channel: string;
  topic: string;
}
/**
 * Close channels; the reply lists those that are left.
 */
export interface Close {
  id?: number | string | null;
  action: "close";
  /**
   * @minItems 1
   */
  channels: string[];
}
/**
 * Play a window, both ends included.
 *
 * ``start`` absent: from where the playhead is, from the start when that has ended. ``end`` absent: to the
 * live edge and on. ``speed`` absent: as it was, 1 at first.
 */
export interface Play {
  id?: number | string | null;
  action: "play";
  start?: number | string | null;
  end?: number | string | null;
  speed?: number | null;
  loop?: boolean | ("True" | "False" | "true" | "false");
}
/**
 * Stand still; at the live edge that is time shift.
 */
export interface Pause {
  id?: number | string | null;
  action: "pause";
}
/**
 * Go on from where it stands.
 */
export interface Resume {
  id?: number | string | null;
  action: "resume";
}
/**
 * Give the window up.
 */
export interface Stop {
  id?: number | string | null;
  action: "stop";
}
/**
 * Go on at another speed: seconds of recorded time a second.
 */
export interface SetSpeed {
  id?: number | string | null;
  action: "speed";
  speed: number;
}
/**
 * Jump: to an instant, cut to the window; ``live``: to the live edge, whatever the window.
 */
export interface Seek {
  id?: number | string | null;
  action: "seek";
  to: number | string;
}
/**
 * Go to the next or the last change or event (of one channel, or of all), or by a duration, and pause.
 */
export interface Step {
  id?: number | string | null;
  action: "step";
  by: string;
  channel?: string | null;
  back?: boolean | ("True" | "False" | "true" | "false");
}
/**
 * Loop a part of the window, or no longer.
 */
export interface Loop {
  id?: number | string | null;
  action: "loop";
  from?: number | string | null;
  to?: number | string | null;
  off?: boolean | ("True" | "False" | "true" | "false");
}
/**
 * Every channel's level at an instant, without moving the playhead.
 */
export interface At {
  id?: number | string | null;
  action: "at";
  at: number | string;
  channels?: string[] | null;
}
/**
 * All frames up to ``frame`` are there. It has a reply only if it has an ``id``, or is wrong.
 */
export interface Ack {
  id?: number | string | null;
  action: "ack";
  frame: number;
}
/**
 * What the client can take; what is absent stays. ``idle_limit``: seconds, null for no compression.
 */
export interface SetLimits {
  id?: number | string | null;
  action: "limits";
  frames_per_second?: number;
  records?: number;
  idle_limit?: number | null;
}
/**
 * First on a socket. ``now``: the store's clock, None while the store is down.
 */
export interface Hello {
  type: "hello";
  protocol: "timeline.dvr.v1";
  version: string;
  range: Range;
  limits: Limits;
  capabilities: ("events" | "timelines" | "what-if" | "as-of")[];
  now: number | null;
}
/**
 * What is recorded: the least instant, the live edge, and the watermark; None: nothing, or unknown.
 */
export interface Range {
  start: number | null;
  live: number | null;
  final: number | null;
}
/**
 * What holds for this socket until the client says otherwise.
 */
export interface Limits {
  frames_per_second: number;
  records: number;
  idle_limit: number | null;
  unacknowledged: number;
  channels: number;
  keys: number;
}
/**
 * Reply to open (the channels that it opened) and to close (those that are left).
 */
export interface Opened {
  type: "opened";
  reply?: number | string | null;
  channels: ChannelInfo[];
}
/**
 * A channel that is open. ``complete_from``: nothing before is kept; None: all is.
 */
export interface ChannelInfo {
  channel: string;
  kind: "events" | "timelines" | "aggregate" | "what-if" | "health" | "letters";
  nodes?: NodeInfo[];
  keys?: number | null;
  complete_from?: number | null;
}
/**
 * A node of a channel: its stable name, its text, and the kind of its timelines.
 */
export interface NodeInfo {
  node: string;
  name: string;
  expression: string;
  kind: "boolean" | "state" | "numeric" | "ratio";
}
/**
 * Where the player is; reply to what moves it, and sent when it moves by itself.
 *
 * ``position`` has shown all with time up to it. ``start`` and ``end`` are those of the window or, while it
 * loops, of the loop; ``end`` None: the live edge. ``jump``: the position did not get there by playing.
 */
export interface State {
  type: "state";
  reply?: number | string | null;
  status: "playing" | "paused" | "buffering" | "live" | "ended" | "stopped";
  position: number | null;
  speed: number;
  loop: boolean;
  start: number | null;
  end: number | null;
  epoch: number;
  jump: boolean;
}
/**
 * Every channel's level at ``at``: before any frame of an epoch, and in reply to at.
 *
 * ``counts``: how many levels there are of the channels of which only the busiest are shown.
 */
export interface Snapshot {
  type: "snapshot";
  reply?: number | string | null;
  epoch: number;
  at: number;
  channels: {
    [k: string]: Level[];
  };
  counts?: {
    [k: string]: number;
  } | null;
}
/**
 * The value of a node for a key at an instant; ``slope`` for Numeric only.
 */
export interface Level {
  node: string;
  key: boolean | number | string | null;
  value: boolean | number | string | null;
  since: number | null;
  until: number | null;
  slope?: number | null;
  final: boolean;
}
/**
 * What came due in ``(from, to]``; in an epoch's first, in ``[from, to]``. Counts always add up.
 */
export interface Frame {
  type: "frame";
  epoch: number;
  frame: number;
  from: number;
  to: number;
  channels: {
    [k: string]: RecordsPart | ChangesPart;
  };
}
/**
 * Records of a channel that came due: ``count`` of them, an even sample of them, and the rest counted.
 *
 * A record is ``[time, key, object, position]``.
 */
export interface RecordsPart {
  count: number;
  records: unknown[][];
  skipped?: number;
}
/**
 * Changes of a channel that came due: over the limit the last of each (node, key), the rest counted.
 *
 * A change is ``[time, node, key, value, slope]``.
 */
export interface ChangesPart {
  count: number;
  changes: unknown[][];
  skipped?: number;
}
/**
 * What is already on screen changed: of a node and key from ``from`` on, or records that came late.
 *
 * ``pieces``: ``[time, value, slope]``, up to the playhead; ``records`` as in a frame.
 */
export interface Revised {
  type: "revision";
  epoch: number;
  channel: string;
  node?: string | null;
  key?: boolean | number | string | null;
  from: number;
  pieces?: unknown[][] | null;
  records?: unknown[][] | null;
  cause: string;
}
/**
 * Below ``final`` no answer of the channel changes any more.
 */
export interface Watermark {
  type: "watermark";
  channel: string;
  final: number;
}
/**
 * A loop begins again; ``iteration`` counts from 1.
 */
export interface Looped {
  type: "loop";
  epoch: number;
  iteration: number;
}
/**
 * A stretch with nothing in it is crossed faster than the speed says.
 */
export interface Skip {
  type: "skip";
  epoch: number;
  from: number;
  to: number;
}
/**
 * Of this stretch something is missing, and why. ``from`` None: from the beginning.
 */
export interface Gap {
  type: "gap";
  channel: string;
  from: number | null;
  to: number;
  why: string;
}
/**
 * A window was given up; ``undelivered``: how many of its records and changes were not shown.
 */
export interface Stopped {
  type: "stopped";
  reply?: number | string | null;
  undelivered: number;
}
/**
 * A request, or (without ``reply``) a read of the player's own, came to nothing; nothing has changed.
 */
export interface Failed {
  type: "error";
  reply?: number | string | null;
  code: DvrCode;
  message: string;
  field?: string | null;
  hint?: string | null;
  span?: number[] | null;
}
