/** Okabe and Ito's colours, which stay apart for colour-blind readers; each kind of line has a pattern of its own as well. */
export const LINES = {
  candidate: { colour: "#56b4e9", width: 2, dash: [] as number[], label: "to be judged" },
  known: { colour: "#f0e442", width: 2, dash: [9, 6], label: "known outline" },
  drawn: { colour: "#e69f00", width: 2.5, dash: [14, 4, 3, 4], label: "your outline" },
  other: { colour: "#56b4e9", width: 2, dash: [4, 4], label: "other candidate" },
  slump: { colour: "#ffffff", width: 1.5, dash: [12, 2], label: "earlier: slump" },
  refused: { colour: "#ffffff", width: 1.5, dash: [1.5, 4], label: "earlier: no slump" },
  year: { colour: "#ffffff", width: 2, dash: [2, 3], label: "network, in that year" },
  read: { colour: "#e69f00", width: 2, dash: [7, 3, 2, 3], label: "a reader's outline" },
  missed: { colour: "#cc79a7", width: 2.5, dash: [12, 3, 3, 3, 3, 3], label: "added by you" },
};
export const HALO = "rgba(0,0,0,.65)";

/** What a decision means: on a window it is about what is missing in it. */
export function wordOf(decision: string, window: boolean): string {
  return window && decision === "reject" ? "nothing more to add" : (MARKS[decision]?.word ?? "");
}

export const MARKS: Record<string, { mark: string; word: string }> = {
  accept: { mark: "✓", word: "accepted" },
  reject: { mark: "✗", word: "rejected" },
  edit: { mark: "✎", word: "accepted, redrawn" },
  unsure: { mark: "?", word: "unsure" },
  missed: { mark: "+", word: "added" },
};
