import type MultiPolygon from "ol/geom/MultiPolygon";
import MultiPoint from "ol/geom/MultiPoint";
import { Circle, Fill, RegularShape, Stroke, Style } from "ol/style";
import { HALO, LINES } from "./colours";

export type Kind = keyof typeof LINES;

export function lined(kind: Kind, vertices = false): Style[] {
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

export const CROSS = [
  new Style({ image: new RegularShape({ points: 4, radius: 12, radius2: 0, stroke: new Stroke({ color: "#000", width: 4 }) }) }),
  new Style({ image: new RegularShape({ points: 4, radius: 12, radius2: 0, stroke: new Stroke({ color: "#fff", width: 1.5 }) }) }),
];
export const SKETCH = [
  new Style({ stroke: new Stroke({ color: HALO, width: 4 }) }),
  new Style({
    stroke: new Stroke({ color: LINES.drawn.colour, width: 2, lineDash: [6, 4] }),
    fill: new Fill({ color: "rgba(230,159,0,.12)" }),
    image: new Circle({ radius: 4, fill: new Fill({ color: LINES.drawn.colour }), stroke: new Stroke({ color: "#000", width: 1 }) }),
  }),
];
