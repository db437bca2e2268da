import { answer, candidateUrl, chipUrl, get } from "./api";
import type { Candidate, Outline, Parts } from "./types";

/** Candidates and decoded pictures, kept for those that come next so that they are painted at once. */
export class Chips {
  private candidates = new Map<string, Promise<Candidate>>();
  private pictures = new Map<string, Promise<ImageBitmap>>();
  private decoded = new Map<string, ImageBitmap>();
  /** how often each candidate's record has changed */
  private changes = new Map<string, number>();

  constructor(private readonly round: string) {}

  candidate(id: string): Promise<Candidate> {
    let found = this.candidates.get(id);
    if (!found) {
      found = get<Candidate>(candidateUrl(id));
      this.candidates.set(id, found);
      found.catch(() => this.candidates.delete(id));
    }
    return found;
  }

  /** Its record changed: answers that are here, or on their way, don't count any more. */
  forget(id: string): void {
    this.candidates.delete(id);
    this.changes.set(id, (this.changes.get(id) ?? 0) + 1);
  }

  /** The candidate with all its pictures of a kind; an error where one of them can't be had, which is asked for anew the next time. */
  async ready(id: string, kind: string): Promise<Candidate> {
    let candidate: Candidate;
    let asked: number | undefined;
    do {
      asked = this.changes.get(id);
      candidate = await this.candidate(id);
    } while (asked !== this.changes.get(id));
    await Promise.all(candidate.chips.map((chip) => this.load(id, chip.year, shownKind(chip.kinds, kind))));
    return candidate;
  }

  /** The picture if it is decoded; undefined: not yet. */
  now(id: string, year: number, kind: string): ImageBitmap | undefined {
    return this.decoded.get(chipUrl(this.round, id, year, kind));
  }

  load(id: string, year: number, kind: string | null): Promise<ImageBitmap | null> {
    if (!kind) return Promise.resolve(null);
    const url = chipUrl(this.round, id, year, kind);
    const found = this.pictures.get(url);
    if (found) return found;
    const asked = picture(url);
    this.pictures.set(url, asked);
    asked.then(
      (bitmap) => (this.pictures.has(url) ? this.decoded.set(url, bitmap) : bitmap.close()),
      () => this.pictures.get(url) === asked && this.pictures.delete(url),
    );
    return asked;
  }

  /** Keep these candidates only. */
  keep(ids: string[]): void {
    const wanted = new Set(ids);
    for (const id of this.candidates.keys()) if (!wanted.has(id)) this.candidates.delete(id);
    const starts = ids.map((id) => `/chip/${this.round}/${encodeURIComponent(id)}/`);
    for (const url of this.pictures.keys()) {
      if (starts.some((start) => url.startsWith(start))) continue;
      this.decoded.get(url)?.close();
      this.decoded.delete(url);
      this.pictures.delete(url);
    }
  }
}

/** The decoded picture; an error where it can't be had, which is not the same as a year without one. */
export async function picture(url: string): Promise<ImageBitmap> {
  return await createImageBitmap(await (await answer(url)).blob());
}

/** The wanted kind of picture, or true colour where a year has no false colour; null: nothing of the kind was seen. */
export function shownKind(kinds: string[], wanted: string): string | null {
  if (kinds.includes(wanted)) return wanted;
  return wanted === "false" && kinds.includes("true") ? "true" : null;
}

export function partsOf(outline: Outline): Parts {
  return outline.type === "Polygon" ? [outline.coordinates] : outline.coordinates;
}

export interface Line {
  outline: Outline;
  colour: string;
  width: number;
  dash?: number[];
}

/** Draw a chip to fill a square canvas, with outlines in ground coordinates over it. */
export function paint(
  canvas: HTMLCanvasElement,
  bitmap: ImageBitmap | null | undefined,
  ground: Candidate["ground"],
  lines: Line[],
  clip: [number, number] = [0, 1],
): void {
  const edge = Math.round(canvas.clientWidth * devicePixelRatio);
  if (!edge) return;
  if (canvas.width !== edge || canvas.height !== edge) canvas.width = canvas.height = edge;
  const context = canvas.getContext("2d")!;
  context.save();
  if (clip[0] === 0) context.clearRect(0, 0, edge, edge);
  context.beginPath();
  context.rect(clip[0] * edge, 0, (clip[1] - clip[0]) * edge, edge);
  context.clip();
  if (bitmap) {
    context.imageSmoothingQuality = "high";
    context.drawImage(bitmap, 0, 0, edge, edge);
  } else hatch(context, edge);
  if (ground && bitmap) for (const line of lines) stroke(context, edge, ground, line);
  context.restore();
}

/** Not seen is not "nothing there": it gets a pattern of its own. */
function hatch(context: CanvasRenderingContext2D, edge: number): void {
  context.fillStyle = "#24282d";
  context.fillRect(0, 0, edge, edge);
  context.strokeStyle = "#343a41";
  context.lineWidth = 2;
  context.beginPath();
  for (let at = -edge; at < edge; at += 14) {
    context.moveTo(at, edge);
    context.lineTo(at + edge, 0);
  }
  context.stroke();
}

function stroke(context: CanvasRenderingContext2D, edge: number, ground: [number, number, number, number], line: Line): void {
  const [west, south, east, north] = ground;
  context.beginPath();
  for (const ring of partsOf(line.outline).flat())
    ring.forEach(([x, y], at) => {
      const point = [((x - west) / (east - west)) * edge, ((north - y) / (north - south)) * edge] as const;
      if (at) context.lineTo(...point);
      else context.moveTo(...point);
    });
  context.lineJoin = "round";
  const scale = devicePixelRatio;
  for (const [colour, width] of [["rgba(0,0,0,.65)", line.width + 2], [line.colour, line.width]] as const) {
    context.setLineDash((line.dash ?? []).map((length) => length * scale));
    context.strokeStyle = colour;
    context.lineWidth = width * scale;
    context.stroke();
  }
}
