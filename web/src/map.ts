import OlMap from "ol/Map";
import View from "ol/View";
import Feature from "ol/Feature";
import GeoJSON from "ol/format/GeoJSON";
import { defaults as defaultInteractions, DoubleClickZoom } from "ol/interaction";
import TileLayer from "ol/layer/Tile";
import VectorLayer from "ol/layer/Vector";
import Projection from "ol/proj/Projection";
import { ScaleLine } from "ol/control";
import TileImage from "ol/source/TileImage";
import VectorSource from "ol/source/Vector";
import TileGrid from "ol/tilegrid/TileGrid";
import { get } from "./api";
import { lined, type Kind } from "./mapstyle";
import type { Drawing } from "./outline";
import { Pen, type PenEvents, type Tool } from "./pen";
import type { Around, Candidate, Outline, Round, Standing, XY } from "./types";

const WIDEST_AROUND_M = 30_000;
const NOTHING: Around = { candidates: [], earlier: [] };

/** The map: mosaic on its own grid, outlines around, and the outline that is being drawn. */
export class ReviewMap {
  readonly map: OlMap;
  private readonly format = new GeoJSON();
  private readonly tiles: TileLayer<TileImage>;
  private readonly around = new VectorSource();
  private readonly own = new VectorSource();
  readonly pen: Pen;
  private asked = "";
  private questions = 0;
  private found = NOTHING;
  private added: Standing[] = [];
  private candidate = "";

  constructor(
    private readonly round: Round,
    private readonly on: PenEvents & { pick: (id: string) => void },
  ) {
    const projection = new Projection({ code: round.crs, units: "m" });
    const [finest, coarsest] = round.zooms;
    const resolutions = Array.from({ length: coarsest - finest + 1 }, (_, z) => round.pixel_m * 2 ** (coarsest - z));
    const grid = new TileGrid({ origin: [0, 0], resolutions, tileSize: round.tile_px });
    this.tiles = new TileLayer({ source: this.source("true", projection, grid), background: "#24282d" });
    this.sourceOf = (colour) => this.source(colour, projection, grid);
    const layer = (source: VectorSource) =>
      new VectorLayer({
        source,
        updateWhileInteracting: true,
        updateWhileAnimating: true,
        style: (feature) => (feature.get("name") === this.candidate ? undefined : lined(feature.get("kind") as Kind)),
      });
    this.map = new OlMap({
      layers: [this.tiles, layer(this.around), layer(this.own)],
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
    this.pen = new Pen(this.map, this.around, round.pixel_m, on);
    this.map.on("moveend", () => void this.load());
    this.map.on("singleclick", (event) => {
      if (this.pen.drawing) return;
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

  /** Show the mosaic in the colours that go with a kind of pictures. */
  colour(kind: string): void {
    const colour = kind === "false" ? "false" : "true";
    if (this.tiles.get("colour") === colour) return;
    this.tiles.set("colour", colour);
    this.tiles.setSource(this.sourceOf(colour));
  }

  target(element: HTMLElement | null): void {
    this.map.setTarget(element ?? undefined);
    this.map.updateSize();
  }

  /** Show a candidate: its outline (a window's is its frame), what is known there, and the reviewer's drawing. */
  show(candidate: Candidate): void {
    this.candidate = candidate.id;
    this.around.changed();
    this.own.clear();
    for (const { geometry } of candidate.readings) if (geometry) this.own.addFeature(this.feature(geometry, "read"));
    if (candidate.known) this.own.addFeature(this.feature(candidate.known, "known"));
    this.own.addFeature(this.feature(candidate.outline, "candidate"));
    if (candidate.mine?.geometry) this.own.addFeature(this.feature(candidate.mine.geometry, "drawn"));
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

  /** Show the slumps that the reviewer added. */
  add(added: Standing[]): void {
    this.added = added;
    this.surround();
  }

  /** Draw what lies around the candidate in view, which itself is drawn apart. */
  private surround(): void {
    this.around.clear();
    this.around.addFeatures([
      ...this.found.earlier.map((o) => this.feature(o.outline, o.kind === "positive" ? "slump" : "refused", o.id)),
      ...this.found.candidates.map((o) => this.feature(o.outline, "other", o.id)),
      ...this.added.filter((o) => o.geometry).map((o) => this.feature(o.geometry!, "missed", o.candidate_id)),
    ]);
  }

  /** Ask for the outlines in view. */
  private async load(): Promise<void> {
    const size = this.map.getSize();
    if (!size?.[0] || !size[1]) return;
    const [west, south, east, north] = (this.map.getView().calculateExtent(size) as [number, number, number, number]).map(
      (value, at) => Math.round(value + (at < 2 ? -200 : 200)),
    ) as [number, number, number, number];
    const query = east - west > WIDEST_AROUND_M ? "" : `west=${west}&south=${south}&east=${east}&north=${north}`;
    if (query === this.asked) return;
    this.asked = query;
    // answers may overtake each other: only that to the last question counts
    const question = ++this.questions;
    const found = query ? await get<Around>(`/api/around?${query}`).catch(() => null) : NOTHING;
    if (question !== this.questions) return;
    if (!found) {
      this.asked = "";
      return;
    }
    this.found = found;
    this.surround();
  }

  /** Draw an outline in place of the one that the reviewer drew before. */
  start(drawing: Drawing, tool: Tool): void {
    this.own.getFeatures().forEach((f) => f.get("kind") === "drawn" && this.own.removeFeature(f));
    this.pen.start(drawing, tool);
  }
}
