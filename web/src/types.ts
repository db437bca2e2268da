export type Decision = "accept" | "reject" | "edit" | "unsure" | "missed";
export type XY = [number, number];
export type Ring = XY[];
/** Parts, each an outer ring and its holes; rings closed, as in GeoJSON. */
export type Parts = Ring[][];
export type Outline = { type: "Polygon"; coordinates: Ring[] } | { type: "MultiPolygon"; coordinates: Parts };

export interface Round {
  round: string;
  reviewer: string;
  role: string;
  guideline_version: string;
  project: string;
  years: number[];
  kinds: string[];
  target_year: number;
  pixel_m: number;
  crs: string;
  tile_px: number;
  /** finest and coarsest: powers of two of the grid's pixel */
  zooms: [number, number];
  mosaic: boolean;
}

export interface Columns {
  id: string[];
  x: number[];
  y: number[];
  area: number[];
  changed: number[];
  /** 1: a window of an audit, ground to be looked through */
  window: number[];
  near: number[];
  decision: (Decision | null)[];
  missed: Standing[];
}

/** What a reviewer may say with a verdict. */
export interface Said {
  possibility?: number;
  reject_reason?: string;
  outline_scope?: string;
  first_year_visible?: number;
  active?: boolean;
  note?: string;
}

/** A standing verdict, as the server folds it from the record. */
export interface Standing {
  candidate_id: string;
  decision: Decision;
  event_id: string;
  possibility: number | null;
  reject_reason: string | null;
  outline_scope: string | null;
  first_year_visible: number | null;
  active: boolean | null;
  note: string | null;
  geometry: Outline | null;
  forked: boolean;
}

/** What is sent to be recorded. */
export interface Body extends Said {
  candidate_id?: string;
  decision?: Decision;
  geometry?: Outline;
  evidence_years?: number[];
  seconds?: number;
  event_id?: string;
  earlier?: boolean;
}

export type Numbers = Record<string, number | null>;

export interface YearNumbers {
  year: number;
  seen?: boolean | null;
  area_m2?: number | null;
  prob_mean?: number | null;
  /** inside the outline, and in a ring upslope of it */
  ndvi?: number | null;
  ndvi_ring?: number | null;
  brightness?: number | null;
  brightness_ring?: number | null;
  numbers_reason?: string | null;
}

export interface Told {
  candidate_id: string;
  mine: Standing | null;
  numbers: Numbers | null;
}

export interface Chip {
  year: number;
  acquired: string | null;
  usable: number | null;
  reason: string;
  kinds: string[];
}

export interface Candidate {
  id: string;
  outline: Outline;
  known: Outline | null;
  known_ids: string;
  /** of a window: the candidates in it */
  inside: Outline[];
  area_m2: number;
  longitude: number;
  latitude: number;
  mine: Standing | null;
  numbers: Numbers | null;
  years: YearNumbers[] | null;
  /** year -> what the network outlines in it: after the verdict alone */
  outlines: Record<string, Outline>;
  /** what others said: for an adjudicator alone */
  readings: (Standing & { reviewer: string })[];
  chips: Chip[];
  ground: [number, number, number, number] | null;
}

export interface Around {
  candidates: { id: string; outline: Outline }[];
  earlier: { id: string; kind: string; outline: Outline }[];
}

export interface Example {
  round: string;
  id: string;
  decision: Decision;
  reject_reason: string;
  note: string;
  chips: Chip[];
  ground: Candidate["ground"];
  outline: Outline;
}
