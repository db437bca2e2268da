import { shownKind } from "./chips";
import { SCOPES } from "./keys";
import { Queue, type Op, type Problem } from "./queue";
import { Showing } from "./showing.svelte";
import { MISSED, bodyOf, newId, operation, saysAlready, unnamedIn } from "./standing";
import { keep } from "./storage";
import type { Body, Columns, Decision, Round, Standing, Told } from "./types";

const KEPT_STEPS = 200;
const NO_OUTLINE = "A window is no outline: add what is missing in it (N), then 2";
const NO_REASON = "A window needs no reason: 2, nothing more to add";
const ONLY_VERDICT = "Of a window only the verdict and a note are kept";

/** Verdicts: what is said, taken back, and on its way to the record. */
export abstract class Judging extends Showing {
  readonly queue: Queue;
  waiting = $state(0);
  trouble = $state("");
  savedAt = $state("");
  refused = $state.raw<Problem[]>([]);
  last = $state.raw<{ op: Op; told: Told } | null>(null);

  private done: Op[] = [];
  private undone: Op[] = [];

  constructor(info: Round, columns: Columns) {
    super(info, columns);
    this.queue = new Queue(`${this.store}:queue`, {
      recorded: (op, told) => this.recorded(op, told),
      refused: (problem) => void this.wasRefused(problem),
      changed: (waiting, trouble) => {
        this.waiting = waiting;
        this.trouble = waiting ? trouble : "";
        this.showUnnamed();
      },
      elsewhere: (op) => {
        const last = this.queue.last(op.candidate);
        if (last) this.assume(last);
        // or the next thing that is said here would go with what stood before
        if (last && this.ready && op.candidate === this.current && !this.drawing) this.take(op.candidate, last.after);
        const event = this.queue.became(op.id);
        if (op.candidate === MISSED && event) this.keepMissed(event.candidate_id, { ...op.after!, ...event });
        void this.refresh(op.candidate);
      },
    });
  }

  protected abstract restoreDraft(): Promise<void>;

  resume(): void {
    const { waiting, refused } = this.queue;
    this.refused = refused;
    for (const op of waiting) this.assume(op);
    this.showUnnamed();
    this.waiting = waiting.length;
    this.done = JSON.parse(sessionStorage.getItem(`${this.store}:undo`) ?? "[]") as Op[];
    // not waited for: a picture that can't be had keeps nobody from opening the page, nor what waits from being sent
    void this.begin().then(() => this.restoreDraft());
    void this.queue.send();
  }

  // What is said

  decide(decision: Decision, reason?: string): void {
    if (this.drawing) return;
    const shown = this.shown;
    if (!shown || !this.ready) return this.say(this.notYet);
    if (this.window && decision === "accept") return this.say(NO_OUTLINE);
    if (this.window && reason) return this.say(NO_REASON);
    const mine = shown.mine;
    const body: Body = { ...this.given(), candidate_id: this.current, decision };
    if (decision === "reject") body.reject_reason = reason;
    const same = mine?.decision === decision && !mine.forked && (mine.reject_reason ?? undefined) === body.reject_reason;
    if (!same || !saysAlready(mine, this.said, this.note)) this.perform(operation("/api/verdict", this.current, body, mine));
    this.onward();
  }

  /** Whether there is an outline in view to be redrawn; if not, say why. */
  protected redrawable(): boolean {
    if (!this.ready) this.say(this.notYet);
    else if (this.window) this.say(NO_OUTLINE);
    else return true;
    return false;
  }

  protected given(): Body {
    const { possibility, outline_scope, first_year_visible, active } = this.said;
    const seconds = Math.round((performance.now() - this.since) / 100) / 10;
    const years = this.shown?.chips.filter((chip) => shownKind(chip.kinds, "false")).map((chip) => chip.year);
    const note = this.note.trim() || undefined;
    return { possibility, outline_scope, first_year_visible, active, note, seconds: Math.min(seconds, 86400), evidence_years: years };
  }

  /** Change what is said beside the decision: of the slump that is being added, or of the candidate in view. */
  private change(name: "possibility" | "outline_scope" | "first_year_visible" | "active", value: unknown): void {
    if (!this.apart && !this.ready) return this.say(this.notYet);
    if (!this.apart && this.window) return this.say(ONLY_VERDICT);
    this.said = { ...this.said, [name]: value };
    this.amend();
  }

  possibility(value: number): void {
    this.change("possibility", this.said.possibility === value ? undefined : value);
  }

  cycleScope(): void {
    this.change("outline_scope", SCOPES[SCOPES.indexOf(this.said.outline_scope ?? "") + 1]);
  }

  /** The year in view; while the years blink nobody can tell which one that will be. */
  firstYear(): void {
    const { look } = this;
    const { year } = look;
    if (!year) return this.say("There are no pictures, and so no year in view");
    if (look.playing && look.view === "blink") {
      look.playing = false;
      return this.say(`Stopped at ${year}: Y again says first visible`);
    }
    this.change("first_year_visible", this.said.first_year_visible === year ? undefined : year);
  }

