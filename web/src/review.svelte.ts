import { get, post, Refused } from "./api";
import { partsOf } from "./chips";
import { Judging } from "./judging.svelte";
import { Drawing } from "./outline";
import type { Tool } from "./pen";
import type { Problem } from "./queue";
import { MISSED, newId, operation, saidIn, saysAlready } from "./standing";
import { keep } from "./storage";
import type { Body, Columns, Outline, Round, Said, XY } from "./types";

const UNCLOSED = "Close the area (Enter) or drop it (Esc) first";

interface Draft {
  target: string;
  geometry: Outline | null;
  sketch: XY[];
  tool: Tool;
}

function extent(outline: Outline): [number, number, number, number] {
  const points = partsOf(outline).flat(2);
  const [x, y] = [points.map((p) => p[0]), points.map((p) => p[1])];
  return [Math.min(...x), Math.min(...y), Math.max(...x), Math.max(...y)];
}

/** All that the page knows and does: judging, and drawing outlines. */
export class Review extends Judging {
  tool = $state<Tool>("shape");
  sketch = $state.raw<XY[]>([]);
  steps = $state(0);
  /** what was being said of the candidate in view when the drawing of an added slump began; null: it wasn't painted yet */
  private aside: { said: Said; note: string } | null = null;

  static async open(): Promise<Review> {
    const [info, columns] = await Promise.all([get<Round>("/api/round"), get<Columns>("/api/candidates")]);
    const review = new Review(info, columns);
    review.resume();
    return review;
  }

  protected async restoreDraft(): Promise<void> {
    const draft = JSON.parse(localStorage.getItem(`${this.store}:draft`) ?? "null") as Draft | null;
    if (!draft || this.drawing) return;
    // another tab may have gone on to another candidate
    if (this.list.has(draft.target) && draft.target !== this.current) await this.go(draft.target);
    if (draft.target === MISSED || this.shown?.id === draft.target || this.missedOf(draft.target)) this.restore(draft);
  }

  editOutline(): void {
    if (this.redrawable()) this.draw(this.current, this.recordedOf(this.current), "shape");
  }

  /** The outline that stands of what is drawn: of the candidate in view, or of an added slump. */
  private recordedOf(target: string): Outline | null {
    if (target === MISSED) return null;
    return this.missedOf(target)?.geometry ?? this.shown?.mine?.geometry ?? this.shown?.outline ?? null;
  }

  addMissed(): void {
    if (this.late) return this.say(this.notYet);
    this.draw(MISSED, null, "add");
  }

  editMissed(id: string): void {
    const found = this.missedOf(id);
    if (!found) return this.say("This slump can be opened as soon as it is saved");
    if (found.geometry && this.left()) this.draw(id, found.geometry, "shape");
  }

  /** Take back an added slump, in all its versions. */
  removeMissed(): void {
    const found = this.missedOf(this.drawingFor);
    if (!found) return this.say("Only a slump that you added can be removed");
    const { candidate_id, event_id } = found;
    this.leave();
    const body = { candidate_id, event_id, earlier: true };
    this.perform({ id: newId(), path: "/api/retract", candidate: candidate_id, body, before: found, after: null });
    this.say(`Removed: ${candidate_id}`);
  }

  private draw(target: string, start: Outline | null, tool: Tool, then = () => {}): void {
    const seen = this.look.view === "map";
    this.follow();
    this.look.view = "map";
    this.drawing = new Drawing(start);
    this.drawingFor = target;
    if (this.apart) {
      this.aside = this.late ? null : { said: this.said, note: this.note };
      this.take(target, this.missedOf(target) ?? null);
    }
    this.message = "";
    this.tool = tool;
    // the map needs its place on the page first
    requestAnimationFrame(() => {
      if (!this.drawing) return;
      if (start) this.map.fit(extent(start), 2);
      else if (!seen && this.shown) this.map.fit(this.shown.ground ?? this.boundsOf(this.shown), 1.5);
      this.map.start(this.drawing, tool);
      then();
    });
  }

  private restore(draft: Draft): void {
    this.draw(draft.target, draft.geometry, draft.tool, () => {
      this.map.pen.resume(draft.sketch);
      this.say("Your unsaved drawing is back");
    });
  }

