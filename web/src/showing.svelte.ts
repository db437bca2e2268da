import { Chips } from "./chips";
import { CandidateList, FILTERS, type Filter, type Order } from "./list.svelte";
import { Look, MEASURES } from "./look.svelte";
import { ReviewMap } from "./map";
import type { Drawing } from "./outline";
import type { Queue } from "./queue";
import { saidIn } from "./standing";
import { keep } from "./storage";
import type { Candidate, Columns, Round, Said, Standing, XY } from "./types";

export type Panel = "" | "keys" | "guideline" | "examples" | "readings" | "go";

interface Remembered {
  current: string;
  order: Order;
  filter: Filter;
  kind: string;
}

const AHEAD = 3;
const BLINK_MS = 650;
/** The small map follows a reviewer who stays: it costs as much as the pictures, which come first. */
const REST_MS = 150;
/** Pause before what couldn't be loaded is asked for again. */
const AGAIN_MS = 1500;

/** Which candidate is in view, with what this reviewer last said of it, and what comes next. */
export abstract class Showing {
  readonly list: CandidateList;
  readonly look: Look;
  readonly chips: Chips;
  readonly map: ReviewMap;
  abstract readonly queue: Queue;
  protected readonly store: string;

  current = $state("");
  panel = $state<Panel>("");
  /** slumps that this reviewer added; those that wait to be recorded have no name yet */
  missed = $state.raw<Standing[]>([]);
  unnamed = $state.raw<Standing[]>([]);
  said = $state<Said>({});
  note = $state("");
  drawing = $state.raw<Drawing | null>(null);
  drawingFor = $state("");
  message = $state("");
  protected since = performance.now();
  /** the kind of pictures that was asked for and isn't painted yet */
  private coming = "";
  /** what the map is turned to, and the timer after which it follows */
  private turned = "";
  private following = 0;

  constructor(
    readonly info: Round,
    columns: Columns,
  ) {
    this.list = new CandidateList(columns, info.reviewer);
    this.look = new Look(info);
    this.chips = new Chips(info.round);
    this.missed = columns.missed.filter(Boolean);
    // what is held for one role is never sent in another: the address is the same
    this.store = `rts:${info.project}:${info.round}:${info.reviewer}:${info.role}`;
    this.map = new ReviewMap(info, {
      changed: () => this.drawn(),
      pick: (id) => void this.go(id),
      sketched: (ring) => this.sketched(ring),
      failed: (problem) => this.say(problem),
    });
    this.map.add(this.missed);
    setInterval(() => !this.panel && !document.hidden && this.look.blink(), BLINK_MS);
  }

  /** Leave the outline mode; the drawing is dropped. */
  abstract leave(): void;
  /** Leave it if nothing would be lost; if something would, say so. */
  protected abstract left(): boolean;
  /** Open an added slump. */
  abstract editMissed(id: string): void;
  protected abstract drawn(): void;
  protected abstract sketched(ring: XY[]): void;
  protected abstract lastDone(): string[];

  get shown(): Candidate | null {
    return this.look.shown;
  }

  /** The candidate is painted: only then does a key count. */
  get ready(): boolean {
    return this.shown?.id === this.current;
  }

  /** What is painted still belongs to another candidate than the one that was gone to. */
  get late(): boolean {
    return !!this.current && !this.ready;
  }

  /** Ground to be looked through is in view, no outline. */
  get window(): boolean {
    return this.list.isWindow(this.current);
  }

  /** The drawing is of something else than the candidate in view: an added slump. */
  get apart(): boolean {
    return !!this.drawing && this.drawingFor !== this.current;
  }

  say(text: string): void {
    this.message = text;
  }

  protected get notYet(): string {
    return `${this.current} isn't painted yet: press again`;
  }

  get added(): Standing[] {
    return [...this.missed, ...this.unnamed];
  }

  missedOf(id: string): Standing | undefined {
    return this.missed.find((m) => m.candidate_id === id);
  }

  // The list

  /** Go to where the reviewer was, or else to the first open one. */
  protected async begin(): Promise<void> {
    const { current, order, filter, kind } = JSON.parse(localStorage.getItem(`${this.store}:at`) ?? "{}") as Partial<Remembered>;
    this.list.order = order ?? "rank";
    this.list.filter = FILTERS.find((name) => name === filter) ?? "all";
    this.look.kind = kind && this.info.kinds.includes(kind) ? kind : "true";
    this.map.colour(this.look.kind);
    this.arrange();
    const here = current && this.list.has(current) ? current : this.list.nextOpen("");
    await this.go(here || this.list.rows[0] || "");
  }

  private arrange(): void {
    this.list.arrange(this.current);
    this.remember();
  }

  private remember(): void {
    const { order, filter } = this.list;
    keep(localStorage, `${this.store}:at`, JSON.stringify({ current: this.current, order, filter, kind: this.look.kind }));
  }

  setFilter(filter: Filter): void {
    this.list.filter = filter;
    this.arrange();
    this.say(filter === "all" ? "" : `${filter === "added" ? this.added.length : this.list.rows.length} shown: ${filter}`);
  }

  setOrder(order: Order): void {
    this.list.order = order;
    this.arrange();
    this.ahead();
  }

  next(): void {
    void this.go(this.list.beside(this.current, 1));
  }

  previous(): void {
    void this.go(this.list.beside(this.current, -1));
  }

  goTo(text: string): boolean {
    const id = this.list.find(text);
    const added = this.missedOf(text.trim());
    if (added) this.editMissed(added.candidate_id);
    else if (id) void this.go(id);
    return !!(added || id);
  }

  // The candidate in view

