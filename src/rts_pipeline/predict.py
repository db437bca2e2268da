"""Stage `predict`: the probability of a slump for every observed pixel of a block.

Reading, computing and writing overlap: the next windows are read and the last ones written while the network works.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import rasterio

from rts_pipeline import progress
from rts_pipeline.cells import Mosaics
from rts_pipeline.config import Inference
from rts_pipeline.engines import open_engine
from rts_pipeline.grid import GeoBox
from rts_pipeline.io.rasters import BLOCK_PX, new_cog
from rts_pipeline.lattice import Strip, probabilities
from rts_pipeline.metrics.pixels import NODATA
from rts_pipeline.model_folder import model_facts
from rts_pipeline.options import PredictOptions

if TYPE_CHECKING:
    from rasterio.io import DatasetWriter


def predict(block: GeoBox, model: Path, mosaics: Sequence[Path], out: Path, options: PredictOptions, where: Inference) -> None:
    """Write the probabilities of a block.

    Args:
        block: the block.
        model: folder with model.json, network.onnx and, for a GPU, weights.pt.
        mosaics: mosaics of the block's cells and, as far as they exist, of the cells around it.
        out: COG uint8 on the block: probability x 250, 255 = not observed (nodata).
        options: the stage's options.
        where: the device.

    Raises:
        InputError: files of the model that are missing or were changed, or a network whose answer is no number; a mosaic that
            is damaged, lies on another grid or lacks a band; a disk that is full.
        UsageError: a GPU that isn't there.
    """
    layout: dict[str, Any] = {**block.profile, "count": 1, "dtype": "uint8", "nodata": NODATA}
    # Nearest: each value of an overview is one that was predicted, and averages cost more. Level 1 takes half the time of 6,
    # and most of the block is 0 or 255.
    with new_cog(out, overview_resampling="nearest", level=1, **layout) as dataset:
        # Network and mosaics are gone before GDAL makes the COG, for which it takes memory too.
        _fill(dataset, block, model, mosaics, options, where)


def _fill(
    dataset: DatasetWriter, block: GeoBox, model: Path, mosaics: Sequence[Path], options: PredictOptions, where: Inference
) -> None:
    facts, setting, grid = model_facts(model), options.predict, options.grid.grid()
    engine = open_engine(model, facts, setting, where)
    seen = Strip.around(block, setting).box
    near = [path for path in mosaics if grid.cell(path.stem).intersection(seen)]
    across_px = engine.wide * (setting.window_px - setting.overlap_px) + setting.overlap_px
    with (
        rasterio.Env(GDAL_CACHEMAX=_cache_bytes(across_px, len(facts["bands"]))),
        Mosaics(near, grid, facts["bands"], engine.readers, 2 * (across_px // grid.cell_px + 2)) as reader,
        ThreadPoolExecutor(1) as writer,
    ):
        reader.check()
        parts = probabilities(block, reader, engine, setting)
        written: Future[None] | None = None
        for part, values in progress.track(parts, _km2(block), f"predict {block.id}", "km2", lambda done: _km2(done[0])):
            if written is not None:
                written.result()
            written = writer.submit(dataset.write, values, 1, window=block.window_of(part))
        if written is not None:
            written.result()


def _cache_bytes(across_px: int, bands: int) -> int:
    """Return what two rows of a mosaic's blocks take (a row of windows may lie in two), and 4 MiB for what is written."""
    n_blocks = 2 * (across_px // BLOCK_PX + 2)
    return n_blocks * BLOCK_PX**2 * bands * 2 + 4 * 2**20


def _km2(box: GeoBox) -> float:
    return box.width * box.height * box.pixel_m**2 / 1e6
