"""A world of 3 x 3 spatial blocks with a network that is known, for the tests of the stage validate."""

from itertools import product

import geopandas as gpd
import numpy as np
import onnx
import pandas as pd
import shapely
from onnx import TensorProto, helper, numpy_helper

from learning_case import make_world, write_mosaic, write_review
from rts_pipeline import io
from rts_pipeline.chips import block_grid
from rts_pipeline.config import Chips, Choice, Inference, Predict, Shaping
from rts_pipeline.labels import build_labels
from rts_pipeline.options import LabelsOptions, ValidateOptions
from rts_pipeline.validate.build import validate

BANDS = ["nir", "red"]
WINDOW_PX, BLOCK_PX, CELLS = 64, 128, 3
CHIPS = Chips(size_px=WINDOW_PX, block_m=BLOCK_PX * 3)
CPU = Inference(device="cpu")
PREDICT = Predict(window_px=128, overlap_px=32, precision="f32")
FAINT = -500
"""Of red - nir: between the land (-1100) and a slump (200), and a little below the network's middle."""


class Case:
    """A world of 3 x 3 blocks of 2 x 2 windows, with a network that sees what differs in red and near infrared."""

    def __init__(self, folder, **options):
        self.folder = folder
        self.world = make_world(folder, cells=CELLS, **options)
        self.reviewed = []
        self.splits = {}

    def paint(self, rows, columns, contrast):
        """Set red - nir of a rectangle of the world's pixels."""
        self.world.pixels[2, rows, columns] = 2000 + contrast
        self.world.pixels[3, rows, columns] = 2000

    def place(self, rows, columns):
        """Return the ground of such a rectangle."""
        left, top = self.world.column + columns.start, self.world.row + rows.start
        right, bottom = self.world.column + columns.stop, self.world.row + rows.stop
        return shapely.box(left * 3, -bottom * 3, right * 3, -top * 3)

    def slump(self, y, x, radius):
        """Add a slump, and take away those that it would touch."""
        shape = shapely.Point((self.world.column + x) * 3, -(self.world.row + y) * 3).buffer(radius * 3)
        rows, columns = np.mgrid[:384, :384] + 0.5
        for old in [old for old in self.world.slumps if old.distance(shape) < 12]:
            self.world.slumps.remove(old)
            left, bottom, right, top = (round(value / 3) for value in old.bounds)
            self.paint(
                slice(max(-top - self.world.row - 1, 0), -bottom - self.world.row + 1),
                slice(max(left - self.world.column - 1, 0), right - self.world.column + 1),
                -1100,
            )
        self.paint(*np.nonzero(np.hypot(rows - y, columns - x) < radius), 200)
        self.world.slumps.append(shape)

    def run(self, name="out", *, recall=None, splits=None, width=1, gain=0.02, simplify_px=0.5):
        """Validate; blocks are of the validation split unless `splits` (by row and column of the block) says more."""
        for path in self.world.mosaics:
            write_mosaic(self.world, path.stem)
        labels, chips, model, out = (self.folder / part for part in ("labels.parquet", "chips.parquet", "model", name))
        review = write_review(self.folder / "reviewed.parquet", self.reviewed) if self.reviewed else None
        gpd.GeoDataFrame(geometry=self.world.slumps, crs=self.world.grid.crs).to_file(self.world.seeds)
        build_labels(self.world.seeds, [review] if review else [], labels, LabelsOptions(grid=self.world.section))
        io.write_parquet(chips, self.windows(splits or {}))
        write_model(model, width, gain)
        self.options = ValidateOptions(
            grid=self.world.section,
            chips=CHIPS,
            predict=PREDICT,
            polygonize=Shaping(simplify_px=simplify_px),
            choice=Choice(recall=recall),
        )
        self.files = chips, labels, self.world.mosaics, model, out
        validate(*self.files, self.options, CPU)
        return io.read_json(out / "validation.json"), pd.read_parquet(out / "blocks.parquet")

    def windows(self, splits):
        blocks = block_grid(self.world.grid, CHIPS)
        rows = []
        for j, i in product(range(CELLS), range(CELLS)):
            x, y = self.world.column + i * BLOCK_PX, self.world.row + j * BLOCK_PX
            name = blocks.cell_at((x + 1) * 3, -(y + 1) * 3)
            for dy, dx in product((0, WINDOW_PX), (0, WINDOW_PX)):
                place = {"column": x + dx, "row": y + dy, "size_px": WINDOW_PX}
                rows.append({**place, "block": f"s_{name}", "split": splits.get((j, i), "validation")})
        boxes = [shapely.box(r["column"] * 3, -(r["row"] + 64) * 3, (r["column"] + 64) * 3, -r["row"] * 3) for r in rows]
        return gpd.GeoDataFrame(rows, geometry=boxes, crs=self.world.grid.crs)


def write_model(folder, width=1, gain=0.02):
    """Write a network: a probability from the mean of red - nir over `width` pixels; -450 is the middle."""
    folder.mkdir(exist_ok=True)
    kernel = np.full((1, 2, width, width), gain / width**2, np.float32)
    kernel[:, 0] *= -1
    image = helper.make_tensor_value_info("image", TensorProto.FLOAT, ["n", len(BANDS), "h", "w"])
    probability = helper.make_tensor_value_info("probability", TensorProto.FLOAT, ["n", 1, "h", "w"])
    nodes = [
        helper.make_node("Conv", ["image", "kernel", "bias"], ["logit"], pads=[width // 2] * 4),
        helper.make_node("Sigmoid", ["logit"], ["probability"]),
    ]
    values = [numpy_helper.from_array(kernel, "kernel"), numpy_helper.from_array(np.float32([450 * gain]), "bias")]
    graph = helper.make_graph(nodes, "network", [image], [probability], values)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)]), folder / "network.onnx")
    (folder / "weights.pt").write_bytes(b"weights")
    sums = {name: io.sha256_file(folder / name) for name in ("network.onnx", "weights.pt")}
    io.write_json(folder / "model.json", {"bands": BANDS, "temperature": 1.25, "sha256": sums})
