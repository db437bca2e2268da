import { Chips, shownKind } from "./chips";
import { SCOPES } from "./keys";
import { ReviewMap, type Tool } from "./map";
import type { Drawing } from "./outline";
import { Queue, type Op, type Problem } from "./queue";
import type { Body, Candidate, Columns, Decision, Round, Said, Standing, Told, XY } from "./types";

export type View = "blink" | "swipe" | "map";
export type Panel = "" | "keys" | "guideline" | "examples" | "go";
export const FILTERS = ["all", "open", "decided", "accept", "reject", "edit", "unsure", "changed", "added"] as const;
export const ORDERS = ["rank", "nearest", "random"] as const;

const AHEAD = 3;
const BLINK_MS = 650;
/** What an operation on a slump that is being added names as its candidate. */
export const MISSED = "+";

export const newId = () => crypto.randomUUID();

/** A verdict or an added slump, and what will stand when it is recorded. */
export function operation(path: Op["path"], candidate: string, body: Body, before: Standing | null): Op {
  const after: Standing = {
    candidate_id: candidate,
    decision: body.decision ?? "missed",
    event_id: before?.event_id ?? "",
    possibility: body.possibility ?? null,
    reject_reason: body.reject_reason ?? null,
    outline_scope: body.outline_scope ?? null,
    first_year_visible: body.first_year_visible ?? null,
    active: body.active ?? null,
    note: body.note ?? null,
    geometry: body.geometry ?? null,
    forked: false,
  };
  return { id: newId(), path, candidate, body, before, after };
}

/** FNV-1a: the random order is the same in each session of a reviewer, and another for each. */
function hash(text: string): number {
  let value = 2166136261;
  for (let at = 0; at < text.length; at++) value = Math.imul(value ^ text.charCodeAt(at), 16777619);
  value = Math.imul(value ^ (value >>> 15), 2246822507);
  return (value ^ (value >>> 13)) >>> 0;
}

/** All that the page knows and does but for drawing; components only show it. */
export abstract class Judging {
  info: Round;
  columns: Columns;
  chips: Chips;
  map: ReviewMap;
  queue: Queue;
  protected index = new Map<string, number>();
  protected store: string;

  version = $state(0);
  current = $state("");
  shown = $state.raw<Candidate | null>(null);
  rows = $state.raw<string[]>([]);
  missed = $state.raw<Standing[]>([]);
  filter = $state<(typeof FILTERS)[number]>("all");
  order = $state<(typeof ORDERS)[number]>("rank");
  view = $state<View>("blink");
  panel = $state<Panel>("");
  kind = $state("true");
  year = $state(0);
  against = $state(0);
  edge = $state(0.5);
  playing = $state(true);
  outlines = $state(true);
  said = $state<Said>({});
  note = $state("");
  waiting = $state(0);
  trouble = $state("");
  savedAt = $state("");
  refused = $state.raw<Problem[]>([]);
  last = $state.raw<{ op: Op; told: Told } | null>(null);
  drawing = $state.raw<Drawing | null>(null);
  drawingFor = $state("");
  tool = $state<Tool>("shape");
  sketch = $state.raw<XY[]>([]);
  steps = $state(0);
  message = $state("");
  decided = $state(0);
  painted = 0;

  private done: Op[] = [];
  private undone: Op[] = [];
  protected since = performance.now();

  constructor(info: Round, columns: Columns) {
    this.info = info;
    this.columns = columns;
    this.missed = columns.missed.filter(Boolean);
    this.store = `rts:${info.project}:${info.round}:${info.reviewer}`;
    this.chips = new Chips(info.round);
    columns.id.forEach((id, at) => this.index.set(id, at));
    this.decided = columns.decision.reduce((sum, value) => sum + (value ? 1 : 0), 0);
    this.year = info.years.includes(info.target_year) ? info.target_year : (info.years.at(-1) ?? 0);
    this.against = info.years[0] ?? 0;
    this.playing = !matchMedia("(prefers-reduced-motion: reduce)").matches;
    this.map = new ReviewMap(info, {
      changed: () => this.drawn(),
      pick: (id) => void this.go(id),
      sketched: (ring) => {
        this.sketch = ring;
        this.keepDraft();
      },
    });
    this.queue = new Queue(`${this.store}:queue`, {
      recorded: (op, told) => this.recorded(op, told),
      refused: (problem) => void this.wasRefused(problem),
      changed: (waiting, trouble) => {
        this.waiting = waiting;
        this.trouble = waiting ? trouble : "";
      },
      elsewhere: (candidate) => {
        const last = this.queue.last(candidate);
        if (last) this.assume(last);
        void this.refresh(candidate);
      },
    });
    setInterval(() => this.blink(), BLINK_MS);
  }

