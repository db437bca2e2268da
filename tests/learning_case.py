"""A tiny world: mosaics of a few cells with bright round slumps, their seeds and options."""

from dataclasses import dataclass
from pathlib import Path

import geopandas as gpd
import numpy as np
import shapely

from rts_pipeline import config, io
from rts_pipeline.chips import build_chips
from rts_pipeline.grid import Grid
from rts_pipeline.labels import build_labels
from rts_pipeline.options import ChipsOptions, LabelsOptions

CELL_PX = 128
CRS = "EPSG:32646"
WEST, NORTH = 10, 20
BANDS = ["blue", "green", "red", "nir"]
MEAN, STD = [600.0, 900.0, 1100.0, 2200.0], [50.0, 50.0, 50.0, 100.0]
"""Of the bands, as a network is told them."""


@dataclass
class World:
    folder: Path
    grid: Grid
    mosaics: list[Path]
    pixels: np.ndarray
    slumps: list[shapely.Polygon]
    column: int
    row: int

    @property
    def section(self):
        return config.GridSection(crs=CRS, cell_px=self.grid.cell_px, block_cells=self.grid.block_cells)

    @property
    def seeds(self):
        return self.folder / "seeds.gpkg"

    def mosaic(self, name):
        return self.folder / f"{name}.tif"


def make_world(folder, *, cells=3, block_cells=3, step=48, seed=0, gap=None):
    """Write cells x cells mosaics and seeds; `gap` (rows, columns) slices of the whole are not observed."""
    grid = Grid(CRS, 3.0, CELL_PX, block_cells)
    random = np.random.default_rng(seed)
    size = cells * CELL_PX
    column, row = WEST * CELL_PX, -(NORTH + cells) * CELL_PX
    pixels = random.normal([[[600]], [[900]], [[1100]], [[2200]]], 40, (4, size, size))
    rows, columns = np.mgrid[:size, :size] + 0.5
    slumps = []
    for y in range(step // 2, size, step):
        for x in range(step // 2, size, step):
            radius = random.uniform(5, 9)
            pixels[:, (rows - y) ** 2 + (columns - x) ** 2 < radius**2] += np.array([[300], [400], [600], [-700]])
            slumps.append(shapely.Point((column + x) * 3, -(row + y) * 3).buffer(radius * 3))
    pixels = pixels.clip(1, 9000).astype(np.uint16)
    if gap is not None:
        pixels[(slice(None), *gap)] = 0
    world = World(folder, grid, [], pixels, slumps, column, row)
    for j in range(cells):
        for i in range(cells):
            world.mosaics.append(write_mosaic(world, f"e{WEST + i:04d}_n{NORTH + j:04d}"))
    gpd.GeoDataFrame(geometry=slumps, crs=CRS).to_file(world.seeds)
    return world


def make_windows(folder):
    """Return a world of 2 x 2 cells with labels.parquet (one rejected, one unsure outline) and chips.parquet."""
    world = make_world(folder, cells=2, gap=(slice(0, 20), slice(0, 60)))
    rows = [
        review_row("r01-0001", "reject", world.slumps[3].buffer(20)),
        review_row("r01-0002", "unsure", world.slumps[5].buffer(30)),
    ]
    review = write_review(folder / "reviewed.parquet", rows)
    build_labels(world.seeds, [review], folder / "labels.parquet", LabelsOptions(grid=world.section))
    chips = config.Chips(
        size_px=64, stride_px=32, buffer_m=10, background_reach_m=100, block_m=192, validation_fraction=0.3, guard_px=0
    )
    options = ChipsOptions(grid=world.section, chips=chips)
    build_chips(folder / "labels.parquet", world.mosaics, folder / "chips.parquet", options)
    return world


def write_mosaic(world, name, bands=("blue", "green", "red", "nir")):
    cell = world.grid.cell(name)
    top, left = cell.row - world.row, cell.column - world.column
    part = world.pixels[: len(bands), top : top + cell.height, left : left + cell.width]
    with io.new_cog(world.mosaic(name), count=len(bands), dtype="uint16", nodata=0, **cell.profile) as dataset:
        dataset.write(part)
        dataset.descriptions = bands
    return world.mosaic(name)


def write_network(world, folder, bands, encoder, members=1):
    """Write a model folder with random weights of a real network, whose probabilities go from 0 to 1 all the same."""
    import torch

    from rts_pipeline.learning.inputs import Inputs, Normalisation
    from rts_pipeline.learning.network import Ensemble, Exported, build_network, export_onnx, save_weights

    torch.manual_seed(0)
    torch.set_num_threads(1)
    folder.mkdir()
    places = [BANDS.index(band) for band in bands]
    mean, std = ([values[place] for place in places] for values in (MEAN, STD))
    inputs = Inputs(bands, Normalisation(mean, std))
    network = Ensemble([build_network("deeplabv3+", encoder, len(bands)) for _ in range(members)]).eval()
    example = world.pixels[None, places, -128:, -128:].astype(np.float32)
    with torch.inference_mode():
        logits = network(inputs(torch.from_numpy(example))[0])
        for member in network.members:
            member.segmentation_head[0].bias -= logits.mean()
    # random weights say almost the same everywhere
    temperature = float(logits.std())
    save_weights(network, folder / "weights.pt")
    export_onnx(Exported(network, inputs, temperature), example, folder / "network.onnx")
    facts = {"bands": bands, "architecture": "deeplabv3+", "encoder": encoder, "members": [{}] * members}
    facts |= {"temperature": temperature, "normalisation": {"mean": mean, "std": std}}
    sums = {name: io.sha256_file(folder / name) for name in ("weights.pt", "network.onnx")}
    io.write_json(folder / "model.json", facts | {"sha256": sums})
    return folder


def review_row(candidate, decision, geometry, round=1):
    return {
        "candidate_id": candidate,
        "round": round,
        "decision": decision,
        "possibility": 0.75,
        "reject_reason": "bare ground" if decision == "reject" else None,
        "reviewers": "ann,bo",
        "reviewed_at": "2024-01-01T00:00:00Z",
        "geometry": geometry,
    }


def write_review(path, rows):
    io.write_parquet(path, gpd.GeoDataFrame(rows, geometry="geometry", crs=CRS))
    return path
