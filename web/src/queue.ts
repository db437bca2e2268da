import { post, Refused } from "./api";
import { Shelf } from "./storage";
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

/** What an operation became in the record. */
interface Recorded {
  candidate_id: string;
  event_id: string;
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
  private pause = 250;
  private readonly ops: Shelf<Op>;
  private readonly problems: Shelf<Problem>;
  /** of operations, for retractions that are still to come */
  private readonly events: Shelf<Recorded>;

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
    this.ops = new Shelf(`${key}:waiting:`);
    this.problems = new Shelf(`${key}:refused:`);
    this.events = new Shelf(`${key}:events:`);
    addEventListener("storage", (event) => {
      const op = this.ops.changed(event);
      if (!op) return;
      on.elsewhere(op);
      on.changed(this.waiting.length, this.full);
    });
  }

  get waiting(): Op[] {
    return this.ops.all();
  }

  get refused(): Problem[] {
    return this.problems.all();
  }

  /** What became of an operation; undefined: it waits, was refused, or is long past. */
  became(op: string): Recorded | undefined {
    return this.events.get(op);
  }

  /** The last operation on a candidate that isn't recorded yet. */
  last(candidate: string): Op | undefined {
    return this.waiting.findLast((op) => op.candidate === candidate);
  }

  private get full(): string {
    return this.ops.full ? FULL : "";
  }

  add(op: Op): void {
    this.ops.add(op.id, op);
    this.on.changed(this.waiting.length, this.full);
    void this.send();
  }

  dismiss(op: string): void {
    this.problems.remove(op);
  }

  /** Send what waits, one after the other; two tabs of a browser take turns. */
  async send(): Promise<void> {
    if (this.running) return;
    this.running = true;
    try {
      while (this.waiting.length) {
        const trouble = await navigator.locks.request(this.key, () => this.first());
        if (!trouble) {
          this.pause = 250;
          continue;
        }
        this.on.changed(this.waiting.length, [trouble, this.full].filter(Boolean).join("; "));
        await new Promise((done) => setTimeout(done, this.pause));
        this.pause = Math.min(this.pause * 2, LONGEST_PAUSE_MS);
      }
    } finally {
      this.running = false;
    }
    this.on.changed(0, "");
  }

  /** Send the first of what waits; returns why it couldn't be sent. */
  private async first(): Promise<string> {
    const [op] = this.waiting;
    if (!op) return "";
    const takenBack = op.of === undefined ? undefined : this.became(op.of);
    if (op.of && !takenBack) {
      // what it takes back was refused
      this.ops.remove(op.id);
      return "";
    }
    try {
      const told = await post<Told>(op.path, { ...op.body, ...takenBack });
      if (told.mine && op.path !== "/api/retract")
        this.events.add(op.id, { candidate_id: told.candidate_id, event_id: told.mine.event_id });
      this.events.removeFirst(KEPT_EVENTS);
      // last, so that a crash here has it sent again, which says nothing new
      this.ops.remove(op.id);
      this.on.changed(this.waiting.length, this.full);
      this.on.recorded(op, told);
    } catch (error) {
      if (!(error instanceof Refused)) return (error as Error).message;
      const problem = { op, message: error.message };
      this.problems.add(op.id, problem);
      this.ops.remove(op.id);
      this.on.refused(problem);
    }
    return "";
  }
}