  /** Leave the outline mode; the drawing is dropped. */
  abstract leave(): void;
  /** Open an added slump. */
  abstract editMissed(id: string): void;
  protected abstract restoreDraft(): Promise<void>;
  protected abstract drawn(): void;
  protected abstract keepDraft(): void;

  async resume(): Promise<void> {
    const kept = this.queue.read();
    this.refused = kept.refused;
    for (const op of kept.waiting) this.assume(op);
    this.waiting = kept.waiting.length;
    this.done = JSON.parse(sessionStorage.getItem(`${this.store}:undo`) ?? "[]") as Op[];
    const remembered = JSON.parse(localStorage.getItem(`${this.store}:at`) ?? "{}") as Partial<Judging>;
    this.order = remembered.order ?? "rank";
    this.filter = remembered.filter ?? "all";
    this.kind = remembered.kind && this.info.kinds.includes(remembered.kind) ? remembered.kind : "true";
    this.list();
    const here = remembered.current && this.index.has(remembered.current) ? remembered.current : this.nextOpen("");
    await this.go(here || this.rows[0] || "");
    void this.queue.send();
    await this.restoreDraft();
  }

  // The list

  get n(): number {
    return this.columns.id.length;
  }

  decisionOf(id: string): Decision | null {
    void this.version;
    const at = this.index.get(id);
    return at === undefined ? null : (this.columns.decision[at] ?? null);
  }

  placeOf(id: string): number {
    return this.index.get(id) ?? -1;
  }

  list(): void {
    const { id, decision, changed, near } = this.columns;
    const wanted = (at: number) => {
      const d = decision[at];
      if (this.filter === "all") return true;
      if (this.filter === "open") return !d;
      if (this.filter === "decided") return !!d;
      if (this.filter === "changed") return !!changed[at];
      return d === this.filter;
    };
    const rows = id.map((_, at) => at).filter(wanted);
    if (this.order === "nearest") {
      // along a curve through the region, beginning here, so that neighbours follow each other
      const here = near[this.index.get(this.current) ?? 0] ?? 0;
      const n = id.length + 1;
      rows.sort((a, b) => ((near[a]! - here + n) % n) - ((near[b]! - here + n) % n));
    }
    if (this.order === "random") {
      const seed = this.info.reviewer;
      const keys = id.map((name) => hash(seed + name));
      rows.sort((a, b) => keys[a]! - keys[b]!);
    }
    this.rows = rows.map((at) => id[at]!);
    this.remember();
  }

  private remember(): void {
    const { current, order, filter, kind } = this;
    localStorage.setItem(`${this.store}:at`, JSON.stringify({ current, order, filter, kind }));
  }

  setFilter(filter: (typeof FILTERS)[number]): void {
    this.filter = filter;
    this.list();
    this.say(filter === "all" ? "" : `${this.rows.length} shown: ${filter}`);
  }

  setOrder(order: (typeof ORDERS)[number]): void {
    this.order = order;
    this.list();
    this.ahead();
  }

  private nextOpen(from: string): string {
    const start = this.rows.indexOf(from);
    for (let step = 1; step <= this.rows.length; step++) {
      const id = this.rows[(start + step + this.rows.length) % this.rows.length]!;
      if (id !== from && !this.columns.decision[this.index.get(id)!]) return id;
    }
    return "";
  }

