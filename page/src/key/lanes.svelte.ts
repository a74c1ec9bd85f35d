/**
 * Lanes: the timelines and events of one key, all of what is recorded, kept up to date.
 *
 * One socket plays everything up to the live edge as fast as it comes, and stays there: what is new comes as frames,
 * what has changed as revisions, and of these what was shown before is kept, to be struck through. Where frames held
 * more than is sent of one, the part of the key is played again, slower. Until the live edge is reached nothing is
 * drawn: each frame would draw all of the lanes again.
 */
import { Refused, Timelines, type Difference, type Key, type NodeInfo, type Player } from "timeline-player";
import type { AnyMessage, ChangesPart, Failed, Open, RecordsPart } from "timeline-player";

import { endPlayer, lossText, player } from "../lib/server";

const AT_ONCE = { frames_per_second: 100, records: 10_000, idle_limit: 0.05 };
const LOADED_IN = 0.05; // seconds, of all that is recorded
const SLOWEST_AGAIN = 4; // seconds, of what held too much
const TOLD_A_SECOND = 20_000; // changes and events, where frames hold all of them

type Channel = Open["channels"][number];

/** What lanes are shown: those of a metric, or of an expression over the events that it reads. */
export interface Wanted {
  metric: string;
  key: Key;
  expression: string | null;
  asOf: number | null;
  /** Names of nodes in the place of those that the player has for them. */
  names?: ReadonlyMap<string, string>;
}

export interface ShownEvent {
  time: number;
  payload: Record<string, unknown>;
  text: string;
  late: boolean;
}

/** A stretch of a lane that was shown with another value. */
export interface Revised extends Difference {
  node: string;
  cause: string;
}

export class Lanes {
  nodes = $state.raw<NodeInfo[]>([]);
  events = $state.raw<ShownEvent[]>([]);
  revised = $state.raw<Revised[]>([]);
  /** Grows with every change of the timelines, which are not reactive themselves. */
  version = $state(0);
  /** Where what is recorded ends; null: nothing is. */
  live = $state<number | null>(null);
  final = $state<number | null>(null);
  loading = $state(true);
  connected = $state(false);
  problem = $state<string | null>(null);
  gaps = $state.raw<string[]>([]);
  /** How many changes could not be told, as there were too many at once. */
  skipped = $state(0);
  /** Why nothing can be shown: what was asked for was refused. */
  refused = $state.raw<Failed | null>(null);

  timelines = new Timelines();
  readonly key: Key;
  readonly #player: Player;
  #failed: string | null = null;
  #position = 0;
  #missed = 0;
  #told = 0;
  #seconds = LOADED_IN;
  #seen = new Set<string>();
  #added: ShownEvent[] = [];
  #reading = true;

