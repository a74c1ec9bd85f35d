/** Polled: an answer of the server, asked for again while the page is looked at. */
import { RequestFailed } from "./server";
import type { Failure } from "./rest";

const SELDOM = 30_000; // ms, of what is not there: it may be applied later

export class Polled<T> {
  value = $state.raw<T | null>(null);
  failure = $state.raw<Failure | null>(null);

  readonly #ask: (signal: AbortSignal) => Promise<T>;
  readonly #every: number;
  #ending = new AbortController();
  #later: ReturnType<typeof setTimeout> | undefined;

  /** Asks now, and `every` ms after each answer until `end`. */
  constructor(ask: (signal: AbortSignal) => Promise<T>, every: number) {
    this.#ask = ask;
    this.#every = every;
    document.addEventListener("visibilitychange", this.#seen);
    void this.again();
  }

  /** Asks now. */
  async again(): Promise<void> {
    clearTimeout(this.#later);
    const { signal } = this.#ending;
    try {
      const value = await this.#ask(signal);
      if (signal.aborted) return;
      this.value = value;
      this.failure = null;
    } catch (error) {
      if (signal.aborted) return;
      this.failure = failureOf(error);
    }
    clearTimeout(this.#later);
    const every = this.failure?.code === "unknown-metric" ? Math.max(this.#every, SELDOM) : this.#every;
    this.#later = setTimeout(() => document.hidden || this.again(), every);
  }

  end(): void {
    this.#ending.abort();
    clearTimeout(this.#later);
    document.removeEventListener("visibilitychange", this.#seen);
  }

  readonly #seen = () => {
    if (!document.hidden) void this.again();
  };
}

/** What an error says. */
export function failureOf(error: unknown): Failure {
  if (error instanceof RequestFailed) return error.failure;
  const message = error instanceof Error ? error.message : String(error);
  return { code: "unexpected", message, hint: null, field: null, span: null, line: null, column: null };
}
