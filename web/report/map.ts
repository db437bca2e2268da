import OlMap from "ol/Map";
import View from "ol/View";
import type Feature from "ol/Feature";
import GeoJSON from "ol/format/GeoJSON";
import Point from "ol/geom/Point";
import { defaults as defaultControls, ScaleLine } from "ol/control";
import ImageLayer from "ol/layer/Image";
import VectorLayer from "ol/layer/Vector";
import Projection from "ol/proj/Projection";
import Static from "ol/source/ImageStatic";
import VectorSource from "ol/source/Vector";
import { Circle, Fill, Stroke, Style } from "ol/style";

interface Classes {
  /** column of a slump's properties */
  column: string;
  label: string;
  /** value -> colour, in the order of the legend */
  colours: [string, string][];
}

interface Data {
  crs: string;
  extent: [number, number, number, number];
  area: object;
  slumps: object;
  observed: { extent: [number, number, number, number]; uri: string };
  classes: Classes[];
  /** column -> what it is called in the table of a slump */
  told: [string, string][];
}

const INK = "#1c2b36";
/** Outlines narrower than this on the screen are drawn as points too. */
const SMALLEST_PX = 7;

function byId<T extends HTMLElement>(id: string): T {
  return document.getElementById(id) as T;
}

function styled(colour: string, chosen: boolean): (feature: Feature, resolution: number) => Style[] {
  const line = new Stroke({ color: chosen ? "#000" : colour, width: chosen ? 3 : 1.5 });
  const area = new Style({ stroke: line, fill: new Fill({ color: `${colour}55` }), zIndex: chosen ? 2 : 1 });
  const image = new Circle({ radius: chosen ? 6 : 4, fill: new Fill({ color: colour }), stroke: new Stroke({ color: chosen ? "#000" : "#fff", width: chosen ? 2 : 1 }) });
  return (feature, resolution) => {
    const [west, south, east, north] = feature.getGeometry()!.getExtent() as [number, number, number, number];
    if (Math.max(east - west, north - south) / resolution >= SMALLEST_PX) return [area];
    return [area, new Style({ geometry: new Point([(west + east) / 2, (south + north) / 2]), image, zIndex: chosen ? 3 : 2 })];
  };
}

function start(data: Data): void {
  // shown first: a map needs its place on the page
  byId("interactive").hidden = false;
  const projection = new Projection({ code: data.crs, units: "m" });
  const format = new GeoJSON();
  const slumps = new VectorSource({ features: format.readFeatures(data.slumps) as Feature[] });
  const area = new VectorSource({ features: format.readFeatures(data.area) as Feature[] });
  const choice = byId<HTMLSelectElement>("map-colour");
  let classes = data.classes[0]!;
  let chosen: Feature | null = null;
  const styles = new Map<string, ReturnType<typeof styled>>();
  const styleOf = (feature: Feature, resolution: number) => {
    const colour = classes.colours.find(([value]) => value === String(feature.get(classes.column)))?.[1] ?? "#8c8c8c";
    const key = `${colour}${feature === chosen}`;
    if (!styles.has(key)) styles.set(key, styled(colour, feature === chosen));
    return styles.get(key)!(feature, resolution);
  };
  const layer = new VectorLayer({ source: slumps, style: (f, resolution) => styleOf(f as Feature, resolution) });
  const map = new OlMap({
    target: "map",
    layers: [
      new VectorLayer({ source: area, style: new Style({ fill: new Fill({ color: "#c9ced1" }) }) }),
      new ImageLayer({ source: new Static({ url: data.observed.uri, imageExtent: data.observed.extent, projection, interpolate: false }) }),
      new VectorLayer({ source: area, style: new Style({ stroke: new Stroke({ color: INK, width: 1.5 }) }) }),
      layer,
    ],
    controls: defaultControls({ attribution: false, rotate: false }).extend([new ScaleLine()]),
    view: new View({ projection, enableRotation: false, minResolution: 0.5 }),
  });
  const whole = () => map.getView().fit(data.extent, { padding: [16, 16, 16, 16] });
  whole();

  const choose = (feature: Feature | null) => {
    chosen = feature;
    layer.changed();
    const table = byId("map-told");
    table.replaceChildren();
    if (!feature) return;
    for (const [column, label] of data.told) {
      const value = feature.get(column) as string | number | null;
      if (value === null || value === undefined || value === "") continue;
      const [term, said] = [document.createElement("dt"), document.createElement("dd")];
      term.textContent = label;
      said.textContent = String(value);
      table.append(term, said);
    }
  };
  const legend = () => {
    const counts = new Map<string, number>();
    for (const feature of slumps.getFeatures()) {
      const value = String(feature.get(classes.column));
      counts.set(value, (counts.get(value) ?? 0) + 1);
    }
    const rows = classes.colours.filter(([value]) => counts.has(value));
    byId("map-legend").replaceChildren(
      ...rows.map(([value, colour]) => {
        const [row, patch] = [document.createElement("span"), document.createElement("i")];
        patch.style.background = colour;
        row.append(patch, `${value} (${counts.get(value)})`);
        return row;
      }),
    );
  };
  for (const one of data.classes) choice.add(new Option(one.label));
  choice.onchange = () => {
    classes = data.classes[choice.selectedIndex]!;
    layer.changed();
    legend();
  };
  legend();
  byId("map-whole").onclick = whole;
  const wanted = byId<HTMLInputElement>("map-go");
  wanted.onchange = () => {
    const found = slumps.getFeatures().find((feature) => String(feature.get("rts_id")) === wanted.value.trim());
    choose(found ?? null);
    if (found) map.getView().fit(found.getGeometry()!.getExtent(), { padding: [120, 120, 120, 120], minResolution: 2 });
    else byId("map-told").textContent = wanted.value ? `There is no slump ${wanted.value}.` : "";
  };
  map.on("singleclick", (event) => {
    choose((map.forEachFeatureAtPixel(event.pixel, (f) => f as Feature, { hitTolerance: 6, layerFilter: (l) => l === layer }) as Feature | undefined) ?? null);
  });
  map.on("pointermove", (event) => {
    const over = map.hasFeatureAtPixel(event.pixel, { hitTolerance: 6, layerFilter: (l) => l === layer });
    map.getTargetElement()!.style.cursor = over ? "pointer" : "";
  });
}

start(JSON.parse(byId("map-data").textContent ?? "") as Data);
