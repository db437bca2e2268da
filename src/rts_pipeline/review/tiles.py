"""The mosaic as tiles on its own grid: no reprojection, one stretch for all, transparent where nothing was observed.

Tile (z, x, y) holds TILE_PX x TILE_PX pixels, each 2^z pixels of the grid wide; x counts to the east, y to the south from the
origin of the CRS, so both follow from the grid alone (north of the equator y is negative).
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property, lru_cache
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from shapely import box

from rts_pipeline.config import BANDS
from rts_pipeline.grid import GeoBox, Grid
from rts_pipeline.imagery import COLOURS, Limits, compose, stretch
from rts_pipeline.io.rasters import GDAL_OPTIONS
from rts_pipeline.source_map import SUFFIX

TILE_PX = 256
MAX_ZOOM = 6
"""Coarsest tiles: 64 x 64 pixels of the grid in one. Cells begin at multiples of 64 pixels, so no zoom cuts a tile's pixel."""
MIN_ZOOM, HALO_PX = -3, 3
"""Finest tiles, eight pixels for one of the grid, and what is read beyond their edges: they are enlarged here, since a browser
that enlarges tile by tile shows their seams."""
SAMPLE_CELLS, SAMPLE_PX = 24, 128
"""Cells, and pixels along their edge, that the stretch is taken from."""
CACHED = 512
"""Tiles kept, about 15 kB each."""
QUALITY, METHOD = 85, 1


class Mosaic:
    """The mosaic of the target year."""

    def __init__(self, folder: Path, grid: Grid) -> None:
        """Take the cells that lie in `folder`, which may be missing."""
        self.folder, self.grid = folder, grid
        self.cells = sorted(p.stem for p in folder.glob("*.tif") if not p.name.endswith(SUFFIX) and not p.name.startswith("."))
        self.tile = lru_cache(maxsize=CACHED)(self._tile)

    @cached_property
    def limits(self) -> Limits:
        """The stretch of all tiles: percentiles of observed pixels of cells all over the region."""
        step = max(1, len(self.cells) // SAMPLE_CELLS)
        samples = [self._read(name, None, (SAMPLE_PX, SAMPLE_PX)) for name in self.cells[::step]]
        values = np.concatenate([sample.reshape(len(BANDS), -1) for sample in samples], axis=1)
        observed = np.asarray((values > 0).all(axis=0))
        if not observed.any():
            return dict.fromkeys(BANDS, (0.0, 1.0))
        return stretch(dict(zip(BANDS, values, strict=True)), observed)

    def _tile(self, colour: str, z: int, x: int, y: int) -> bytes | None:
        """Return a tile as WebP; None where there is no pixel.

        Args:
            colour: a name in COLOURS.
            z: zoom, MIN_ZOOM to MAX_ZOOM.
            x: column of the tile.
            y: row of the tile.
        """
        enlarged, z = 1 << max(0, -z), max(0, z)
        edge, halo = (TILE_PX << z) // enlarged, HALO_PX if enlarged > 1 else 0
        ground = GeoBox("tile", self.grid.crs, self.grid.pixel_m, x * edge, y * edge, edge, edge).grown(halo)
        values = np.zeros((len(BANDS), ground.height >> z, ground.width >> z), np.uint16)
        for cell, part in self._parts(ground):
            rows, columns = (slice(s.start >> z, s.stop >> z) for s in ground.slices_of(part))
            shape = (rows.stop - rows.start, columns.stop - columns.start)
            values[:, rows, columns] = self._read(cell.id, cell.window_of(part), shape)
        observed = np.asarray(values.any(axis=0))
        return self._encoded(values, observed, colour, enlarged, halo) if observed.any() else None

    def _parts(self, ground: GeoBox) -> Iterator[tuple[GeoBox, GeoBox]]:
        known = set(self.cells)
        for name in self.grid.cells_touching(box(*ground.bounds)):
            if name in known and (part := (cell := self.grid.cell(name)).intersection(ground)):
                yield cell, part

    def _read(self, cell: str, window: Any, shape: tuple[int, int]) -> NDArray[np.uint16]:
        # not before a map is looked at
        import rasterio
        from rasterio.enums import Resampling

        with rasterio.Env(**GDAL_OPTIONS), rasterio.open(self.folder / f"{cell}.tif") as dataset:
            out = (len(BANDS), *shape)
            values: NDArray[np.uint16] = dataset.read(window=window, out_shape=out, resampling=Resampling.average)
        return values

    def _encoded(self, values: NDArray[np.uint16], observed: NDArray[np.bool_], colour: str, enlarged: int, halo: int) -> bytes:
        picture = Image.fromarray(compose(dict(zip(BANDS, values, strict=True)), COLOURS[colour], self.limits, observed))
        alpha = Image.fromarray(np.where(observed, 255, 0).astype(np.uint8))
        box = (halo, halo, picture.width - halo, picture.height - halo)
        size = (TILE_PX, TILE_PX)
        if enlarged > 1:
            picture, alpha = (
                picture.resize(size, Image.Resampling.BICUBIC, box),
                alpha.resize(size, Image.Resampling.NEAREST, box),
            )
        picture.putalpha(alpha)
        target = BytesIO()
        picture.save(target, "WEBP", quality=QUALITY, method=METHOD)
        return target.getvalue()
