import { post, Refused } from "./api";
import { keep } from "./storage";
import type { Body, Standing, Told } from "./types";

/**
 * One thing to be recorded. `of` names the operation whose event a retraction takes back; `before` and `after` are what stood
 * of the candidate and what will: the page shows it, whether the server has answered or not.
 */
export interface Op {
  id: string;
  path: "/api/verdict" | "/api/missed" | "/api/retract";
  candidate: string;
  body: Body;
  of?: string;
  before: Standing | null;
  after: Standing | null;
}

export interface Problem {
  op: Op;
  message: string;
}

interface Kept {
  waiting: Op[];
  refused: Problem[];
  /** operation -> what it became in the record, for retractions that are still to come */
  events: Record<string, { candidate_id: string; event_id: string }>;
}

const LONGEST_PAUSE_MS = 8000;
const KEPT_EVENTS = 500;
const FULL = "this browser's storage is full: leave the page open until all is saved";

/**
 * What is to be recorded, in order, kept in the browser's storage until the server has it on its disk: a reload, a crash of
 * the browser or of the server loses nothing. The same operation sent twice says nothing new to the server.
 */
export class Queue {
  private running = false;
  private text: string | null = null;
  private parsed = kept(null);
  private pause = 250;
  /** what the browser's storage has no room for: only this page knows of it */
  private unkept: Op[] = [];
  private unkeptEvents: Kept["events"] = {};

  constructor(
    private readonly key: string,
    private readonly on: {
      recorded: (op: Op, told: Told) => void;
      refused: (problem: Problem) => void;
      changed: (waiting: number, trouble: string) => void;
      /** another tab of this browser said this, or sent it */
      elsewhere: (op: Op) => void;
    },
  ) {
    addEventListener("storage", (event) => {
      if (event.key !== key) return;
      const [old, now] = [kept(event.oldValue).waiting, this.read().waiting];
      const differing = [...old, ...now].filter((op) => !(has(old, op) && has(now, op)));
      differing.forEach(on.elsewhere);
      if (differing.length) on.changed(now.length, "");
    });
  }

  read(): Kept {
    const text = localStorage.getItem(this.key);
    if (text !== this.text) [this.text, this.parsed] = [text, kept(text)];
    const { waiting, refused, events } = this.parsed;
    return {
      waiting: [...waiting, ...this.unkept.filter((op) => !has(waiting, op))],
      refused: [...refused],
      events: { ...events, ...this.unkeptEvents },
    };
  }

  /** The last operation on a candidate that isn't recorded yet. */
  last(candidate: string): Op | undefined {
    return this.read().waiting.findLast((op) => op.candidate === candidate);
  }

  private change(how: (kept: Kept) => void): Kept {
    const now = this.read();
    const before = now.waiting.slice();
    how(now);
    if (keep(localStorage, this.key, JSON.stringify(now))) [this.unkept, this.unkeptEvents] = [[], {}];
    else {
      this.unkept = [...this.unkept, ...now.waiting.filter((op) => !has(before, op))].filter((op) => has(now.waiting, op));
      this.unkeptEvents = now.events;
    }
    return now;
  }

  private get full(): string {
    return this.unkept.length ? FULL : "";
  }

  add(op: Op): void {
    const { waiting } = this.change((k) => k.waiting.push(op));
    this.on.changed(waiting.length, this.full);
    void this.send();
  }

  dismiss(op: string): void {
    this.change((k) => (k.refused = k.refused.filter((problem) => problem.op.id !== op)));
  }

  /** Send what waits, one after the other; two tabs of a browser take turns. */
  async send(): Promise<void> {
    if (this.running) return;
    this.running = true;
    try {
      while (this.read().waiting.length) {
        const trouble = await navigator.locks.request(this.key, () => this.first());
        if (!trouble) {
          this.pause = 250;
          continue;
        }
        this.on.changed(this.read().waiting.length, [trouble, this.full].filter(Boolean).join("; "));
        await new Promise((done) => setTimeout(done, this.pause));
        this.pause = Math.min(this.pause * 2, LONGEST_PAUSE_MS);
      }
    } finally {
      this.running = false;
    }
    this.on.changed(0, "");
  }

  private async first(): Promise<string> {
    const op = this.read().waiting[0];
    if (!op) return "";
    if (op.of && !this.read().events[op.of]) {
      // what it takes back was refused
      this.change((k) => k.waiting.shift());
      return "";
    }
    try {
      const told = await post<Told>(op.path, this.bodyOf(op));
      const { waiting } = this.change((k) => {
        k.waiting = k.waiting.filter((other) => other.id !== op.id);
        if (told.mine && op.path !== "/api/retract")
          k.events[op.id] = { candidate_id: told.candidate_id, event_id: told.mine.event_id };
        const names = Object.keys(k.events);
        for (const old of names.slice(0, Math.max(0, names.length - KEPT_EVENTS))) delete k.events[old];
      });
      this.on.changed(waiting.length, this.full);
      this.on.recorded(op, told);
    } catch (error) {
      if (!(error instanceof Refused)) return (error as Error).message;
      const problem = { op, message: error.message };
      this.change((k) => {
        k.waiting = k.waiting.filter((other) => other.id !== op.id);
        k.refused.push(problem);
      });
      this.on.refused(problem);
    }
    // what can't be taken out of the storage would be sent again at once, and for ever
    return has(this.read().waiting, op) ? FULL : "";
  }

  private bodyOf(op: Op): Body {
    return op.of ? { ...op.body, ...this.read().events[op.of] } : op.body;
  }
}

function kept(text: string | null): Kept {
  const nothing: Kept = { waiting: [], refused: [], events: {} };
  try {
    return { ...nothing, ...(JSON.parse(text ?? "{}") as Partial<Kept>) };
  } catch {
    return nothing;
  }
}

const has = (ops: Op[], one: Op) => ops.some((op) => op.id === one.id);
