import type OlMap from "ol/Map";
import Feature from "ol/Feature";
import MultiPolygon from "ol/geom/MultiPolygon";
import Point from "ol/geom/Point";
import type Polygon from "ol/geom/Polygon";
import type Geometry from "ol/geom/Geometry";
import { primaryAction } from "ol/events/condition";
import { Draw, Modify, Snap } from "ol/interaction";
import VectorLayer from "ol/layer/Vector";
import VectorSource from "ol/source/Vector";
import { CROSS, SKETCH, lined } from "./mapstyle";
import type { Drawing, Vertex } from "./outline";
import type { Ring, XY } from "./types";

export type Tool = "shape" | "add" | "cut";

/** Who is told of what the pen does. */
export interface PenEvents {
  changed: () => void;
  sketched: (ring: XY[]) => void;
  failed: (problem: string) => void;
}

/** What draws an outline on the map, by mouse and by keyboard. */
export class Pen {
  drawing: Drawing | null = null;
  tool: Tool = "shape";
  private selected: Vertex | null = null;
  private readonly sketch = new VectorSource<Feature<Geometry>>();
  private readonly cross = new Feature<Point>();
  private readonly modify: Modify;
  private readonly snap: Snap;
  private draw: Draw | null = null;
  private points = 0;

  /** A pen for a map, above its layers; vertices snap to the outlines around. */
  constructor(
    private readonly map: OlMap,
    around: VectorSource,
    private readonly pixel_m: number,
    private readonly on: PenEvents,
  ) {
    const layer = new VectorLayer({ source: this.sketch as VectorSource, updateWhileInteracting: true, updateWhileAnimating: true, style: lined("drawn", true) });
    map.addLayer(layer);
    map.addLayer(new VectorLayer({ source: new VectorSource({ features: [this.cross] }), style: CROSS }));
    this.modify = new Modify({ source: this.sketch, condition: primaryAction, pixelTolerance: 8 });
    this.modify.on("modifyend", () => this.take());
    this.modify.setActive(false);
    map.addInteraction(this.modify);
    this.snap = new Snap({ source: around, pixelTolerance: 6 });
  }

  start(drawing: Drawing, tool: Tool): void {
    this.drawing = drawing;
    // pixels and coordinates have no relation before the first frame
    this.map.renderSync();
    this.place(this.map.getView().getCenter() as XY);
    this.refresh();
    this.use(tool);
  }

  stop(): void {
    this.use("shape");
    this.modify.setActive(false);
    this.drawing = null;
    this.selected = null;
    this.sketch.clear();
    this.cross.setGeometry(undefined);
    this.map.removeInteraction(this.snap);
  }

  use(tool: Tool): void {
    this.tool = tool;
    if (this.draw) this.map.removeInteraction(this.draw);
    this.map.removeInteraction(this.snap);
    this.draw = null;
    this.modify.setActive(tool === "shape");
    if (tool === "shape") {
      const first = this.drawing?.vertices()[0];
      if (first && !this.selected) this.select(first);
    } else {
      this.selected = null;
      const draw = new Draw({ type: "Polygon", style: SKETCH, stopClick: true });
      draw.on("drawstart", (event) => {
        const geometry = event.feature.getGeometry() as Polygon;
        // the first vertex comes before the first change
        const start = geometry.getFirstCoordinate() as XY;
        this.points = 1;
        this.on.sketched([start]);
        geometry.on("change", () => this.on.sketched(this.ring(geometry)));
      });
      draw.on("drawend", (event) => {
        this.none();
        this.apply((event.feature.getGeometry() as Polygon).getCoordinates()[0] as Ring);
      });
      draw.on("drawabort", () => this.none());
      this.draw = draw;
      this.map.addInteraction(draw);
      this.map.addInteraction(this.snap);
    }
    this.on.changed();
  }

  /** No area is being drawn any more: it was closed, by whatever means, or dropped. */
  private none(): void {
    this.points = 0;
    this.on.sketched([]);
  }

  /** Add the area that was closed, or cut it out; where that can't be computed it is open again. */
  private apply(ring: Ring): void {
    if (!this.drawing || ring.length < 4) return;
    if (!this.drawing.apply(this.tool === "cut" ? "cut" : "add", ring)) {
      this.resume(ring.slice(0, -1));
      this.on.failed("This area can't be joined with the outline: move a corner of it, or drop it (Esc)");
      return;
    }
    this.refresh();
    this.on.changed();
  }

