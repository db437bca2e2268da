import type { Columns, Decision } from "./types";

export const FILTERS = ["all", "open", "decided", "accept", "reject", "edit", "unsure", "changed", "added"] as const;
export const ORDERS = ["rank", "nearest", "random"] as const;
export type Filter = (typeof FILTERS)[number];
export type Order = (typeof ORDERS)[number];

/** FNV-1a: the random order is the same in each session of a reviewer, and another for each. */
function hash(text: string): number {
  let value = 2166136261;
  for (let at = 0; at < text.length; at++) value = Math.imul(value ^ text.charCodeAt(at), 16777619);
  value = Math.imul(value ^ (value >>> 15), 2246822507);
  return (value ^ (value >>> 13)) >>> 0;
}

/**
 * What is to be judged: what is decided of it, which of it is shown, in which order. A window of an audit is one of the
 * candidates here: who could tell it before it is opened could put it off, or look at it with other eyes.
 */
export class CandidateList {
  version = $state(0);
  rows = $state.raw<string[]>([]);
  filter = $state<Filter>("all");
  order = $state<Order>("rank");
  decided = $state(0);
  readonly n: number;
  private readonly index = new Map<string, number>();

  constructor(
    readonly columns: Columns,
    private readonly reviewer: string,
  ) {
    columns.id.forEach((id, at) => this.index.set(id, at));
    this.n = columns.id.length;
    this.decided = columns.decision.filter(Boolean).length;
  }

  has(id: string): boolean {
    return this.index.has(id);
  }

  placeOf(id: string): number {
    return this.index.get(id) ?? -1;
  }

  isWindow(id: string): boolean {
    return !!this.columns.window[this.placeOf(id)];
  }

  decisionOf(id: string): Decision | null {
    void this.version;
    return this.columns.decision[this.placeOf(id)] ?? null;
  }

  mark(id: string, decision: Decision | null): void {
    const at = this.index.get(id);
    if (at === undefined) return;
    this.decided += (decision ? 1 : 0) - (this.columns.decision[at] ? 1 : 0);
    this.columns.decision[at] = decision;
    this.version++;
  }

  /** Choose and order the rows anew; by nearness they begin at `here`. */
  arrange(here: string): void {
    const { id, near } = this.columns;
    const rows = id.map((_, at) => at).filter((at) => this.wanted(at));
    if (this.order === "nearest") {
      // along a curve through the region, so that neighbours follow each other
      const start = near[this.index.get(here) ?? 0] ?? 0;
      const n = id.length + 1;
      rows.sort((a, b) => ((near[a]! - start + n) % n) - ((near[b]! - start + n) % n));
    }
    if (this.order === "random") {
      const keys = id.map((name) => hash(this.reviewer + name));
      rows.sort((a, b) => keys[a]! - keys[b]!);
    }
    this.rows = rows.map((at) => id[at]!);
  }

  private wanted(at: number): boolean {
    const { decision, changed } = this.columns;
    if (this.filter === "all") return true;
    if (this.filter === "open") return !decision[at];
    if (this.filter === "decided") return !!decision[at];
    if (this.filter === "changed") return !!changed[at];
    return decision[at] === this.filter;
  }

  nextOpen(from: string): string {
    const start = this.rows.indexOf(from);
    for (let step = 1; step <= this.rows.length; step++) {
      const id = this.rows[(start + step + this.rows.length) % this.rows.length]!;
      if (id !== from && !this.columns.decision[this.index.get(id)!]) return id;
    }
    return "";
  }

  /** The row so many further; at the ends the last one. */
  beside(id: string, steps: number): string {
    const at = this.rows.indexOf(id) + steps;
    return this.rows[Math.max(0, Math.min(at, this.rows.length - 1))] ?? "";
  }

  /** The number that the list shows of it: its place by rank. */
  numberOf(id: string): number {
    return this.placeOf(id) + 1;
  }

  /** The one that is meant by an id, or by the number that the list shows. */
  find(text: string): string | undefined {
    const wanted = text.trim().toLowerCase();
    if (/^\d+$/.test(wanted)) return this.columns.id[Number(wanted) - 1];
    return this.columns.id.find((name) => name.toLowerCase() === wanted);
  }
}
