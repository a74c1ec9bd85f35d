import { afterEach, beforeEach, expect, test, vi } from "vitest";

import type { AnyMessage, State } from "./messages";
import { Lost, Player, Refused } from "./player";
import { Playhead } from "./playhead";

class Socket {
  static made: Socket[] = [];
  readyState = 1;
  sent: Record<string, unknown>[] = [];
  onmessage: (event: { data: string }) => void = () => {};
  onclose: (event: { code: number; reason: string }) => void = () => {};

  constructor(readonly address: string) {
    Socket.made.push(this);
  }
  send(text: string) {
    this.sent.push(JSON.parse(text));
  }
  close(code = 1000) {
    this.readyState = 3;
    this.onclose({ code, reason: "" });
  }
  say(message: unknown) {
    this.onmessage({ data: JSON.stringify(message) });
  }
  get last() {
    return this.sent.at(-1) as Record<string, unknown>;
  }
}

const HELLO = { type: "hello", protocol: "timeline.dvr.v1", range: { start: 0, live: 9, final: null } };
const STATE = { type: "state", position: 2, speed: 5, loop: false, start: 0, end: null, epoch: 1, jump: false };
const EVENTS = { channel: "ev", events: "topic" };

function made(token?: string): [Player, Socket] {
  const make = (address: string) => new Socket(address) as unknown as WebSocket;
  const player = new Player("http://host/api/dvr", { socket: make, ...(token ? { token } : {}) });
  return [player, Socket.made.at(-1) as Socket];
}

async function opened(): Promise<[Player, Socket]> {
  const [player, socket] = made();
  socket.say(HELLO);
  await player.ready();
  const reply = player.open([EVENTS]);
  socket.say({ type: "opened", reply: socket.last["id"], channels: [] });
  await reply;
  return [player, socket];
}

beforeEach(() => {
  Socket.made = [];
  vi.useFakeTimers();
});
afterEach(() => vi.useRealTimers());

test("replies come to who asked, errors as refusals", async () => {
  const [player, socket] = await opened();
  const [one, other] = [player.ask({ action: "pause" }), player.ask({ action: "seek", to: "x" })];
  const [first, second] = socket.sent.slice(-2).map((asked) => asked["id"]);
  socket.say({ ...STATE, status: "paused", reply: first });
  socket.say({ type: "error", code: "bad-time", message: "to is 'x'", hint: "say a number", reply: second });
  expect(((await one) as State).status).toBe("paused");
  await expect(other).rejects.toThrow(Refused);
  await expect(other).rejects.toThrow("to is 'x'; say a number");
});

test("a frame is acknowledged after it was heard", async () => {
  const [player, socket] = await opened();
  const heard: AnyMessage[] = [];
  player.listen((message) => {
    expect(socket.sent.some((one) => one["action"] === "ack")).toBe(false);
    heard.push(message);
  });
  socket.say({ type: "frame", epoch: 1, frame: 3, from: 0, to: 2, channels: {} });
  expect(heard).toHaveLength(1);
  expect(socket.last).toEqual({ action: "ack", frame: 3 });
});

test("a lost socket is opened again, and goes on from its position", async () => {
  const [player, socket] = await opened();
  socket.say({ ...STATE, status: "playing" });
  socket.say({ type: "frame", epoch: 1, frame: 1, from: 2, to: 4.5, channels: {} });
  const asked = player.ask({ action: "pause" });
  socket.close(1012);
  await expect(asked).rejects.toThrow(Lost);
  await expect(player.ask({ action: "pause" })).rejects.toThrow(Lost);
  expect(player.lost?.code).toBe(1012);
  await vi.advanceTimersByTimeAsync(250);
  const again = Socket.made[1] as Socket;
  again.say(HELLO);
  expect(again.last).toMatchObject({ action: "open", channels: [EVENTS] });
  again.say({ type: "opened", reply: again.last["id"], channels: [] });
  await vi.advanceTimersByTimeAsync(0);
  expect(again.last).toMatchObject({ action: "play", start: 4.5, speed: 5 });
  again.say({ ...STATE, status: "playing", reply: again.last["id"] });
  await vi.advanceTimersByTimeAsync(0);
  expect(player.connected).toBe(true);
  expect(player.lost).toBeNull();
});

test("a player that rests closes its socket, and goes on from its position when it wakes", async () => {
  const [player, first] = await opened();
  first.say({ ...STATE, status: "playing" });
  player.rest();
  await vi.runAllTimersAsync();
  expect(first.readyState).toBe(3);
  expect(Socket.made.at(-1)).toBe(first);
  expect(player.connected).toBe(false);
  player.wake();
  const second = Socket.made.at(-1) as Socket;
  expect(second).not.toBe(first);
  second.say(HELLO);
  expect(second.last).toMatchObject({ action: "open", channels: [EVENTS] });
  second.say({ type: "opened", reply: second.last["id"], channels: [] });
  await vi.advanceTimersByTimeAsync(0);
  expect(second.last).toMatchObject({ action: "play", start: 2, speed: 5 });
});

test("a refused socket stays closed", async () => {
  const [player, socket] = made("secret");
  expect(socket.address).toBe("ws://host/api/dvr?token=secret");
  socket.close(4401);
  await expect(player.ready()).rejects.toThrow("4401");
  await vi.advanceTimersByTimeAsync(60_000);
  expect(Socket.made).toHaveLength(1);
});

test("messages can be iterated over, until the end", async () => {
  const [player, socket] = await opened();
  const found: string[] = [];
  const reading = (async () => {
    for await (const message of player) found.push(message.type);
  })();
  await vi.advanceTimersByTimeAsync(0);
  socket.say({ ...STATE, status: "playing" });
  socket.say({ type: "watermark", channel: "ev", final: 1 });
  await vi.advanceTimersByTimeAsync(0);
  player.end();
  await reading;
  expect(found).toEqual(["state", "watermark"]);
});

test("between messages the playhead moves at its speed, and not past the end", () => {
  const playhead = new Playhead();
  playhead.hear({ ...STATE, status: "playing", end: 10 } as State, 1000);
  expect(playhead.at(1400)).toBe(4);
  expect(playhead.at(9000)).toBe(10);
  playhead.hear({ type: "frame", epoch: 1, frame: 1, from: 2, to: 6, channels: {} }, 1400);
  expect(playhead.at(1400)).toBe(6);
  playhead.hear({ ...STATE, status: "paused", position: 5 } as State, 1500);
  expect(playhead.at(9000)).toBe(5);
});
