/** Server: where this page comes from, the secret it wants, and requests to it. */
import { Player } from "timeline-player";

import type { Failure } from "./rest";

const TOKEN = "timeline-token";

/** A request came to nothing. `failure.code` is `unreachable` where there was no answer. */
export class RequestFailed extends Error {
  constructor(readonly failure: Failure) {
    super(failure.hint ? `${failure.message}; ${failure.hint}` : failure.message);
    this.name = "RequestFailed";
  }
}

/** The secret, kept for as long as the tab is; null: none was given. */
export function token(): string | null {
  return sessionStorage.getItem(TOKEN);
}

export function setToken(said: string): void {
  sessionStorage.setItem(TOKEN, said);
}

/** Takes a secret out of the page's address, where `timeline serve` writes it. */
export function takeToken(): void {
  const params = new URLSearchParams(location.search);
  const said = params.get("token");
  if (said === null) return;
  setToken(said);
  params.delete("token");
  history.replaceState(null, "", location.pathname + (params.size ? `?${params}` : ""));
}

export type Query = Record<string, string | number | boolean | null | undefined | readonly (string | number)[]>;

/** The address of a resource below `/api`. */
export function address(path: string, query: Query = {}): string {
  const params = new URLSearchParams();
  for (const [name, value] of Object.entries(query)) {
    for (const one of Array.isArray(value) ? value : [value]) {
      if (one !== null && one !== undefined) params.append(name, String(one));
    }
  }
  return `api/${path}${params.size ? `?${params}` : ""}`;
}

/** Asks, and gives the JSON of the answer. Raises RequestFailed. */
export async function ask<T>(path: string, query: Query = {}, init: RequestInit = {}): Promise<T> {
  return (await (await answered(path, query, init)).json()) as T;
}

/** Sends JSON, and gives that of the answer. Raises RequestFailed. */
export function send<T>(path: string, body: unknown, query: Query = {}, signal?: AbortSignal): Promise<T> {
  const headers = { "Content-Type": "application/json" };
  return ask<T>(path, query, { method: "POST", headers, body: JSON.stringify(body), ...(signal ? { signal } : {}) });
}

export async function answered(path: string, query: Query, init: RequestInit): Promise<Response> {
  const headers = new Headers(init.headers);
  const secret = token();
  if (secret) headers.set("Authorization", `Bearer ${secret}`);
  let response: Response;
  try {
    response = await fetch(address(path, query), { ...init, headers });
  } catch (error) {
    if (init.signal?.aborted) throw error;
    throw new RequestFailed(failed("unreachable", "the server does not answer; is it running?"));
  }
  if (response.ok) return response;
  let failure: Failure;
  try {
    failure = (await response.json()) as Failure;
  } catch {
    failure = failed(String(response.status), `the server answered ${response.status} ${response.statusText}`);
  }
  throw new RequestFailed(failure);
}

function failed(code: string, message: string): Failure {
  return { code, message, hint: null, field: null, span: null, line: null, column: null };
}

const HIDDEN_MS = 30_000; // after which a page that nobody sees closes its sockets
const players = new Set<Player>();
let resting: ReturnType<typeof setTimeout> | undefined;

function looked(): void {
  clearTimeout(resting);
  if (document.hidden) resting = setTimeout(() => players.forEach((one) => one.rest()), HIDDEN_MS);
  else players.forEach((one) => one.wake());
}

/** A player on this server, whose socket is closed while the page is not looked at. */
export function player(): Player {
  document.addEventListener("visibilitychange", looked); // once, however often
  if (document.hidden && players.size === 0) looked();
  const secret = token();
  const made = new Player(new URL("api/dvr", location.href), secret ? { token: secret } : {});
  players.add(made);
  return made;
}

/** Ends a player. */
export function endPlayer(made: Player): void {
  players.delete(made);
  made.end();
}

/** What is wrong with a player's socket; null where nothing is, or it will soon be open again. */
export function lossText({ failure, lost }: Player): string | null {
  if (failure?.code === 4401) return "this server wants a token: open the address that it printed, or see Metrics";
  if (failure) return failure.message;
  return lost?.code === 4429 ? "too many lanes are open, 8 sockets in all: close another tab of this page" : null;
}
