import OlMap from "ol/Map";
import View from "ol/View";
import Feature from "ol/Feature";
import GeoJSON from "ol/format/GeoJSON";
import MultiPoint from "ol/geom/MultiPoint";
import MultiPolygon from "ol/geom/MultiPolygon";
import Point from "ol/geom/Point";
import type Polygon from "ol/geom/Polygon";
import type Geometry from "ol/geom/Geometry";
import { Draw, Modify, Snap, defaults as defaultInteractions, DoubleClickZoom } from "ol/interaction";
import { primaryAction } from "ol/events/condition";
import TileLayer from "ol/layer/Tile";
import VectorLayer from "ol/layer/Vector";
import Projection from "ol/proj/Projection";
import { ScaleLine } from "ol/control";
import TileImage from "ol/source/TileImage";
import VectorSource from "ol/source/Vector";
import { Circle, Fill, RegularShape, Stroke, Style } from "ol/style";
import TileGrid from "ol/tilegrid/TileGrid";
import { get } from "./api";
import { HALO, LINES } from "./colours";
import { Drawing, type Vertex } from "./outline";
import type { Around, Candidate, Outline, Ring, Round, XY } from "./types";

export type Tool = "shape" | "add" | "cut";
type Kind = keyof typeof LINES;

const WIDEST_AROUND_M = 30_000;

function lined(kind: Kind, vertices = false): Style[] {
  const { colour, width, dash } = LINES[kind];
  const styles = [
    new Style({ stroke: new Stroke({ color: HALO, width: width + 2 }), zIndex: 1 }),
    new Style({ stroke: new Stroke({ color: colour, width, lineDash: dash.length ? dash : undefined }), zIndex: 2 }),
  ];
  if (vertices)
    styles.push(
      new Style({
        image: new Circle({ radius: 3, fill: new Fill({ color: colour }), stroke: new Stroke({ color: "#000", width: 1 }) }),
        geometry: (feature) => {
          const points = (feature.getGeometry() as MultiPolygon).getCoordinates().flat(2);
          return new MultiPoint(points);
        },
        zIndex: 3,
      }),
    );
  return styles;
}

/** The map: mosaic on its own grid, outlines around, and the outline that is being drawn. */
export class ReviewMap {
  readonly map: OlMap;
  private readonly format = new GeoJSON();
  private readonly tiles: TileLayer<TileImage>;
  private readonly around = new VectorSource();
  private readonly own = new VectorSource();
  private readonly sketch = new VectorSource<Feature<Geometry>>();
  private readonly cross = new Feature<Point>();
  private readonly modify: Modify;
  private draw: Draw | null = null;
  private snap: Snap;
  private asked = "";
  drawing: Drawing | null = null;
  tool: Tool = "shape";
  selected: Vertex | null = null;

  constructor(
    private readonly round: Round,
    private readonly on: { changed: () => void; pick: (id: string) => void; sketched: (ring: XY[]) => void },
  ) {
    const projection = new Projection({ code: round.crs, units: "m" });
    const [finest, coarsest] = round.zooms;
    const resolutions = Array.from({ length: coarsest - finest + 1 }, (_, z) => round.pixel_m * 2 ** (coarsest - z));
    const grid = new TileGrid({ origin: [0, 0], resolutions, tileSize: round.tile_px });
    this.tiles = new TileLayer({ source: this.source("true", projection, grid), background: "#24282d" });
    this.sourceOf = (colour) => this.source(colour, projection, grid);
    const layer = (source: VectorSource, kind?: Kind, vertices = false) =>
      new VectorLayer({
        source,
        updateWhileInteracting: true,
        updateWhileAnimating: true,
        style: (feature) => lined(kind ?? (feature.get("kind") as Kind), vertices),
      });
    const cross = new VectorLayer({ source: new VectorSource({ features: [this.cross] }), style: CROSS });
    this.map = new OlMap({
      layers: [this.tiles, layer(this.around), layer(this.own), layer(this.sketch as VectorSource, "drawn", true), cross],
      controls: [new ScaleLine()],
      interactions: defaultInteractions({ keyboard: false, altShiftDragRotate: false, pinchRotate: false }),
      view: new View({
        projection,
        resolution: round.pixel_m,
        minResolution: round.pixel_m * 2 ** finest,
        maxResolution: round.pixel_m * 2 ** coarsest,
        constrainResolution: false,
        enableRotation: false,
        center: [0, 0],
      }),
    });
    for (const interaction of this.map.getInteractions().getArray().slice())
      // while drawing a double click ends the ring
      if (interaction instanceof DoubleClickZoom) this.map.removeInteraction(interaction);
    this.modify = new Modify({ source: this.sketch, condition: primaryAction, pixelTolerance: 8 });
    this.modify.on("modifyend", () => this.take());
    this.modify.setActive(false);
    this.map.addInteraction(this.modify);
    this.snap = new Snap({ source: this.around, pixelTolerance: 6 });
    this.map.on("moveend", () => void this.load());
    this.map.on("singleclick", (event) => {
      if (this.drawing) return;
      const hit = this.map.forEachFeatureAtPixel(event.pixel, (f) => f, { hitTolerance: 5 });
      if (hit?.get("kind") === "other") this.on.pick(hit.get("name") as string);
    });
  }

  private sourceOf: (colour: string) => TileImage;

  private source(colour: string, projection: Projection, tileGrid: TileGrid): TileImage {
    const top = this.round.zooms[1];
    return new TileImage({
      projection,
      tileGrid,
      interpolate: true,
      transition: 0,
      tileUrlFunction: ([z, x, y]) => (this.round.mosaic ? `/tile/${colour}/${top - z!}/${x}/${y}` : undefined),
    });
  }

