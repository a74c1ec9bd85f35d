/**
 * Transport: the playhead of the Key view, which the server moves.
 *
 * Dragging shows its place at once and asks the server for it, one request at a time; what is asked while another is
 * under way is asked after it, the last place only.
 *
 * Where no place is said, it waits for `beginAt`: where the key's events begin is only known when these are read. Its
 * lanes, which it steps through, are opened then, too: those that are drawn come first.
 */
import { Playhead, Refused, type Ask, type Player, type State } from "timeline-player";

import { endPlayer, lossText, player } from "../lib/server";
import { channels, type Wanted } from "./lanes.svelte";

export class Transport {
  status = $state<State["status"]>("stopped");
  position = $state(0);
  speed = $state(1);
  loop = $state<[number, number] | null>(null);
  problem = $state<string | null>(null);
  connected = $state(false);

  readonly #player: Player;
  #failed: string | null = null;
  readonly #playhead = new Playhead();
  #dragged: number | null = null;
  readonly #first = Promise.withResolvers<number | "start">();
  readonly #whole = Promise.withResolvers<void>(); // all of its channels are open
  #asked: Promise<unknown> = Promise.resolve();
  #asking = false;
  #frame = 0;

  constructor(
    wanted: Wanted,
    begin: { at: number | null; speed: number; loop: [number, number] | null; live: boolean },
  ) {
    this.speed = begin.speed;
    this.loop = begin.loop;
    if (begin.at !== null) this.position = begin.at;
    this.#player = player();
    this.#player.watch(() => {
      this.connected = this.#player.connected;
      this.problem = lossText(this.#player) ?? this.#failed;
    });
    this.#player.listen((message) => {
      this.#playhead.hear(message, performance.now());
      if (message.type === "state") this.#told(message);
    });
    void this.#open(wanted, begin);
    const tick = () => {
      if (this.#dragged === null && this.#playhead.state) {
        const at = this.#playhead.at(performance.now());
        if (at !== this.position) this.position = at;
      }
      this.#frame = requestAnimationFrame(tick);
    };
    this.#frame = requestAnimationFrame(tick);
  }

  /** Where it begins, where no place was said; null: where what is recorded begins. */
  beginAt(time: number | null): void {
    this.#first.resolve(time ?? "start");
  }

  /** Where it stands once all that was asked is answered. */
  async settled(): Promise<number> {
    await this.#asked;
    return this.#dragged ?? this.#playhead.at(performance.now()) ?? this.position;
  }

  end(): void {
    cancelAnimationFrame(this.#frame);
    endPlayer(this.#player);
  }

  get playing(): boolean {
    return this.status === "playing" || this.status === "buffering";
  }

  /** Plays or pauses. */
  async toggle(): Promise<void> {
    if (this.playing || this.status === "live") await this.#ask({ action: "pause" });
    else if (this.status === "paused") await this.#ask({ action: "resume" });
    else await this.#ask({ action: "play", start: this.position, speed: this.speed });
  }

  /** Goes to an instant; `dragging`: more of these follow. */
  seek(to: number, dragging = false): void {
    this.position = to;
    this.#dragged = to;
    void this.#send(dragging);
  }

  /** Goes to the live edge, where there is no loop. */
  async live(): Promise<boolean> {
    const done = await this.#ask({ action: "seek", to: "live" });
    if (done) this.loop = null;
    return done;
  }

  async step(by: string, back: boolean): Promise<boolean> {
    await this.#whole.promise;
    return this.#ask({ action: "step", by, back });
  }

  async setSpeed(speed: number): Promise<void> {
    if (await this.#ask({ action: "speed", speed })) this.speed = speed;
  }

  /** Loops a part, from where it stands; null: no longer. */
  async setLoop(loop: [number, number] | null): Promise<void> {
    const before = this.loop;
    this.loop = loop;
    const asked: Ask = loop ? { action: "loop", from: loop[0], to: loop[1] } : { action: "loop", off: true };
    if (!(await this.#ask(asked))) this.loop = before;
  }

  async #open(wanted: Wanted, begin: { at: number | null; live: boolean }): Promise<void> {
    try {
      await this.#player.ready();
      const [events, lanes] = channels(wanted);
      await this.#player.open([events], { as_of: wanted.asOf });
      await this.#player.limits({ frames_per_second: 30, records: 20 });
      if (begin.live) await this.live();
      else {
        const to = begin.at ?? (await this.#first.promise);
        if (this.status === "stopped") await this.#player.ask({ action: "seek", to });
        if (this.speed !== 1) await this.setSpeed(this.speed);
        if (this.#dragged !== null) await this.#send(false);
      }
      if (this.loop) await this.setLoop(this.loop);
      await this.#first.promise;
      await this.#player.ready(); // the socket may have been lost meanwhile
      await this.#player.open([lanes]);
    } catch (error) {
      if (!(error instanceof Refused)) this.problem = this.#failed = (error as Error).message;
    }
    this.#whole.resolve();
  }

  #told(state: State): void {
    this.status = state.status;
    this.speed = state.speed;
  }

  async #send(dragging: boolean): Promise<void> {
    if (this.#asking) return;
    this.#asking = true;
    let to: number | null = null;
    while (this.#dragged !== null && this.#dragged !== to) {
      to = this.#dragged;
      await this.#ask({ action: "seek", to });
    }
    this.#asking = false;
    if (!dragging || this.#dragged === to) this.#dragged = null;
  }

  async #ask(request: Ask): Promise<boolean> {
    const answered = this.#player.ask(request);
    this.#asked = answered.catch(() => {}); // what went wrong is said below
    try {
      await answered;
      this.problem = null;
      return true;
    } catch (error) {
      this.problem = (error as Error).message;
      return false;
    }
  }
}
