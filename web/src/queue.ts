import { post, Refused } from "./api";
import type { Told } from "./types";

/** One thing to be recorded. `of` names the operation whose event a retraction takes back. */
export interface Op {
  id: string;
  path: "/api/verdict" | "/api/missed" | "/api/retract";
  candidate: string;
  body: Record<string, unknown>;
  of?: string;
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

/**
 * What is to be recorded, in order, kept in the browser's storage until the server has it on its disk: a reload, a crash of
 * the browser or of the server loses nothing. The same operation sent twice says nothing new to the server.
 */
export class Queue {
  private running = false;
  private pause = 250;

  constructor(
    private readonly key: string,
    private readonly on: {
      recorded: (op: Op, told: Told) => void;
      refused: (problem: Problem) => void;
      changed: (waiting: number, trouble: string) => void;
    },
  ) {}

  read(): Kept {
    try {
      return { waiting: [], refused: [], events: {}, ...(JSON.parse(localStorage.getItem(this.key) ?? "{}") as Partial<Kept>) };
    } catch {
      return { waiting: [], refused: [], events: {} };
    }
  }

  private change(how: (kept: Kept) => void): Kept {
    const kept = this.read();
    how(kept);
    localStorage.setItem(this.key, JSON.stringify(kept));
    return kept;
  }

  add(op: Op): void {
    const kept = this.change((k) => k.waiting.push(op));
    this.on.changed(kept.waiting.length, "");
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
        this.on.changed(this.read().waiting.length, trouble);
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
    try {
      const told = await post<Told>(op.path, this.bodyOf(op));
      const kept = this.change((k) => {
        k.waiting = k.waiting.filter((other) => other.id !== op.id);
        if (told.mine && op.path !== "/api/retract")
          k.events[op.id] = { candidate_id: told.candidate_id, event_id: told.mine.event_id };
        const names = Object.keys(k.events);
        for (const old of names.slice(0, Math.max(0, names.length - KEPT_EVENTS))) delete k.events[old];
      });
      this.on.changed(kept.waiting.length, "");
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
    return "";
  }

  private bodyOf(op: Op): Record<string, unknown> {
    return op.of ? { ...op.body, ...this.read().events[op.of] } : op.body;
  }
}