  private ahead(): void {
    const ids = [this.current];
    let at = this.current;
    for (let step = 0; step < AHEAD; step++) {
      at = this.nextOpen(at);
      if (!at || ids.includes(at)) break;
      ids.push(at);
    }
    const place = this.rows.indexOf(this.current);
    for (const id of [this.rows[place + 1], this.rows[place - 1], ...this.done.slice(-1).map((op) => op.candidate)])
      if (id && this.index.has(id) && !ids.includes(id)) ids.push(id);
    this.chips.keep(ids);
    for (const id of ids.slice(1)) void this.chips.ready(id, this.kind).catch(() => undefined);
  }

  async go(id: string): Promise<void> {
    if (!this.index.has(id)) return;
    if (this.drawing) this.leave();
    this.current = id;
    this.take(id, null);
    this.since = performance.now();
    this.message = "";
    this.remember();
    let candidate: Candidate;
    try {
      candidate = await this.chips.ready(id, this.kind);
    } catch (error) {
      this.say((error as Error).message);
      return;
    }
    if (this.current !== id) return;
    this.show(candidate);
    // first the pictures of this candidate, then the map and what comes next
    requestAnimationFrame(() =>
      setTimeout(() => {
        if (this.current !== id) return;
        this.look();
        this.ahead();
      }),
    );
  }

  private show(candidate: Candidate): void {
    this.map.current = candidate.id;
    this.lay(candidate);
    this.take(candidate.id, this.shown!.mine);
  }

  /** Show a candidate with what this reviewer last said of it, which the server may not have heard of yet. */
  private lay(candidate: Candidate): void {
    const last = this.queue.last(candidate.id);
    this.shown = last ? { ...candidate, mine: last.after } : candidate;
    if (!this.drawing) this.map.show(this.shown, this.shown.mine?.geometry ?? null);
  }

  /** Take over what is said of a candidate or an added slump, to be changed; a note that was not saved goes before. */
  protected take(id: string, mine: Standing | null): void {
    this.said = {
      possibility: mine?.possibility ?? undefined,
      reject_reason: mine?.reject_reason ?? undefined,
      outline_scope: mine?.outline_scope ?? undefined,
      first_year_visible: mine?.first_year_visible ?? undefined,
      active: mine?.active ?? undefined,
    };
    this.note = localStorage.getItem(this.noteOf(id)) ?? mine?.note ?? "";
  }

  protected noteOf(id: string): string {
    return `${this.store}:note:${id}`;
  }

  /** The drawing is of something else than the candidate in view: an added slump. */
  protected get apart(): boolean {
    return !!this.drawing && this.drawingFor !== this.current;
  }

  /** Turn the map to the candidate, once it has its place on the page. */
  look(): void {
    const candidate = this.shown;
    if (!candidate || this.drawing) return;
    // what is around matters on the small map; on the large one what the chips show
    this.map.fit(candidate.ground ?? this.boundsOf(candidate), this.view === "map" ? 1.5 : 2);
    void this.map.load(true);
  }

  protected boundsOf(candidate: Candidate): [number, number, number, number] {
    const at = this.index.get(candidate.id)!;
    const [x, y, half] = [this.columns.x[at]!, this.columns.y[at]!, Math.sqrt(candidate.area_m2) + 150];
    return [x - half, y - half, x + half, y + half];
  }

  next(): void {
    const at = this.rows.indexOf(this.current);
    void this.go(this.rows[Math.min(at + 1, this.rows.length - 1)] ?? "");
  }

  previous(): void {
    const at = this.rows.indexOf(this.current);
    void this.go(this.rows[Math.max(at - 1, 0)] ?? "");
  }

  goTo(text: string): boolean {
    const wanted = text.trim().toLowerCase();
    const padded = /^\d+$/.test(wanted) ? `r${this.info.round}-${wanted.padStart(4, "0")}` : wanted;
    const id = this.columns.id.find((name) => name.toLowerCase() === padded || name.toLowerCase() === wanted);
    const added = this.missedOf(text.trim());
    if (added) this.editMissed(added.candidate_id);
    else if (id) void this.go(id);
    return !!(added || id);
  }

  // Verdicts

