import type { Op } from "./queue";
import type { Body, Said, Standing } from "./types";

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

/** The added slumps that wait to be recorded: they get their name then, and have that of their operation until then. */
export function unnamedIn(waiting: Op[]): Standing[] {
  const added = waiting.filter((op) => op.path === "/api/missed" && op.candidate === MISSED);
  const stand = added.filter((op) => !waiting.some((later) => later.of === op.id));
  return stand.map((op) => ({ ...op.after!, candidate_id: op.id }));
}

/** What a standing verdict says beside the decision, to be changed. */
export function saidIn(mine: Standing | null): Said {
  return {
    possibility: mine?.possibility ?? undefined,
    reject_reason: mine?.reject_reason ?? undefined,
    outline_scope: mine?.outline_scope ?? undefined,
    first_year_visible: mine?.first_year_visible ?? undefined,
    active: mine?.active ?? undefined,
  };
}

/** What says of an added slump again what stood of it. */
export function bodyOf(mine: Standing): Body {
  return { ...saidIn(mine), candidate_id: mine.candidate_id, note: mine.note ?? undefined, geometry: mine.geometry ?? undefined };
}

/** Whether a standing verdict (or none) says this already, its decision and reason apart. */
export function saysAlready(mine: Standing | null, said: Said, note: string): boolean {
  const stands = saidIn(mine);
  const names = ["possibility", "outline_scope", "first_year_visible", "active"] as const;
  return names.every((name) => stands[name] === said[name]) && (mine?.note ?? "") === note.trim();
}