  /** `opened`: the channels to open in the place of those of the key, `lanes` and perhaps `ev`. */
  constructor(
    readonly wanted: Wanted,
    opened: Channel[] = channels(wanted),
  ) {
    this.key = wanted.key;
    this.#player = player();
    this.#player.watch(() => {
      const isBack = this.#player.connected && !this.connected && this.nodes.length > 0;
      this.connected = this.#player.connected;
      if (isBack) this.#reload();
      this.problem = lossText(this.#player) ?? this.#failed;
    });
    this.#player.listen((message) => this.#hear(message));
    void this.#open(opened);
  }

  /** The first and the last instant at which something changes; null: nothing does. */
  get extent(): [number, number] | null {
    void this.version;
    let [first, last] = [Infinity, -Infinity];
    for (const { pieces } of this.timelines.lanes()) {
      const [one, other] = [pieces[0], pieces.at(-1)];
      if (one && other) [first, last] = [Math.min(first, one.start), Math.max(last, other.start)];
    }
    const [one, other] = [this.events[0], this.events.at(-1)];
    if (one && other) [first, last] = [Math.min(first, one.time), Math.max(last, other.time)];
    return first <= last ? [first, last] : null;
  }

  end(): void {
    endPlayer(this.#player);
  }

  async #open(asked: Channel[]): Promise<void> {
    try {
      await this.#player.ready();
      const opened = await this.#player.open(asked, { as_of: this.wanted.asOf });
      const nodes = opened.channels.find((one) => one.channel === "lanes")?.nodes ?? [];
      this.nodes = nodes.map((one) => ({ ...one, node: this.#name(one.node) }));
      await this.#player.limits(AT_ONCE);
      const { start, live } = this.#player.hello?.range ?? {};
      await this.#playAll(start ?? 0, live ?? 0, LOADED_IN);
    } catch (error) {
      this.loading = false;
      if (error instanceof Refused) this.refused = error.failed;
      else this.problem = this.#failed = (error as Error).message;
    }
  }

  /** After a lost socket: revisions may have been missed. */
  #reload(): void {
    this.timelines = new Timelines();
    this.events = [];
    this.#added = [];
    this.#seen.clear();
    this.loading = true;
    const { start, live } = this.#player.hello?.range ?? {};
    void this.#playAll(start ?? 0, live ?? 0, LOADED_IN).catch(() => {}); // lost again: opened again
  }

  async #playAll(from: number, to: number, seconds: number): Promise<void> {
    this.#reading = true;
    const speed = Math.min(Math.max((to - from) / seconds, 1), 1e7);
    await this.#player.ask({ action: "play", start: from, speed });
  }

  #hear(message: AnyMessage): void {
    switch (message.type) {
      case "snapshot":
        this.timelines.addLevels(
          (message.channels["lanes"] ?? []).map((level) => ({ ...level, node: this.#name(level.node) })),
          message.at,
        );
        this.#show();
        break;
      case "frame":
        this.#position = message.to;
        this.#frame(message.channels);
        break;
      case "revision":
        this.#revise(message);
        break;
      case "watermark":
        this.final = Math.max(this.final ?? -Infinity, message.final);
        break;
      case "gap":
        this.gaps = [...this.gaps, message.why];
        break;
      case "state":
        if (message.position !== null) this.#position = message.position;
        if (message.status === "live" || message.status === "ended") this.#arrived(message.position);
        break;
      default:
    }
  }

  #frame(parts: Record<string, unknown>): void {
    const events = parts["ev"] as RecordsPart | undefined;
    const changes = parts["lanes"] as ChangesPart | undefined;
    if (events) {
      this.#addEvents(events.records, false);
      this.#missed += events.skipped ?? 0;
      this.#told += events.count;
    }
    if (changes) {
      for (const change of changes.changes) change[1] = this.#name(change[1] as string);
      this.timelines.addChanges(changes);
      this.#missed += changes.skipped ?? 0;
      this.#told += changes.count;
    }
    if (events ?? changes) this.#show();
    if (!this.loading) this.live = Math.max(this.live ?? -Infinity, this.#position);
  }

  #revise(message: Extract<AnyMessage, { type: "revision" }>): void {
    if (message.channel === "ev") {
      this.#addEvents(message.records ?? [], true);
      this.#show();
      return;
    }
    const { cause } = message;
    const node = this.#name(message.node ?? "");
    const found = this.timelines.revise({ ...message, node }, this.#position);
    if (node) this.revised = [...this.revised, ...found.map((one) => ({ ...one, node, cause }))];
    this.#show();
  }

  #name(node: string): string {
    return this.wanted.names?.get(node) ?? node;
  }

  #addEvents(records: readonly unknown[][], late: boolean): void {
    for (const [time, , payload, position] of records as [number, Key, Record<string, unknown>, unknown][]) {
      const name = JSON.stringify([time, position]);
      if (this.#seen.has(name)) continue;
      this.#seen.add(name);
      this.#added.push({ time, payload, text: eventText(payload, this.key, time), late });
    }
  }

  /** Shows what has come, once all of it has that is recorded. */
  #show(): void {
    if (this.#reading) return;
    if (this.#added.length) this.events = [...this.events, ...this.#added].sort((a, b) => a.time - b.time);
    this.#added = [];
    this.version++;
  }

  #arrived(position: number | null): void {
    this.live = position;
    this.#reading = false;
    this.#show();
    const extent = this.extent;
    const seconds = Math.max(2 * this.#seconds, this.#told / TOLD_A_SECOND);
    if (this.#missed && extent && seconds <= SLOWEST_AGAIN) {
      [this.#missed, this.#told, this.#seconds] = [0, 0, seconds];
      void this.#playAll(extent[0], extent[1], seconds).catch(() => {}); // a lost socket: all is read again
      return;
    }
    this.skipped = this.#missed;
    this.loading = false;
  }
}

/** The channels of a key: its events and its lanes. */
export function channels(wanted: Wanted): [Channel, Channel] {
  const keys = [wanted.key as string | number];
  const { metric, expression } = wanted;
  return [
    { channel: "ev", events: metric, keys },
    expression
      ? { channel: "lanes", expression, like: metric, nodes: "all", keys }
      : { channel: "lanes", metric, nodes: "all", keys },
  ];
}

/** An event in a few words: its fields without the key and the time, which the place says. */
function eventText(payload: Record<string, unknown>, key: Key, time: number): string {
  return Object.entries(payload)
    .filter(([, value]) => value !== key && value !== time)
    .map(([name, value]) => (typeof value === "string" ? value : `${name} ${JSON.stringify(value)}`))
    .join(", ");
}
