import { LEVELS, REASONS } from "./keys";
import { FILTERS, ORDERS } from "./list.svelte";
import type { Review } from "./review.svelte";

const ARROWS: Record<string, [number, number]> = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] };

const typing = (target: EventTarget | null) =>
  target instanceof HTMLElement && (target.isContentEditable || ["INPUT", "TEXTAREA", "SELECT"].includes(target.tagName));

function following<T>(all: readonly T[], now: T): T {
  return all[(all.indexOf(now) + 1) % all.length]!;
}

/** The digit of a key, whatever the layout puts on it with or without Shift. */
function digit(event: KeyboardEvent): number {
  const match = /^(?:Digit|Numpad)(\d)$/.exec(event.code);
  return match ? Number(match[1]) : 0;
}

/** Signs that the page has as keys, by their place on a Latin keyboard. */
const SIGNS: Record<string, string> = { Comma: ",", Period: ".", Slash: "?", Minus: "-", Equal: "=", Space: " " };

/**
 * The name of a key in lower case: a letter or a sign as the layout gives it. Where that is neither, on a layout without Latin
 * letters or with an input method on, what a Latin keyboard has in that place.
 */
function nameOf(event: KeyboardEvent): string {
  const key = event.key.toLowerCase();
  if (/^[a-z,.?+\-= ]$/.test(key)) return key;
  return /^Key([A-Z])$/.exec(event.code)?.[1]?.toLowerCase() ?? SIGNS[event.code] ?? key;
}

/** What is said of the candidate in view, its verdict apart. */
const SAID = /^[qwertuya]$/;

/** Act on a key; keys are off while a text field has the focus. */
export function handle(review: Review, event: KeyboardEvent, focusNote: () => void): void {
  if (event.ctrlKey || event.altKey || event.metaKey || event.isComposing) return;
  if (typing(event.target)) return;
  // held down it would decide one candidate after the other as they come into view
  if (event.repeat && (digit(event) || SAID.test(nameOf(event)))) return event.preventDefault();
  const done = review.panel ? inPanel(review, event) : review.drawing ? inOutline(review, event, focusNote) : outside(review, event, focusNote);
  if (done) event.preventDefault();
}

function inPanel(review: Review, event: KeyboardEvent): boolean {
  const key = nameOf(event);
  if (key === "escape" || (key === "?" && review.panel === "keys")) review.panel = "";
  else if (key === "l" && review.panel === "guideline") review.panel = "";
  else if (key === "x" && review.panel === "examples") review.panel = "";
  else if (key === "d" && review.panel === "readings") review.panel = "";
  else return false;
  return true;
}

function inOutline(review: Review, event: KeyboardEvent, focusNote: () => void): boolean {
  const pen = review.map.pen;
  const key = nameOf(event);
  const arrow = ARROWS[event.key];
  if (arrow) pen.nudge(arrow[0] * (event.shiftKey ? 5 : 1), arrow[1] * (event.shiftKey ? 5 : 1));
  else if (key === "tab") pen.step(event.shiftKey ? -1 : 1);
  else if (key === "e" && !event.shiftKey) review.use("shape");
  else if (key === "d") review.use("add");
  else if (key === "x") review.use("cut");
  else if (key === "i") pen.split();
  else if (key === " ") pen.put();
  else if (key === "delete" || key === "backspace") pen.tool === "shape" ? pen.remove() : pen.unput();
  else if (key === "enter") pen.sketching ? pen.close() || review.say("An area needs three vertices") : void review.saveOutline();
  else if (digit(event) === 3 && !event.shiftKey) void review.saveOutline();
  else if (digit(event) === 2 && !event.shiftKey) review.removeMissed();
  else if (key === "z") {
    if (pen.sketching && !event.shiftKey) pen.unput();
    else if (!(event.shiftKey ? pen.redo() : pen.undo())) review.say(`Nothing to ${event.shiftKey ? "redo" : "undo"}`);
  } else if (key === "escape") pen.sketching ? pen.abort() : review.leave();
  else if (key === "m") focusNote();
  else return said(review, key) || common(review, event);
  return true;
}

/** What is said beside the decision, of a candidate or of a slump that is drawn. */
function said(review: Review, key: string): boolean {
  const level = LEVELS.find(([letter]) => letter === key);
  if (level) review.possibility(level[2]);
  else if (key === "u") review.cycleScope();
  else if (key === "y") review.firstYear();
  else if (key === "a") review.cycleActive();
  else return false;
  return true;
}

function outside(review: Review, event: KeyboardEvent, focusNote: () => void): boolean {
  const key = nameOf(event);
  const number = digit(event);
  if (event.shiftKey && number >= 1 && number <= REASONS.length) review.decide("reject", REASONS[number - 1]);
  else if (number === 1) review.decide("accept");
  else if (number === 2) review.decide("reject");
  else if (number === 3) review.editOutline();
  else if (number === 4) review.decide("unsure");
  else if (said(review, key)) return true;
  else if (key === "n") review.addMissed();
  else if (key === "z") event.shiftKey ? review.redo() : review.undo();
  else if (key === " ") togglePlay(review);
  else if (key === "j") review.next();
  else if (key === "k") review.previous();
  else if (key === "g") review.panel = "go";
  else if (key === "f") review.setFilter(following(FILTERS, review.list.filter));
  else if (key === "v") review.setOrder(following(ORDERS, review.list.order));
  else if (key === "b" || key === "s" || key === "p") review.look.view = ({ b: "blink", s: "swipe", p: "map" } as const)[key];
  else if (key === "i") review.nextMeasure();
  else if (key === "x") review.panel = "examples";
  else if (key === "d" && review.ready && review.shown!.readings.length) review.panel = "readings";
  else if (key === "m") focusNote();
  else if (key === "escape") review.say("");
  else if (ARROWS[event.key]) arrows(review, event.key);
  else return common(review, event);
  return true;
}

function togglePlay(review: Review): void {
  const { look } = review;
  if (look.view !== "blink") {
    look.view = "blink";
    look.playing = true;
  } else look.playing = !look.playing;
}

function arrows(review: Review, key: string): void {
  const [dx, dy] = ARROWS[key]!;
  const { look } = review;
  if (look.view === "swipe") look.edge = Math.min(20, Math.max(0, Math.round(look.edge * 20) + dx)) / 20;
  else if (look.view === "map") review.map.pan(dx, dy);
}

function common(review: Review, event: KeyboardEvent): boolean {
  const key = nameOf(event);
  if (key === ",") review.look.stepYear(-1);
  else if (key === ".") review.look.stepYear(1);
  else if (key === "c") review.toggleKind(["false"]);
  else if (key === "h") review.toggleKind(["hillshade", "slope"]);
  else if (key === "o") review.look.outlines = !review.look.outlines;
  else if (key === "+" || key === "=") review.map.zoom(0.5);
  else if (key === "-") review.map.zoom(2);
  else if (key === "?") review.panel = "keys";
  else if (key === "l") review.panel = "guideline";
  else return false;
  return true;
}