  decide(decision: Decision, reason?: string): void {
    if (!this.shown || this.shown.id !== this.current || this.drawing) return;
    const body: Body = {
      ...this.given(),
      candidate_id: this.current,
      decision,
      reject_reason: decision === "reject" ? reason : undefined,
    };
    const mine = this.shown.mine;
    const same =
      mine?.decision === decision && !mine.forked && (mine.reject_reason ?? undefined) === body.reject_reason && this.saidAs(mine);
    if (!same) this.perform(operation("/api/verdict", this.current, body, mine));
    this.onward();
  }

  protected given(): Body {
    const { possibility, outline_scope, first_year_visible, active } = this.said;
    const seconds = Math.round((performance.now() - this.since) / 100) / 10;
    const years = this.shown?.chips.filter((chip) => shownKind(chip.kinds, "false")).map((chip) => chip.year);
    const note = this.note.trim() || undefined;
    return { possibility, outline_scope, first_year_visible, active, note, seconds: Math.min(seconds, 86400), evidence_years: years };
  }

  private saidAs(mine: Standing): boolean {
    const { possibility, outline_scope, first_year_visible, active } = this.said;
    return (
      (mine.possibility ?? undefined) === possibility &&
      (mine.outline_scope ?? undefined) === outline_scope &&
      (mine.first_year_visible ?? undefined) === first_year_visible &&
      (mine.active ?? undefined) === active &&
      (mine.note ?? "") === this.note.trim()
    );
  }

  /** What was said of a candidate that has a verdict already is saved with it at once. */
  private amend(): void {
    const mine = this.shown?.mine;
    if (!mine || this.shown?.id !== this.current || this.apart || this.saidAs(mine)) return;
    const body: Body = { ...this.given(), candidate_id: this.current, decision: mine.decision };
    if (mine.decision === "reject") body.reject_reason = mine.reject_reason ?? undefined;
    if (mine.geometry) body.geometry = mine.geometry;
    this.perform(operation("/api/verdict", this.current, body, mine));
  }

  protected perform(op: Op): void {
    this.done.push(op);
    this.undone = [];
    this.keepDone();
    this.record(op);
    this.last = null;
  }

  protected record(op: Op): void {
    this.queue.add(op);
    this.assume(op);
  }

  private keepDone(): void {
    sessionStorage.setItem(`${this.store}:undo`, JSON.stringify(this.done.slice(-200)));
  }

  /** Show what an operation will lead to before the server has answered. */
  private assume(op: Op): void {
    if (this.index.has(op.candidate)) this.mark(op.candidate, op.after?.decision ?? null);
    else if (op.candidate !== MISSED) this.keepMissed(op.candidate, op.after);
    if (this.shown?.id === op.candidate) this.lay(this.shown);
  }

  private keepMissed(id: string, standing: Standing | null): void {
    const others = this.missed.filter((m) => m.candidate_id !== id);
    this.missed = standing ? [...others, standing] : others;
  }

  private mark(id: string, decision: Decision | null): void {
    const at = this.index.get(id);
    if (at === undefined) return;
    this.decided += (decision ? 1 : 0) - (this.columns.decision[at] ? 1 : 0);
    this.columns.decision[at] = decision;
    this.version++;
  }

  protected onward(): void {
    const id = this.nextOpen(this.current);
    if (id) void this.go(id);
    else {
      this.say(this.decided === this.n ? `All ${this.n} candidates are decided` : "No open candidate is left in this list");
      void this.refresh(this.current);
    }
  }

  private async refresh(id: string): Promise<void> {
    this.chips.forget(id);
    if (this.current !== id) return;
    const candidate = await this.chips.ready(id, this.kind).catch(() => null);
    if (candidate && this.shown?.id === id && this.current === id) this.lay(candidate);
  }

  private recorded(op: Op, told: Told): void {
    this.savedAt = new Date().toLocaleTimeString("en-GB");
    localStorage.removeItem(this.noteOf(op.candidate));
    const { waiting } = this.queue.read();
    if (!waiting.some((later) => later.candidate === told.candidate_id || later.of === op.id)) {
      if (this.index.has(told.candidate_id)) this.mark(told.candidate_id, told.mine?.decision ?? null);
      else this.keepMissed(told.candidate_id, told.mine);
    }
    if (told.mine) this.last = { op, told };
    else if (this.last?.told.candidate_id === told.candidate_id) this.last = null;
    void this.refresh(told.candidate_id);
    void this.map.load(true);
  }

