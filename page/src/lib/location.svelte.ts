/**
 * Location: the state of the page, which is all in its address.
 *
 * Views read it by `place.get`, and change it by `place.set`: a change of what is looked at is a new entry of the
 * browser's history, a change of where one looks (`quiet`) replaces the present one.
 */
import { SvelteURLSearchParams } from "svelte/reactivity";

const QUIET_MS = 200; // browsers refuse more than some hundred changes of the address in half a minute

export type Change = Record<string, string | number | boolean | null | undefined>;

class Location {
  readonly #params = new SvelteURLSearchParams(location.search);
  #later: ReturnType<typeof setTimeout> | undefined;

  constructor() {
    addEventListener("popstate", () => {
      clearTimeout(this.#later);
      this.#later = undefined;
      this.#fill(new URLSearchParams(location.search));
    });
    addEventListener("pagehide", () => this.#write());
  }

  get(name: string): string | null {
    return this.#params.get(name);
  }

  number(name: string): number | null {
    const text = this.#params.get(name);
    const found = text === null || text === "" ? NaN : Number(text);
    return Number.isFinite(found) ? found : null;
  }

  /** Changes some of the state; null, undefined and false take a part away. */
  set(change: Change, quiet = false): void {
    if (!quiet) this.#write();
    this.#apply(this.#params, change);
    if (quiet) this.#later ??= setTimeout(() => this.#write(), QUIET_MS);
    else history.pushState(null, "", this.#address(this.#params));
  }

  /** Goes to another view: nothing of the present state stays but what is said. */
  go(change: Change): void {
    this.#write();
    const next = new URLSearchParams();
    this.#apply(next, change);
    history.pushState(null, "", this.#address(next));
    this.#fill(next);
    scrollTo(0, 0);
  }

  /** The address of another view. */
  href(change: Change): string {
    const next = new URLSearchParams();
    this.#apply(next, change);
    return this.#address(next);
  }

  /** The whole address of the present state, to send to somebody. */
  link(): string {
    return new URL(this.#address(this.#params), location.href).href;
  }

  #apply(params: URLSearchParams, change: Change): void {
    for (const [name, value] of Object.entries(change)) {
      const text = value === null || value === undefined || value === false ? null : String(value);
      if (text === null) params.delete(name);
      else if (params.get(name) !== text) params.set(name, text);
    }
  }

  #fill(next: URLSearchParams): void {
    for (const name of [...this.#params.keys()]) if (!next.has(name)) this.#params.delete(name);
    for (const [name, value] of next) if (this.#params.get(name) !== value) this.#params.set(name, value);
  }

  #write(): void {
    if (this.#later === undefined) return;
    clearTimeout(this.#later);
    this.#later = undefined;
    history.replaceState(null, "", this.#address(this.#params));
  }

  #address(params: URLSearchParams): string {
    const query = params.toString();
    return location.pathname + (query ? `?${query}` : "");
  }
}

export const place = new Location();

/** For links: a plain click goes there without loading the page again. */
export function goes(change: Change): (event: MouseEvent) => void {
  return (event) => {
    if (event.button || event.metaKey || event.ctrlKey || event.shiftKey || event.altKey) return;
    event.preventDefault();
    place.go(change);
  };
}
