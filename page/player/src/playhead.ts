/**
 * Playhead: where a player is between two of its messages.
 *
 * `at(now)` never runs ahead of the end of the window, and stands still unless it plays. Wall times are milliseconds of
 * one clock (`performance.now()`), positions seconds.
 */
import type { AnyMessage, State } from "./messages";

export class Playhead {
  #state: State | null = null;
  #position = 0;
  #since = 0;

  /** The last state that was told. */
  get state(): State | null {
    return this.#state;
  }

  /** Takes in a message that was received at wall time `now`. */
  hear(message: AnyMessage, now: number): void {
    switch (message.type) {
      case "state":
        this.#state = message;
        if (message.position !== null) this.#stand(message.position, now);
        break;
      case "frame":
        if (message.epoch === this.#state?.epoch && message.to > this.at(now)) this.#stand(message.to, now);
        break;
      case "skip":
        if (message.epoch === this.#state?.epoch) this.#stand(message.to, now);
        break;
      default:
    }
  }

  /** The position at wall time `now`. */
  at(now: number): number {
    const state = this.#state;
    if (state?.status !== "playing") return this.#position;
    const found = this.#position + (state.speed * (now - this.#since)) / 1000;
    return state.end === null ? found : Math.min(found, state.end);
  }

  #stand(position: number, now: number): void {
    this.#position = position;
    this.#since = now;
  }
}