  private async wasRefused(problem: Problem): Promise<void> {
    this.refused = this.queue.read().refused;
    this.done = this.done.filter((op) => op.id !== problem.op.id);
    this.keepDone();
    const id = problem.op.candidate;
    void this.refresh(id);
    try {
      const { mine } = await this.chips.candidate(id);
      const last = this.queue.last(id);
      this.mark(id, (last ? last.after : mine)?.decision ?? null);
    } catch {
      // an added slump, or no answer: the list is read anew with the next reload
    }
  }

  dismiss(op: string): void {
    this.queue.dismiss(op);
    this.refused = this.queue.read().refused;
  }

  undo(): void {
    const op = this.done.pop();
    if (!op) return this.say("Nothing to undo in this session");
    this.undone.push(op);
    this.keepDone();
    // an added slump has its name since it was recorded
    const candidate = this.queue.read().events[op.id]?.candidate_id ?? op.candidate;
    this.record({ id: newId(), path: "/api/retract", candidate, body: {}, of: op.id, before: op.after, after: op.before });
    if (op.path === "/api/verdict") void this.go(op.candidate);
    this.say(`Taken back: ${op.candidate === MISSED ? "the added slump" : op.candidate}`);
  }

  redo(): void {
    const step = this.undone.pop();
    if (!step) return this.say("Nothing to redo");
    const op = { ...step, id: newId() };
    const rest = this.undone;
    this.perform(op);
    this.undone = rest;
    if (op.path === "/api/verdict") this.onward();
  }

  possibility(value: number): void {
    this.said = { ...this.said, possibility: this.said.possibility === value ? undefined : value };
    this.amend();
  }

  cycleScope(): void {
    const at = SCOPES.indexOf(this.said.outline_scope ?? "");
    this.said = { ...this.said, outline_scope: SCOPES[at + 1] };
    this.amend();
  }

  firstYear(): void {
    const year = this.said.first_year_visible === this.year ? undefined : this.year;
    this.said = { ...this.said, first_year_visible: year };
    this.amend();
  }

  cycleActive(): void {
    const { active } = this.said;
    this.said = { ...this.said, active: active === undefined ? true : active ? false : undefined };
    this.amend();
  }

  typed(): void {
    localStorage.setItem(this.noteOf(this.apart ? this.drawingFor : this.current), this.note);
  }

  noted(): void {
    this.amend();
  }

  say(text: string): void {
    this.message = text;
  }

  // Comparing

  private blink(): void {
    if (this.playing && this.view === "blink" && !this.panel && !document.hidden) this.stepYear(1, true);
  }

  stepYear(direction: 1 | -1, playing = false): void {
    const years = this.info.years;
    if (!years.length) return;
    this.playing = playing;
    let at = years.indexOf(this.year);
    for (let step = 0; step < years.length; step++) {
      at = (at + direction + years.length) % years.length;
      // a year without a picture would be a blank frame between the others
      const chip = this.shown?.chips.find((one) => one.year === years[at]);
      if (chip && shownKind(chip.kinds, this.kind)) break;
    }
    this.year = years[at]!;
  }

  /** Go on to the next of these kinds of pictures, and from the last one back to true colour. */
  toggleKind(kinds: string[]): void {
    const there = kinds.filter((kind) => this.info.kinds.includes(kind));
    if (!there.length) return this.say(`This round has no ${kinds.join(", no ")}`);
    void this.showKind(there[there.indexOf(this.kind) + 1] ?? "true");
  }

  /** Change the pictures when all of them are there: no blank frame, and no year in another colour than the others. */
  private async showKind(kind: string): Promise<void> {
    const id = this.current;
    await this.chips.ready(id, kind).catch(() => undefined);
    if (this.current !== id) return;
    this.kind = kind;
    this.map.colour(kind === "false" ? "false" : "true");
    this.remember();
    this.ahead();
  }

  missedOf(id: string): Standing | undefined {
    return this.missed.find((m) => m.candidate_id === id);
  }
}
