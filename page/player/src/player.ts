/**
 * Player: one socket of `timeline.dvr.v1`.
 *
 * `ask` resolves with the reply to a request, and rejects with `Refused` where that is an error; requests have their
 * replies in order. Frames are acknowledged when all listeners have returned, so that a page that cannot keep up is
 * sent fewer. A socket that is lost is opened again, with its channels and limits, and goes on from where it was; what
 * was asked meanwhile rejects with `Lost`. A socket that was refused (codes 44xx) stays closed.
 */
import type {
  AnyMessage,
  AnyRequest,
  Failed,
  Hello,
  Open,
  Opened,
  SetLimits,
  Snapshot,
  State,
  Stopped,
} from "./messages";

const PROTOCOL = "timeline.dvr.v1";
const LEAST_WAIT = 250; // ms before a lost socket is opened again; doubled each time
const LONGEST_WAIT = 8000;

type Without<T> = T extends unknown ? Omit<T, "id"> : never;
/** A request; its `id` is given by the player. */
export type Ask = Without<AnyRequest>;
/** What may answer a request. */
export type Reply = Opened | State | Snapshot | Stopped;

export interface PlayerOptions {
  /** The secret of the server, where it has one. */
  token?: string;
  /** Makes the socket; for tests and for runtimes without WebSocket. */
  socket?: (address: string, protocol: string) => WebSocket;
}

/** A request was refused: `failed` has the code, and where it is known the field, a hint and the span. */
export class Refused extends Error {
  constructor(readonly failed: Failed) {
    super(failed.hint ? `${failed.message}; ${failed.hint}` : failed.message);
    this.name = "Refused";
  }
}

/** The socket was lost, or closed with `code`. */
export class Lost extends Error {
  constructor(readonly code: number, reason: string) {
    super(`the player's socket closed with ${code}${reason ? `: ${reason}` : ""}`);
    this.name = "Lost";
  }
}

interface Waiting {
  resolve: (reply: Reply) => void;
  reject: (error: Error) => void;
}

export class Player {
  /** The last hello; null until the socket is open. */
  hello: Hello | null = null;
  /** The last state that was told. */
  state: State | null = null;
  /** Whether the socket is open, and its channels are. */
  connected = false;
  /** Why the socket is closed for good; null while it is not. */
  failure: Lost | null = null;
  /** Why the socket was last lost; null since it is open again. */
  lost: Lost | null = null;

  readonly #address: string;
  readonly #make: (address: string, protocol: string) => WebSocket;
  readonly #listeners = new Set<(message: AnyMessage) => void>();
  readonly #changes = new Set<() => void>();
  readonly #waiting = new Map<number, Waiting>();
  readonly #channels = new Map<string, Open["channels"][number]>();
  #view: Pick<Open, "axis" | "as_of" | "edge"> = {};
  #limits: Without<SetLimits> | null = null;
  #socket: WebSocket | null = null;
  #next = 1;
  #wait = LEAST_WAIT;
  #retry: ReturnType<typeof setTimeout> | undefined;
  #position: number | null = null;
  #ended = false;
  #rests = false;

  constructor(address: string | URL, options: PlayerOptions = {}) {
    const url = new URL(address, typeof location === "undefined" ? undefined : location.href);
    url.protocol = url.protocol.replace("http", "ws");
    if (options.token) url.searchParams.set("token", options.token);
    this.#address = url.href;
    this.#make = options.socket ?? ((to, protocol) => new WebSocket(to, protocol));
    this.#connect();
  }

