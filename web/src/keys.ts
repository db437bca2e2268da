/** All keys, once: what handles them, the hints on the buttons and the help come from here. */
export interface Key {
  keys: string[];
  does: string;
  group: "Verdict" | "Compare" | "Move" | "Outline" | "More";
}

export const REASONS = [
  "bare ground",
  "gully or river bank",
  "road or mine",
  "water",
  "snow or cloud",
  "no-data edge",
  "stable scar",
  "other",
];
export const LEVELS: [string, string, number][] = [
  ["q", "Yes", 1],
  ["w", "High", 0.75],
  ["e", "Medium", 0.5],
  ["r", "Low", 0.25],
  ["t", "No", 0],
];
export const SCOPES = ["active part", "active part and debris tongue", "whole scar"];
export const SHORT_SCOPES: Record<string, string> = { "active part and debris tongue": "active + tongue" };

export const KEYS: Key[] = [
  { group: "Verdict", keys: ["1"], does: "accept" },
  { group: "Verdict", keys: ["2"], does: "reject; a window: nothing more to add" },
  { group: "Verdict", keys: ["⇧1", "…", "⇧8"], does: "reject with a reason" },
  { group: "Verdict", keys: ["3"], does: "edit: redraw the outline" },
  { group: "Verdict", keys: ["4"], does: "unsure" },
  { group: "Verdict", keys: ["Q", "W", "E", "R", "T"], does: "possibility: yes, high, medium, low, no (again: none); in an outline medium is ⇧E" },
  { group: "Verdict", keys: ["M"], does: "note (Enter or Esc leaves it)" },
  { group: "Verdict", keys: ["U"], does: "what the outline holds" },
  { group: "Verdict", keys: ["Y"], does: "first year visible: the year in view (stops the blinking first)" },
  { group: "Verdict", keys: ["A"], does: "active: yes, no, not said" },
  { group: "Verdict", keys: ["Z"], does: "undo the last verdict" },
  { group: "Verdict", keys: ["⇧Z"], does: "redo it" },
  { group: "Compare", keys: ["Space"], does: "blink: play or stop" },
  { group: "Compare", keys: [",", "."], does: "year before, year after" },
  { group: "Compare", keys: ["B", "S", "P"], does: "large view: blink, swipe, map" },
  { group: "Compare", keys: ["←", "→"], does: "swipe: move the edge; map: pan" },
  { group: "Compare", keys: ["C"], does: "true or false colour" },
  { group: "Compare", keys: ["H"], does: "hillshade, slope, back" },
  { group: "Compare", keys: ["O"], does: "outlines on or off" },
  { group: "Compare", keys: ["I"], does: "beside each year, after the verdict: area, probability, NDVI and brightness inside | upslope" },
  { group: "Move", keys: ["J", "K"], does: "next, previous (J leaves it open)" },
  { group: "Move", keys: ["G"], does: "go to a number of the list, or an id" },
  { group: "Move", keys: ["F"], does: "filter: all, open, …" },
  { group: "Move", keys: ["V"], does: "order: rank, nearest, random" },
  { group: "Move", keys: ["+", "−"], does: "map: closer, wider" },
  { group: "Outline", keys: ["3", "N"], does: "redraw this one; add a missed slump" },
  { group: "Outline", keys: ["E", "D", "X"], does: "tool: shape, add an area, cut an area out" },
  { group: "Outline", keys: ["Tab", "⇧Tab"], does: "shape: next, previous vertex" },
  { group: "Outline", keys: ["arrows"], does: "move the vertex or cross by a pixel (⇧: five)" },
  { group: "Outline", keys: ["I", "Del"], does: "shape: insert a vertex, remove it" },
  { group: "Outline", keys: ["Space", "⌫"], does: "area: put a vertex at the cross, take the last one back" },
  { group: "Outline", keys: ["Enter"], does: "close the area; save the outline" },
  { group: "Outline", keys: ["2"], does: "an added slump, opened from the list or by G: remove it" },
  { group: "Outline", keys: ["Z", "⇧Z"], does: "undo, redo a step" },
  { group: "Outline", keys: ["Esc"], does: "drop the new area; leave without saving" },
  { group: "More", keys: ["?"], does: "keys" },
  { group: "More", keys: ["L"], does: "guideline" },
  { group: "More", keys: ["X"], does: "examples of earlier rounds (outside outlines)" },
  { group: "More", keys: ["D"], does: "an adjudicator: what each reader said, in full" },
  { group: "More", keys: ["Esc"], does: "close, cancel" },
];
