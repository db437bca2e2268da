import polygonClipping from "polygon-clipping";
import { partsOf } from "./chips";
import type { Outline, Parts, Ring, XY } from "./types";

export interface Vertex {
  part: number;
  ring: number;
  at: number;
}

const rounded = ([x, y]: XY): XY => [Math.round(x * 100) / 100, Math.round(y * 100) / 100];

/** An outline that is being drawn, with all its earlier states. Rings are closed. */
export class Drawing {
  private past: string[] = [];
  private future: string[] = [];
  private current: string;

  constructor(start: Outline | null) {
    this.current = JSON.stringify(start ? partsOf(start) : []);
  }

  get parts(): Parts {
    return JSON.parse(this.current) as Parts;
  }

  get outline(): Outline | null {
    const parts = this.parts;
    if (!parts.length) return null;
    return parts.length === 1 ? { type: "Polygon", coordinates: parts[0]! } : { type: "MultiPolygon", coordinates: parts };
  }

  /** Whether it is another outline than this one. */
  differs(from: Outline | null): boolean {
    return this.current !== JSON.stringify(from ? partsOf(from) : []);
  }

  get steps(): { undo: number; redo: number } {
    return { undo: this.past.length, redo: this.future.length };
  }

  /** Take a new state; one that is the same is no step. */
  set(parts: Parts): void {
    const next = JSON.stringify(
      parts.map((part) => part.map((ring) => ring.map(rounded))).filter((part) => part.length),
    );
    if (next === this.current) return;
    this.past.push(this.current);
    this.future = [];
    this.current = next;
  }

  undo(): boolean {
    const before = this.past.pop();
    if (before === undefined) return false;
    this.future.push(this.current);
    this.current = before;
    return true;
  }

  redo(): boolean {
    const after = this.future.pop();
    if (after === undefined) return false;
    this.past.push(this.current);
    this.current = after;
    return true;
  }

  /**
   * Unite the outline with an area, or cut the area out of it: this makes parts and holes as they come. False where it can't
   * be computed, as happens where edges nearly coincide; the outline is then as it was.
   */
  apply(how: "add" | "cut", ring: Ring): boolean {
    // like all that is drawn, in centimetres: edges that are nearer to each other than that are what can't be computed
    const area: Ring[] = [ring.map(rounded)];
    const parts = this.parts;
    try {
      if (how === "add") this.set(polygonClipping.union(area, ...parts) as Parts);
      else if (parts.length) this.set(polygonClipping.difference(parts, area) as Parts);
    } catch {
      return false;
    }
    return true;
  }

  /** All vertices, ring by ring (without the repeated last one). */
  vertices(): Vertex[] {
    return this.parts.flatMap((part, p) => part.flatMap((ring, r) => ring.slice(1).map((_, at) => ({ part: p, ring: r, at }))));
  }

  place(vertex: Vertex): XY | undefined {
    return this.parts[vertex.part]?.[vertex.ring]?.[vertex.at];
  }

  move(vertex: Vertex, to: XY): void {
    this.change(vertex, (ring) => {
      ring[vertex.at] = to;
      if (vertex.at === 0) ring[ring.length - 1] = to;
    });
  }

  /** Put a vertex in the middle of the edge that begins at this one, and return it. */
  split(vertex: Vertex): Vertex {
    this.change(vertex, (ring) => {
      const [a, b] = [ring[vertex.at]!, ring[vertex.at + 1]!];
      ring.splice(vertex.at + 1, 0, [(a[0] + b[0]) / 2, (a[1] + b[1]) / 2]);
    });
    return { ...vertex, at: vertex.at + 1 };
  }

  /** Remove a vertex; a ring that would have fewer than three goes as a whole (and with an outer ring its part). */
  remove(vertex: Vertex): void {
    const parts = this.parts;
    const ring = parts[vertex.part]![vertex.ring]!;
    if (ring.length > 4) {
      ring.splice(vertex.at, 1);
      if (vertex.at === 0) ring[ring.length - 1] = ring[0]!;
    } else if (vertex.ring === 0) parts.splice(vertex.part, 1);
    else parts[vertex.part]!.splice(vertex.ring, 1);
    this.set(parts);
  }

  private change(vertex: Vertex, how: (ring: Ring) => void): void {
    const parts = this.parts;
    const ring = parts[vertex.part]?.[vertex.ring];
    if (!ring) return;
    how(ring);
    this.set(parts);
  }
}