  colour(kind: string): void {
    if (this.tiles.get("colour") === kind) return;
    this.tiles.set("colour", kind);
    this.tiles.setSource(this.sourceOf(kind));
  }

  target(element: HTMLElement | null): void {
    this.map.setTarget(element ?? undefined);
    this.map.updateSize();
  }

  /** Show a candidate: its outline, what is known there, and the reviewer's drawing. */
  show(candidate: Candidate, mine: Outline | null): void {
    this.own.clear();
    for (const { geometry } of candidate.readings) if (geometry) this.own.addFeature(this.feature(geometry, "read"));
    if (candidate.known) this.own.addFeature(this.feature(candidate.known, "known"));
    this.own.addFeature(this.feature(candidate.outline, "candidate"));
    if (mine) this.own.addFeature(this.feature(mine, "drawn"));
  }

  fit(bounds: [number, number, number, number], grow = 1.5): void {
    const [west, south, east, north] = bounds;
    const size = this.map.getSize() ?? [400, 400];
    const view = this.map.getView();
    view.setCenter([(west + east) / 2, (south + north) / 2]);
    view.setResolution(Math.max(((east - west) * grow) / size[0]!, ((north - south) * grow) / size[1]!, this.round.pixel_m * 2 ** this.round.zooms[0]));
  }

  pan(dx: number, dy: number): void {
    const view = this.map.getView();
    const [x, y] = view.getCenter() as XY;
    const step = view.getResolution()! * 80;
    view.setCenter([x + dx * step, y + dy * step]);
  }

  zoom(factor: number): void {
    this.map.getView().adjustResolution(factor);
  }

  private feature(outline: Outline, kind: Kind, name = ""): Feature {
    const feature = this.format.readFeature({ type: "Feature", geometry: outline, properties: {} }) as Feature;
    feature.setProperties({ kind, name });
    return feature;
  }

  /** Ask for the outlines in view; `again` after a verdict. */
  async load(again = false): Promise<void> {
    const size = this.map.getSize();
    if (!size?.[0] || !size[1]) return;
    const view = this.map.getView().calculateExtent(size) as [number, number, number, number];
    if (view[2] - view[0] > WIDEST_AROUND_M) {
      this.around.clear();
      this.asked = "";
      return;
    }
    const [west, south, east, north] = view.map((value, at) => Math.round(value + (at < 2 ? -200 : 200)));
    const query = `west=${west}&south=${south}&east=${east}&north=${north}`;
    if (query === this.asked && !again) return;
    this.asked = query;
    let found: Around;
    try {
      found = await get<Around>(`/api/around?${query}`);
    } catch {
      this.asked = "";
      return;
    }
    if (query !== this.asked) return;
    this.around.clear();
    this.around.addFeatures([
      ...found.earlier.map((o) => this.feature(o.outline, o.kind === "positive" ? "slump" : "refused", o.id)),
      ...found.candidates.filter((o) => o.id !== this.current).map((o) => this.feature(o.outline, "other", o.id)),
      ...found.missed.filter((o) => o.geometry).map((o) => this.feature(o.geometry!, "missed", o.candidate_id)),
    ]);
  }

  current = "";

  // Drawing

  start(drawing: Drawing, tool: Tool): void {
    this.drawing = drawing;
    // pixels and coordinates have no relation before the first frame
    this.map.renderSync();
    this.own.getFeatures().forEach((f) => f.get("kind") === "drawn" && this.own.removeFeature(f));
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
        geometry.on("change", () => this.on.sketched(this.ring(geometry)));
      });
      draw.on("drawend", (event) => {
        const ring = (event.feature.getGeometry() as Polygon).getCoordinates()[0] as Ring;
        this.on.sketched([]);
        // the interaction clears its own sketch after this event
        setTimeout(() => this.apply(ring));
      });
      draw.on("drawabort", () => this.on.sketched([]));
      this.draw = draw;
      this.map.addInteraction(draw);
      this.map.addInteraction(this.snap);
    }
    this.on.changed();
  }

  private apply(ring: Ring): void {
    if (!this.drawing || ring.length < 4) return;
    this.drawing.apply(this.tool === "cut" ? "cut" : "add", ring);
    this.refresh();
    this.on.changed();
  }

  private points = 0;

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
    this.points = 0;
  }

  /** Close the new area; false where it has fewer than three vertices. */
  close(): boolean {
    if (this.points < 3) return false;
    this.draw?.finishDrawing();
    this.points = 0;
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
    const to: XY = [at[0] + dx * this.round.pixel_m, at[1] + dy * this.round.pixel_m];
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

const CROSS = [
  new Style({ image: new RegularShape({ points: 4, radius: 12, radius2: 0, stroke: new Stroke({ color: "#000", width: 4 }) }) }),
  new Style({ image: new RegularShape({ points: 4, radius: 12, radius2: 0, stroke: new Stroke({ color: "#fff", width: 1.5 }) }) }),
];
const SKETCH = [
  new Style({ stroke: new Stroke({ color: HALO, width: 4 }) }),
  new Style({
    stroke: new Stroke({ color: LINES.drawn.colour, width: 2, lineDash: [6, 4] }),
    fill: new Fill({ color: "rgba(230,159,0,.12)" }),
    image: new Circle({ radius: 4, fill: new Fill({ color: LINES.drawn.colour }), stroke: new Stroke({ color: "#000", width: 1 }) }),
  }),
];