  /** The vertices that are fixed so far: the last one of the sketch follows the mouse. */
  private ring(geometry: Polygon): XY[] {
    const ring = (geometry.getCoordinates()[0] ?? []) as XY[];
    const fixed = ring.slice(0, Math.max(0, ring.length - 2));
    this.points = fixed.length;
    return fixed;
  }

  get sketching(): boolean {
    return !!this.draw && this.points > 0;
  }

  resume(ring: XY[]): void {
    if (!this.draw || !ring.length) return;
    this.draw.appendCoordinates(ring);
    this.points = ring.length;
    this.place(ring[ring.length - 1]!);
  }

  /** Put a vertex of the new area at the cross. */
  put(): void {
    const at = this.cross.getGeometry()?.getCoordinates() as XY | undefined;
    if (this.draw && at) this.draw.appendCoordinates([at]);
  }

  unput(): void {
    if (this.points <= 1) this.abort();
    else this.draw?.removeLastPoint();
  }

  abort(): void {
    this.draw?.abortDrawing();
  }

  /** Close the new area; false where it has fewer than three vertices. */
  close(): boolean {
    if (this.points < 3) return false;
    this.draw?.finishDrawing();
    return true;
  }

  step(direction: 1 | -1): void {
    const all = this.drawing?.vertices() ?? [];
    if (!all.length) return;
    const s = this.selected;
    const at = s ? all.findIndex((v) => v.part === s.part && v.ring === s.ring && v.at === s.at) : -1;
    this.select(all[(at + direction + all.length) % all.length]!);
  }

  private select(vertex: Vertex | null): void {
    this.selected = vertex && this.drawing?.place(vertex) ? vertex : null;
    const at = this.selected && this.drawing?.place(this.selected);
    if (at) this.place(at);
  }

  /** Move the selected vertex, or else the cross, by pixels of the grid. */
  nudge(dx: number, dy: number): void {
    const at = this.cross.getGeometry()?.getCoordinates() as XY | undefined;
    if (!at) return;
    const to: XY = [at[0] + dx * this.pixel_m, at[1] + dy * this.pixel_m];
    if (this.tool === "shape" && this.selected && this.drawing) {
      this.drawing.move(this.selected, to);
      this.refresh();
      this.on.changed();
    }
    this.place(to);
  }

  split(): void {
    if (!this.selected || !this.drawing) return;
    const added = this.drawing.split(this.selected);
    this.refresh();
    this.select(added);
    this.on.changed();
  }

  remove(): void {
    if (!this.selected || !this.drawing) return;
    const place = this.selected;
    this.drawing.remove(place);
    this.refresh();
    const ring = this.drawing.vertices().filter((v) => v.part === place.part && v.ring === place.ring);
    this.select(ring[Math.max(0, place.at - 1)] ?? this.drawing.vertices()[0] ?? null);
    this.on.changed();
  }

  undo(): boolean {
    if (!this.drawing?.undo()) return false;
    this.afterHistory();
    return true;
  }

  redo(): boolean {
    if (!this.drawing?.redo()) return false;
    this.afterHistory();
    return true;
  }

  private afterHistory(): void {
    this.refresh();
    this.select(this.selected);
    this.on.changed();
  }

  private place(at: XY): void {
    this.cross.setGeometry(new Point(at));
    const element = this.map.getTargetElement();
    if (element) element.dataset.cross = at.join(" ");
    const size = this.map.getSize();
    const pixel = this.map.getPixelFromCoordinate(at);
    if (size && pixel && (pixel[0]! < 20 || pixel[1]! < 20 || pixel[0]! > size[0]! - 20 || pixel[1]! > size[1]! - 20))
      this.map.getView().setCenter(at);
  }

  private refresh(): void {
    this.sketch.clear();
    const parts = this.drawing?.parts ?? [];
    if (parts.length) this.sketch.addFeature(new Feature<Geometry>(new MultiPolygon(parts)));
  }

  /** Take over what was dragged with the mouse. */
  private take(): void {
    const feature = this.sketch.getFeatures()[0];
    if (!feature || !this.drawing) return;
    this.drawing.set((feature.getGeometry() as MultiPolygon).getCoordinates() as Ring[][]);
    this.selected = null;
    this.on.changed();
  }
}
