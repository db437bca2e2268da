"""Potential solar radiation beside GRASS GIS's r.sun, on a real DEM.

    python bench/solar.py baltoro_srtm_clip.tif

needs GRASS GIS 8 (apt-get install grass-core). Circles at random in a square of the DEM's middle in its UTM zone, the same 24
days of the year; r.sun traces shadows itself, in the square and MARGIN_PX around it. First without an atmosphere (Linke
turbidity 0), where both sum up the same geometry: sun, slope, aspect, shadow. Then with each one's own: ours of Kumar et al.
1997 and Liu & Jordan 1960, theirs of the European Solar Radiation Atlas, which also knows how turbid the air is.
"""

from __future__ import annotations

import argparse
import subprocess
import tempfile
import time
from pathlib import Path
from unittest import mock

import geopandas as gpd
import numpy as np
import rasterio
import shapely
from exactextract import exact_extract
from rasterio.warp import transform_bounds

from rts_pipeline.inventory import solar, sun

PX, MARGIN_PX, RADIUS_PX = 80, 40, 2.0
"""Edge of the square, ground around it and radius of the circles in the DEM's pixels."""
GENTLE_DEG = 30.0
GRASS = """
set -e
r.in.gdal -o --quiet input={dem} output=dem
g.region {wider} align=dem
r.slope.aspect --quiet elevation=dem slope=slope aspect=aspect
g.region {wide} align=dem
for day in {days}; do
  common="elevation=dem slope=slope aspect=aspect albedo_value=0 step=0.25 solar_constant={constant} day=$day"
  r.sun --quiet $common linke_value=0 beam_rad=bare_$day
  r.sun --quiet $common linke_value={linke} beam_rad=beam_$day diff_rad=sky_$day
done
r.out.gdal --quiet -c -f input=slope output={folder}/slope.tif type=Float32 format=GTiff
for kind in bare beam sky; do
  r.series --quiet input=$(g.list type=raster pattern="${{kind}}_*" separator=comma) output=sum_$kind method=sum
  r.mapcalc --quiet "year_$kind = sum_$kind * 365.0 / {n_days} / 1000"
  r.out.gdal --quiet -c -f input=year_$kind output={folder}/$kind.tif type=Float32 format=GTiff
done
"""


def utm_dem(dem: Path, folder: Path) -> tuple[Path, tuple[float, float, float, float], float]:
    """Write the DEM in its UTM zone; return it, the square of its middle, and the edge of a pixel."""
    with rasterio.open(dem) as source:
        corners = transform_bounds(source.crs, "EPSG:4326", *source.bounds)
    crs = gpd.GeoSeries([shapely.box(*corners)], crs=4326).estimate_utm_crs()
    path = folder / "dem.tif"
    warp = ["gdalwarp", "-q", "-t_srs", crs.to_string(), "-r", "bilinear", "-ot", "Float32", "-dstnodata", "-9999"]
    subprocess.run([*warp, "-tr", "90", "90", str(dem), str(path)], check=True)
    with rasterio.open(path) as raster:
        column, row, pixel_m = (raster.width - PX) // 2, (raster.height - PX) // 2, raster.transform.a
        west, north = raster.transform @ (column, row)
    return path, (west, north - PX * pixel_m, west + PX * pixel_m, north), pixel_m


def region(square: tuple[float, float, float, float], margin_m: float) -> str:
    """Return the square, made wider, as GRASS is told it."""
    west, south, east, north = square
    return f"w={west - margin_m} s={south - margin_m} e={east + margin_m} n={north + margin_m}"


def bare(position: sun.Sun, _elevation_m: float, gradient: np.ndarray, skyline: np.ndarray) -> np.ndarray:
    """Return the direct radiation without an atmosphere."""
    return sun.direct(position, position.energy, gradient, skyline)


def told(what: str, ours: np.ndarray, theirs: np.ndarray) -> None:
    """Print how two estimates of the same slumps differ."""
    ratio = ours / theirs
    spread = f"{100 * (ratio.mean() - 1):+.1f} % +- {100 * ratio.std():.1f} %, {100 * np.abs(ratio - 1).max():.1f} % at most"
    means = f"{ours.mean():.0f} and {theirs.mean():.0f} kWh/m2/yr"
    print(f"  {what}, {len(ours)}: {means}; {spread}; r {np.corrcoef(ours, theirs)[0, 1]:.4f}", flush=True)


def main() -> None:
    """Compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dem", type=Path)
    parser.add_argument("--circles", type=int, default=200)
    parser.add_argument("--linke", type=float, default=2.0, help="turbidity: 2 for clean mountain air")
    given = parser.parse_args()
    margins = {"wide": MARGIN_PX, "wider": MARGIN_PX + 1}
    days = [round(0.5 + (k + 0.5) * 365 / sun.DAYS) for k in range(sun.DAYS)]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        dem, square, pixel_m = utm_dem(given.dem, folder)
        script = folder / "compare.sh"
        script.write_text(
            GRASS.format(
                **{"dem": dem, "folder": folder, "linke": given.linke, "n_days": sun.DAYS, "days": " ".join(map(str, days))},
                **{name: region(square, pixels * pixel_m) for name, pixels in margins.items()},
                constant=sun.SOLAR_CONSTANT_W_M2,
            )
        )
        subprocess.run(["grass", "--tmp-location", str(dem), "--exec", "bash", str(script)], check=True, capture_output=True)
        west, south, east, north = square
        inner = 3 * pixel_m
        random = np.random.default_rng(0)
        places = random.uniform((west + inner, south + inner), (east - inner, north - inner), (given.circles, 2))
        with rasterio.open(dem) as raster:
            circles = gpd.GeoSeries(shapely.buffer(shapely.points(places), RADIUS_PX * pixel_m), crs=raster.crs)
        frame = gpd.GeoDataFrame(geometry=circles)
        theirs = {
            kind: exact_extract(folder / f"{kind}.tif", frame, "mean", output="pandas")["mean"].to_numpy()
            for kind in ("bare", "beam", "sky", "slope")
        }
        start = time.process_time()
        ours = solar.solar_radiation(circles, dem)
        print(f"{1000 * (time.process_time() - start) / len(circles):.0f} ms of CPU a circle")
        with mock.patch.object(solar, "potential_radiation", bare):
            ours_bare = solar.solar_radiation(circles, dem)
        theirs["whole"], gentle = theirs["beam"] + theirs["sky"], theirs["slope"] < GENTLE_DEG
        for name, mine, other in (
            ("without an atmosphere, direct", ours_bare, theirs["bare"]),
            (f"with each one's (Linke {given.linke:g})", ours, theirs["whole"]),
        ):
            print(name)
            told("all circles", mine, other)
            told(f"slope below {GENTLE_DEG:.0f} degrees", mine[gentle], other[gentle])


if __name__ == "__main__":
    main()
