/** Scale: where times are on the screen, and which of them get a tick. */

export class Scale {
  constructor(
    readonly from: number,
    readonly to: number,
    readonly width: number,
  ) {}

  /** Seconds a pixel. */
  get resolution(): number {
    return (this.to - this.from) / Math.max(this.width, 1);
  }

  x(time: number): number {
    return (time - this.from) / this.resolution;
  }

  time(x: number): number {
    return this.from + x * this.resolution;
  }

  /** The same window, `factor` times as long, with `around` where it was. */
  zoomed(factor: number, around: number): Scale {
    const length = Math.min(Math.max((this.to - this.from) * factor, 1e-4), 1e11);
    const share = (around - this.from) / (this.to - this.from);
    const from = around - share * length;
    return new Scale(from, from + length, this.width);
  }

  /** The same length, moved. */
  moved(by: number): Scale {
    return new Scale(this.from + by, this.to + by, this.width);
  }

  /** The distance of ticks that are at least `apart` pixels from each other. */
  step(apart = 80): number {
    const least = this.resolution * apart;
    const found = STEPS.find((step) => step >= least);
    if (found !== undefined) return found;
    const days = 10 ** Math.ceil(Math.log10(least / 86_400));
    return days * 86_400;
  }

  /** Times of ticks in the window. */
  ticks(apart = 80): number[] {
    const step = this.step(apart);
    const found: number[] = [];
    for (let i = Math.ceil(this.from / step); i * step <= this.to; i++) found.push(i * step);
    return found;
  }
}

const STEPS = [
  ...[1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1].flatMap((unit) => [unit, 2 * unit, 5 * unit]),
  ...[1, 2, 5, 10, 15, 30],
  ...[1, 2, 5, 10, 15, 30].map((minutes) => minutes * 60),
  ...[1, 2, 3, 6, 12].map((hours) => hours * 3600),
  ...[1, 2, 7].map((days) => days * 86_400),
];

/** The one of `times` (in order) that is nearest to `time`; null: none is within `reach`. */
export function nearest(times: readonly number[], time: number, reach: number): number | null {
  let low = 0;
  let high = times.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if ((times[middle] as number) < time) low = middle + 1;
    else high = middle;
  }
  const near = [times[low - 1], times[low]].filter((one) => one !== undefined);
  near.sort((a, b) => Math.abs(a - time) - Math.abs(b - time));
  return near[0] !== undefined && Math.abs(near[0] - time) <= reach ? near[0] : null;
}
