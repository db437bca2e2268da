import { shownKind } from "./chips";
import type { Candidate, Round } from "./types";

export type View = "blink" | "swipe" | "map";
export const MEASURES = ["area", "probability", "NDVI", "brightness"] as const;

/** How the candidate in view is looked at: which year, which kind of picture, side by side with what. */
export class Look {
  view = $state<View>("blink");
  kind = $state("true");
  year = $state(0);
  edge = $state(0.5);
  playing = $state(true);
  outlines = $state(true);
  /** which number stands beside each year, once there is a verdict */
  measure = $state<(typeof MEASURES)[number]>("area");
  shown = $state.raw<Candidate | null>(null);

  constructor(private readonly info: Round) {
    this.year = info.years.includes(info.target_year) ? info.target_year : (info.years.at(-1) ?? 0);
    this.playing = !matchMedia("(prefers-reduced-motion: reduce)").matches;
  }

  /** What the year in view is swiped against: the first other one that has a picture. */
  get against(): number {
    const { years } = this.info;
    return years.find((year) => year !== this.year && this.pictured(year)) ?? years[0] ?? 0;
  }

  private pictured(year: number): boolean {
    const chip = this.shown?.chips.find((one) => one.year === year);
    return !!chip && shownKind(chip.kinds, this.kind) !== null;
  }

  blink(): void {
    if (this.playing && this.view === "blink") this.stepYear(1, true);
  }

  stepYear(direction: 1 | -1, playing = false): void {
    const years = this.info.years;
    if (!years.length) return;
    this.playing = playing;
    let at = years.indexOf(this.year);
    for (let step = 0; step < years.length; step++) {
      at = (at + direction + years.length) % years.length;
      // a year without a picture would be a blank frame between the others
      if (this.pictured(years[at]!)) break;
    }
    this.year = years[at]!;
  }

  /** What comes after a kind of pictures: the next of these kinds, after the last one true colour; null where the round has none. */
  following(kinds: string[], now: string): string | null {
    const there = kinds.filter((kind) => this.info.kinds.includes(kind));
    return there.length ? (there[there.indexOf(now) + 1] ?? "true") : null;
  }
}