  /** Take another tool; an area that isn't closed would go with the one before. */
  use(tool: Tool): void {
    if (this.sketch.length) this.say(UNCLOSED);
    else this.map.pen.use(tool);
  }

  protected drawn(): void {
    this.tool = this.map.pen.tool;
    this.steps++;
    this.keepDraft();
  }

  protected sketched(ring: XY[]): void {
    this.sketch = ring;
    this.keepDraft();
  }

  private keepDraft(): void {
    if (!this.drawing) return;
    const draft: Draft = { target: this.drawingFor, geometry: this.drawing.outline, sketch: this.sketch, tool: this.tool };
    if (!keep(localStorage, `${this.store}:draft`, JSON.stringify(draft)))
      this.say("This browser's storage is full: a reload would lose the drawing, save it (Enter)");
  }

  /** Save the outline: it is sent before the page moves on, since the server may find that its edges cross. */
  async saveOutline(): Promise<void> {
    const { drawing, drawingFor: target } = this;
    const outline = drawing?.outline;
    if (this.sketch.length) return this.say(UNCLOSED);
    if (!drawing || !outline) return this.say("There is no outline yet: D draws an area");
    const isMissed = this.apart;
    if (!this.waiting) {
      try {
        const problem = await this.tried(outline, isMissed ? null : target);
        if (problem) return this.say(problem);
      } catch (error) {
        if (error instanceof Refused) return this.say(error.message);
        // no answer: it waits in the queue like any other verdict
      }
      // it was dropped, or saved, meanwhile
      if (this.drawing !== drawing) return;
      if (this.sketch.length || drawing.differs(outline)) return this.say("The outline was changed meanwhile: save it again (Enter)");
    }
    const body: Body = { ...this.given(), geometry: outline };
    if (target !== MISSED) body.candidate_id = target;
    if (isMissed) delete body.evidence_years;
    else body.decision = "edit";
    const before = (isMissed ? this.missedOf(target) : this.shown?.mine) ?? null;
    const op = operation(isMissed ? "/api/missed" : "/api/verdict", target, body, before);
    this.leave();
    this.perform(op);
    if (!isMissed) this.onward();
    else this.say("Added");
  }

  /** Ask whether an outline can be recorded, without recording it. */
  private async tried(geometry: Outline, candidate_id: string | null): Promise<string> {
    return (await post<{ problem: string }>("/api/check", { geometry, candidate_id })).problem;
  }

  /** Show what was refused; an outline is drawn on from where it was, and isn't told any more. */
  async showRefused({ op }: Problem): Promise<void> {
    const { geometry } = op.body;
    const added = op.path === "/api/missed";
    if (!this.left()) return;
    if (this.list.has(op.candidate)) await this.go(op.candidate);
    if (!geometry || this.drawing || (!added && this.shown?.id !== op.candidate)) return;
    this.draw(added && !this.missedOf(op.candidate) ? MISSED : op.candidate, geometry, "shape", () => {
      this.keepDraft();
      this.dismiss(op.id);
      this.say("The outline that was not recorded: mend it, then save it again");
    });
    this.said = saidIn(op.after);
    this.note = op.after?.note ?? "";
  }

  protected left(): boolean {
    const { drawing, drawingFor: target } = this;
    if (!drawing) return true;
    const more = this.apart && !saysAlready(this.missedOf(target) ?? null, this.said, this.note);
    if (more || this.sketch.length || drawing.differs(this.recordedOf(target))) {
      this.say("Save (Enter) or drop (Esc) the drawing first");
      return false;
    }
    this.leave();
    return true;
  }

  /** Leave the outline mode; the drawing is dropped. */
  leave(): void {
    this.map.pen.stop();
    if (this.apart) {
      localStorage.removeItem(this.noteOf(this.drawingFor));
      if (this.aside) Object.assign(this, this.aside);
      else this.take(this.current, this.ready ? this.shown!.mine : null);
      this.aside = null;
    }
    this.drawing = null;
    this.drawingFor = "";
    this.sketch = [];
    localStorage.removeItem(`${this.store}:draft`);
    this.look.view = "blink";
    if (this.shown) this.lay(this.shown);
  }
}