  /** Hears every message; what is returned ends that. */
  listen(listener: (message: AnyMessage) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** Is told when `connected` or `failure` has changed; what is returned ends that. */
  watch(listener: () => void): () => void {
    this.#changes.add(listener);
    return () => this.#changes.delete(listener);
  }

  /** Resolves when the socket is open; rejects when it is closed for good. */
  ready(): Promise<Hello> {
    return new Promise((resolve, reject) => {
      const look = () => {
        if (this.failure) reject(this.failure);
        else if (this.connected && this.hello) resolve(this.hello);
        else return;
        end();
      };
      const end = this.watch(look);
      look();
    });
  }

  /** Opens channels; `view` holds for all channels of the socket, and what it leaves out stays. */
  async open(channels: Open["channels"], view: Pick<Open, "axis" | "as_of" | "edge"> = {}): Promise<Opened> {
    const opened = (await this.ask({ action: "open", channels, ...view })) as Opened;
    for (const one of channels) this.#channels.set(one.channel, one);
    this.#view = { ...this.#view, ...view };
    return opened;
  }

  /** Closes channels. */
  async close(channels: string[]): Promise<Opened> {
    const left = (await this.ask({ action: "close", channels })) as Opened;
    for (const one of channels) this.#channels.delete(one);
    return left;
  }

  /** Says what the client can take. */
  async limits(limits: Without<Omit<SetLimits, "action">>): Promise<Reply> {
    const reply = await this.ask({ action: "limits", ...limits });
    this.#limits = { action: "limits", ...limits };
    return reply;
  }

  /** Asks anything. */
  ask(request: Ask): Promise<Reply> {
    return new Promise((resolve, reject) => {
      if (!this.#socket || this.#socket.readyState !== 1) {
        reject(this.failure ?? new Lost(1006, "it is being opened again"));
        return;
      }
      const id = this.#next++;
      this.#waiting.set(id, { resolve, reject });
      this.#socket.send(JSON.stringify({ id, ...request }));
    });
  }

  /** All messages from now on. */
  async *[Symbol.asyncIterator](): AsyncGenerator<AnyMessage, void, void> {
    const queue: AnyMessage[] = [];
    let wake = () => {};
    const ends = [this.listen((message) => (queue.push(message), wake())), this.watch(() => wake())];
    try {
      while (!this.#ended && !this.failure) {
        while (queue.length) yield queue.shift() as AnyMessage;
        await new Promise<void>((resolve) => (wake = resolve));
      }
    } finally {
      for (const end of ends) end();
    }
  }

  /** Closes the socket until `wake`, as while nobody looks. Then it goes on from where it was. */
  rest(): void {
    if (this.#ended || this.#rests) return;
    this.#rests = true;
    clearTimeout(this.#retry);
    this.#socket?.close(1000);
  }

  /** Opens the socket again, after `rest`. */
  wake(): void {
    if (!this.#rests) return;
    this.#rests = false;
    this.#wait = LEAST_WAIT;
    if (!this.#ended && !this.failure && this.#socket?.readyState === 3) this.#connect();
  }

  /** Closes the socket for good. */
  end(): void {
    this.#ended = true;
    clearTimeout(this.#retry);
    this.#socket?.close(1000);
    this.#tell();
  }

  #connect(): void {
    const socket = this.#make(this.#address, PROTOCOL);
    this.#socket = socket;
    socket.onmessage = (event) => this.#hear(JSON.parse(event.data as string) as AnyMessage);
    socket.onclose = (event) => this.#lost(socket, event.code, event.reason);
  }

  #hear(message: AnyMessage): void {
    if (message.type === "hello") {
      this.hello = message;
      void this.#again();
    }
    if (message.type === "state") {
      this.state = message;
      this.#position = message.position;
    }
    if (message.type === "frame") this.#position = message.to;
    for (const listener of this.#listeners) listener(message);
    if (message.type === "frame") this.#send({ action: "ack", frame: message.frame });
    const reply = "reply" in message ? message.reply : undefined;
    const waiting = typeof reply === "number" ? this.#waiting.get(reply) : undefined;
    if (waiting === undefined) return;
    this.#waiting.delete(reply as number);
    if (message.type === "error") waiting.reject(new Refused(message));
    else waiting.resolve(message as Reply);
  }

  /** After a hello: what was open before is opened again, and goes on from where it was. */
  async #again(): Promise<void> {
    const before = this.state;
    try {
      if (this.#limits) await this.ask(this.#limits);
      if (this.#channels.size) {
        await this.ask({ action: "open", channels: [...this.#channels.values()], ...this.#view });
        await this.#goOn(before);
      }
    } catch (error) {
      if (error instanceof Lost) return; // it is opened again
      this.#socket?.close(1000);
      return;
    }
    this.#wait = LEAST_WAIT;
    this.connected = true;
    this.lost = null;
    this.#tell();
  }

  async #goOn(before: State | null): Promise<void> {
    const position = this.#position;
    if (!before || position === null) return;
    if (before.status === "live") await this.ask({ action: "seek", to: "live" });
    else if (before.loop && before.start !== null && before.end !== null) {
      await this.ask({ action: "play", start: before.start, end: before.end, speed: before.speed, loop: true });
      await this.ask({ action: "seek", to: position });
    } else {
      const window = before.end === null ? {} : { end: before.end };
      await this.ask({ action: "play", start: position, speed: before.speed, ...window });
    }
    if (before.status === "paused") await this.ask({ action: "pause" });
  }

  #lost(socket: WebSocket, code: number, reason: string): void {
    if (socket !== this.#socket) return;
    this.connected = false;
    const lost = new Lost(code, reason);
    this.lost = lost;
    for (const waiting of this.#waiting.values()) waiting.reject(lost);
    this.#waiting.clear();
    if (code >= 4400 && code !== 4408 && code !== 4429) this.failure = lost;
    else if (!this.#ended && !this.#rests) {
      this.#retry = setTimeout(() => this.#connect(), this.#wait);
      this.#wait = Math.min(this.#wait * 2, LONGEST_WAIT);
    }
    this.#tell();
  }

  #send(request: Ask): void {
    if (this.#socket?.readyState === 1) this.#socket.send(JSON.stringify(request));
  }

  #tell(): void {
    for (const listener of this.#changes) listener();
  }
}
