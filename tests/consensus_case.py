"""People who draw slumps: rectangles on a corner of the Peel Plateau, in a file each."""

import geopandas as gpd
from shapely import box

from rts_pipeline.review.consensus import build
from rts_pipeline.review.consensus.drawings import read_drawings

CRS = "EPSG:32608"
EAST, NORTH = 471_000, 7_549_000


def rectangle(west, south, east, north):
    return box(EAST + west, NORTH + south, EAST + east, NORTH + north)


def write(folder, people, suffix=".gpkg", crs=CRS):
    """One file for each person; a list of files, by name."""
    files = []
    for name, shapes in sorted(people.items()):
        path = folder / f"{name}{suffix}"
        gpd.GeoDataFrame({"id": range(len(shapes))}, geometry=list(shapes), crs=CRS).to_crs(crs).to_file(path)
        files.append(path)
    return files


def derive(folder, people, looked=None, min_area_m2=100.0):
    """Without writing: most tests look at what was found."""
    folder.mkdir(parents=True, exist_ok=True)
    drawings = read_drawings(write(folder, people), column=None, looked=looked, min_area_m2=min_area_m2)
    return build.derive(drawings, min_area_m2)


def drawn_by(found):
    return found.layers.consensus["n_drew"].tolist()