  cycleActive(): void {
    const { active } = this.said;
    this.change("active", active === undefined ? true : active ? false : undefined);
  }

  noted(): void {
    this.amend();
  }

  /** What was said of a candidate that has a verdict already is saved with it at once. */
  private amend(): void {
    const mine = this.shown?.mine;
    if (!mine || !this.ready || this.apart || saysAlready(mine, this.said, this.note)) return;
    const body: Body = { ...this.given(), candidate_id: this.current, decision: mine.decision };
    if (mine.decision === "reject") body.reject_reason = mine.reject_reason ?? undefined;
    if (mine.geometry) body.geometry = mine.geometry;
    this.perform(operation("/api/verdict", this.current, body, mine));
  }

  protected onward(): void {
    const id = this.list.nextOpen(this.current);
    if (id) return void this.go(id);
    const { n, decided } = this.list;
    this.say(decided === n ? `All ${n} candidates are decided` : "No open candidate is left in this list");
    void this.refresh(this.current);
  }

  // What becomes of it

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

  /** Show what an operation will lead to before the server has answered. */
  private assume(op: Op): void {
    if (this.list.has(op.candidate)) this.list.mark(op.candidate, op.after?.decision ?? null);
    else if (op.candidate !== MISSED) this.keepMissed(op.candidate, op.after);
    if (this.shown?.id === op.candidate) this.lay(this.shown);
  }

  private keepMissed(id: string, standing: Standing | null): void {
    const others = this.missed.filter((m) => m.candidate_id !== id);
    // a verdict that waited may be on what this list holds no more
    this.missed = standing?.decision === "missed" ? [...others, standing] : others;
    this.map.add(this.added);
  }

  /** Show the added slumps that wait to be recorded. */
  private showUnnamed(): void {
    const unnamed = unnamedIn(this.queue.waiting);
    if (!unnamed.length && !this.unnamed.length) return;
    this.unnamed = unnamed;
    this.map.add(this.added);
  }

  private recorded(op: Op, told: Told): void {
    this.savedAt = new Date().toLocaleTimeString("en-GB");
    localStorage.removeItem(this.noteOf(op.candidate));
    const { waiting } = this.queue;
    if (!waiting.some((later) => later.candidate === told.candidate_id || later.of === op.id)) {
      if (this.list.has(told.candidate_id)) this.list.mark(told.candidate_id, told.mine?.decision ?? null);
      else this.keepMissed(told.candidate_id, told.mine);
    }
    if (told.mine) this.last = { op, told };
    else if (this.last?.told.candidate_id === told.candidate_id) this.last = null;
    void this.refresh(told.candidate_id);
  }

  private async wasRefused(problem: Problem): Promise<void> {
    this.refused = this.queue.refused;
    this.done = this.done.filter((op) => op.id !== problem.op.id);
    this.keepDone();
    const id = problem.op.candidate;
    void this.refresh(id);
    try {
      const { mine } = await this.chips.candidate(id);
      const last = this.queue.last(id);
      this.list.mark(id, (last ? last.after : mine)?.decision ?? null);
    } catch {
      // an added slump, or no answer: the list is read anew with the next reload
    }
  }

  dismiss(op: string): void {
    this.queue.dismiss(op);
    this.refused = this.queue.refused;
  }

  // Undo and redo

  undo(): void {
    const op = this.done.pop();
    if (!op) return this.say("Nothing to undo in this session");
    this.undone.push(op);
    this.keepDone();
    this.record(this.inverse(op));
    if (op.path === "/api/verdict") void this.go(op.candidate);
    this.say(`Taken back: ${nameOf(op)}`);
  }

  private inverse(op: Op): Op {
    const back = { id: newId(), before: op.after, after: op.before };
    // an added slump: its versions may have been removed together meanwhile, so what stood before it is said anew
    if (op.path !== "/api/verdict" && op.before)
      return { ...back, path: "/api/missed", candidate: op.candidate, body: bodyOf(op.before) };
    // it has its name since it was recorded
    const candidate = this.queue.became(op.id)?.candidate_id ?? op.candidate;
    return { ...back, path: "/api/retract", candidate, body: op.path === "/api/missed" ? { earlier: true } : {}, of: op.id };
  }

  redo(): void {
    const step = this.undone.pop();
    if (!step) return this.say("Nothing to redo");
    const op = { ...step, id: newId() };
    const rest = this.undone;
    this.perform(op);
    this.undone = rest;
    if (op.candidate === this.current) this.take(op.candidate, op.after);
    if (op.path === "/api/verdict") this.onward();
    else this.say(`Again: ${nameOf(op)}`);
  }

  private keepDone(): void {
    keep(sessionStorage, `${this.store}:undo`, JSON.stringify(this.done.slice(-KEPT_STEPS)));
  }

  protected lastDone(): string[] {
    return this.done.slice(-1).map((op) => op.candidate);
  }
}

/** What a step was done to, in words. */
function nameOf(op: Op): string {
  if (op.path === "/api/retract") return `the removal of ${op.candidate}`;
  return op.candidate === MISSED ? "the added slump" : op.candidate;
}