  async go(id: string): Promise<void> {
    if (!this.list.has(id)) return;
    if (!this.left()) return;
    this.current = id;
    this.coming = "";
    // back on a candidate before the next one was painted: it counts at once, with all that was said of it
    this.take(id, this.ready ? this.shown!.mine : null);
    this.since = performance.now();
    this.message = "";
    this.remember();
    const candidate = await this.arrived(id);
    if (!candidate) return;
    this.show(candidate);
    // first the pictures of this candidate, then those of the next ones
    requestAnimationFrame(() => setTimeout(() => this.current === id && this.ahead()));
  }

  /** The candidate with its pictures, asked for until they are here; null: it is no longer waited for. */
  private async arrived(id: string): Promise<Candidate | null> {
    let problem = "";
    for (;;) {
      try {
        const candidate = await this.chips.ready(id, this.look.kind);
        if (this.current !== id) return null;
        if (this.message === problem) this.say("");
        return candidate;
      } catch (error) {
        if (this.current !== id || this.ready) return null;
        problem = `${id} isn't painted yet: ${(error as Error).message}`;
        this.say(problem);
      }
      await new Promise((done) => setTimeout(done, AGAIN_MS));
      // left for another one, or left and come back to, which had it painted
      if (this.current !== id || this.ready) return null;
    }
  }

  private show(candidate: Candidate): void {
    this.turned = "";
    this.lay(candidate);
    // what is said while an added slump is drawn is said of that
    if (!this.apart) this.take(candidate.id, this.shown!.mine);
    if (this.message === this.notYet) this.say("");
  }

  /** Show a candidate with what this reviewer last said of it, which the server may not have heard of yet. */
  protected lay(candidate: Candidate): void {
    const last = this.queue.last(candidate.id);
    const shown = last ? { ...candidate, mine: last.after } : candidate;
    this.look.shown = shown;
    clearTimeout(this.following);
    this.following = setTimeout(() => this.follow(), this.look.view === "map" ? 0 : REST_MS);
  }

  /** Draw on the map what is in view, and turn to it if it isn't there yet. */
  protected follow(): void {
    const candidate = this.shown;
    if (!candidate || this.drawing) return;
    this.map.show(candidate);
    if (this.turned !== candidate.id) this.turn();
  }

  /** Ask anew for what the server says of a candidate. */
  protected async refresh(id: string): Promise<void> {
    this.chips.forget(id);
    if (this.current !== id) return;
    const candidate = await this.chips.ready(id, this.look.kind).catch(() => null);
    if (candidate && this.shown?.id === id && this.current === id) this.lay(candidate);
  }

  /** Take over what is said of a candidate or an added slump, to be changed; a note that was not saved goes before. */
  protected take(id: string, mine: Standing | null): void {
    this.said = saidIn(mine);
    this.note = localStorage.getItem(this.noteOf(id)) ?? mine?.note ?? "";
  }

  protected noteOf(id: string): string {
    return `${this.store}:note:${id}`;
  }

  typed(): void {
    keep(localStorage, this.noteOf(this.apart ? this.drawingFor : this.current), this.note);
  }

  /** Put the map into a place on the page, turned to the candidate in view. */
  place(element: HTMLElement | null): void {
    this.map.target(element);
    this.turn();
  }

  private turn(): void {
    const candidate = this.shown;
    if (!candidate || this.drawing) return;
    // what is around matters on the small map; on the large one what the chips show
    this.map.fit(candidate.ground ?? this.boundsOf(candidate), this.look.view === "map" ? 1.5 : 2);
    this.turned = candidate.id;
  }

  protected boundsOf(candidate: Candidate): [number, number, number, number] {
    const { x: xs, y: ys } = this.list.columns;
    const at = this.list.placeOf(candidate.id);
    const [x, y, half] = [xs[at]!, ys[at]!, Math.sqrt(candidate.area_m2) + 150];
    return [x - half, y - half, x + half, y + half];
  }

  /** Load what comes next, and keep what was just decided. */
  private ahead(): void {
    const ids = [this.current];
    let at = this.current;
    for (let step = 0; step < AHEAD; step++) {
      at = this.list.nextOpen(at);
      if (!at || ids.includes(at)) break;
      ids.push(at);
    }
    for (const id of [this.list.beside(this.current, 1), this.list.beside(this.current, -1), ...this.lastDone()])
      if (this.list.has(id) && !ids.includes(id)) ids.push(id);
    this.chips.keep(ids);
    for (const id of ids.slice(1)) void this.chips.ready(id, this.look.kind).catch(() => undefined);
  }

  /** Go on to the next of these kinds of pictures, and from the last one back to true colour. */
  toggleKind(kinds: string[]): void {
    const kind = this.look.following(kinds, this.coming || this.look.kind);
    if (kind) void this.showKind(kind);
    else this.say(`This round has no ${kinds.join(", no ")}`);
  }

  /** Show the next number beside each year. */
  nextMeasure(): void {
    this.look.measure = MEASURES[(MEASURES.indexOf(this.look.measure) + 1) % MEASURES.length]!;
    this.say(`Beside each year, after the verdict: ${this.look.measure}`);
  }

  /** Change the pictures when all of them are there: no blank frame, and no year in another colour than the others. */
  private async showKind(kind: string): Promise<void> {
    const id = this.current;
    this.coming = kind;
    const problem = await this.chips.ready(id, kind).then(() => "", (error: Error) => error.message);
    if (this.current !== id || this.coming !== kind) return;
    this.coming = "";
    if (problem) return this.say(`The pictures (${kind}) aren't here: ${problem}`);
    this.look.kind = kind;
    this.map.colour(kind);
    this.remember();
    this.ahead();
  }
}
