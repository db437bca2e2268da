"""Prediction on a GPU: megapixels a second from mosaics to a COG, and what limits it.

python bench/predict_gpu.py FOLDER                                   16 x 16 cells, 1.07 Gpx, DeepLabv3+ with ResNet-50
python bench/predict_gpu.py FOLDER --cells 1 --device cpu            whether it runs, on a machine without a GPU

Makes its ground (values at random, of which deflate finds little) and a network that was never trained, as neither changes
the time. Measures, by turns, the stage from files to a file; reading alone: the same rows of windows, given to no network; and
the forward pass alone, of windows that lie on the device. Beside the stage nvidia-smi says, five times a second, how busy the
GPU is.
Prints a table and writes results/bench/predict_gpu.json.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
import torch
from predict import NoNetwork

from rts_pipeline import io, machine
from rts_pipeline.cells import Mosaics
from rts_pipeline.config import GridSection, Inference, Predict
from rts_pipeline.grid import GeoBox, Grid
from rts_pipeline.lattice import Strip, probabilities
from rts_pipeline.learning.inputs import Inputs, Normalisation
from rts_pipeline.learning.network import Ensemble, Exported, build_network, export_onnx, save_weights
from rts_pipeline.learning.torch_engine import load_network
from rts_pipeline.options import PredictOptions
from rts_pipeline.predict import predict

BANDS = ("blue", "green", "red", "nir")
CELL_PX = 2048
SETTING = Predict(window_px=512, overlap_px=64)
TURNS = 3
OUT = Path("results/bench/predict_gpu.json")


def grid_section(cells: int) -> GridSection:
    """Return a grid in which so many cells, along an edge, are a block."""
    return GridSection(crs="EPSG:32646", cell_px=CELL_PX, block_cells=cells)


def make_ground(folder: Path, cells: int) -> list[Path]:
    """Write the mosaics: one is made, all others are copies of it in another place."""
    grid = grid_section(cells).grid()
    paths = [folder / f"e{column:04d}_n{row:04d}.tif" for column in range(cells) for row in range(cells)]
    random = np.random.default_rng(0)
    profile: dict[str, Any] = {**grid.cell(paths[0].stem).profile, "count": len(BANDS), "dtype": "uint16", "nodata": 0}
    coarse = random.normal(1500, 400, (len(BANDS), CELL_PX // 16, CELL_PX // 16)).repeat(16, 1).repeat(16, 2)
    pixels = np.clip(coarse + random.normal(0, 60, coarse.shape), 1, 9999).astype(np.uint16)
    with io.new_cog(paths[0], **profile) as target:
        target.write(pixels)
        target.descriptions = BANDS
    for path in paths[1:]:
        shutil.copyfile(paths[0], path)
        with rasterio.open(path, "r+", IGNORE_COG_LAYOUT_BREAK="YES") as target:
            target.transform = grid.cell(path.stem).transform
    return paths


def make_model(folder: Path, encoder: str, device: str) -> Path:
    """Write an untrained network as the stage train writes it; the exported one only where a CPU is to apply it."""
    torch.manual_seed(0)
    normalisation = Normalisation([1500.0] * len(BANDS), [400.0] * len(BANDS))
    network = Ensemble([build_network("deeplabv3+", encoder, len(BANDS))]).eval()
    save_weights(network, folder / "weights.pt")
    names = ["weights.pt"]
    if device == "cpu":
        example = np.full((1, len(BANDS), SETTING.window_px, SETTING.window_px), 1500, np.float32)
        export_onnx(Exported(network, Inputs(BANDS, normalisation), 1.0), example, folder / "network.onnx")
        names.append("network.onnx")
    facts = {"bands": BANDS, "architecture": "deeplabv3+", "encoder": encoder, "members": [{}], "temperature": 1.0}
    sums = {name: io.sha256_file(folder / name) for name in names}
    io.write_json(folder / "model.json", {**facts, "normalisation": vars(normalisation), "sha256": sums})
    return folder


def read_alone(block: GeoBox, grid: Grid, mosaics: list[Path], batch: int) -> None:
    """Read what the stage reads."""
    with rasterio.Env(GDAL_CACHEMAX=2**30), Mosaics(mosaics, grid, BANDS, machine.threads(), 64) as reader:
        # the panels and readers of the engine on a GPU
        for _ in probabilities(block, reader, NoNetwork(machine.threads(), max(8, batch)), SETTING):
            pass


@torch.inference_mode()
def forward_alone(model: Path, device: str, batch: int, n_windows: int) -> float:
    """Return the seconds of the forward pass of so many windows, in batches that lie on the device."""
    network = load_network(model, io.read_json(model / "model.json")).to(device, memory_format=torch.channels_last)
    image = torch.full((batch, len(BANDS), SETTING.window_px, SETTING.window_px), 1500.0, device=device)
    image = image.contiguous(memory_format=torch.channels_last)

    def run(number: int) -> float:
        start = time.perf_counter()
        for _ in range(number):
            with torch.autocast(device, torch.bfloat16):
                probability = network(image)
        float(probability.sum())  # waits for the device
        return time.perf_counter() - start

    run(2)
    return run(-(-n_windows // batch))


@contextmanager
def watched(busy: list[float]) -> Iterator[None]:
    """Note how busy the first GPU is, in per cent; nothing where there is none."""
    if not machine.gpus():
        yield
        return
    query = ["nvidia-smi", "--query-gpu=utilization.gpu", "--format=csv,noheader,nounits", "-i", "0", "-lms", "200"]
    with subprocess.Popen(query, stdout=subprocess.PIPE, text=True) as watching:
        try:
            yield
        finally:
            watching.terminate()
            busy.extend(float(line) for line in (watching.stdout or []) if line.strip().isdigit())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--cells", type=int, default=16, help="along each edge of the block")
    parser.add_argument("--encoder", default="resnet50")
    parser.add_argument("--device", choices=["cuda", "cpu"], default="cuda")
    parser.add_argument("--batch", type=int, default=32, help="windows at a time")
    args = parser.parse_args()
    args.folder.mkdir(parents=True, exist_ok=True)
    mosaics = make_ground(args.folder, args.cells)
    model = make_model(args.folder / "model", args.encoder, args.device)
    options = PredictOptions(grid=grid_section(args.cells), predict=SETTING)
    grid = options.grid.grid()
    block = grid.block("b_e0000_n0000")
    megapixels, windows = block.width * block.height / 1e6, Strip.around(block, SETTING)
    n_windows = windows.n_rows * len(windows.lefts)
    where = Inference(device=args.device, batch_size=args.batch)
    busy: list[float] = []
    took: dict[str, list[float]] = {"stage": [], "reading alone": [], "forward alone": []}
    for turn in range(TURNS):
        start = time.perf_counter()
        with watched(busy):
            predict(block, model, mosaics, args.folder / "out.tif", options, where)
        took["stage"].append(time.perf_counter() - start)
        start = time.perf_counter()
        read_alone(block, grid, mosaics, args.batch)
        took["reading alone"].append(time.perf_counter() - start)
        took["forward alone"].append(forward_alone(model, args.device, args.batch, n_windows))
        print(f"turn {turn + 1}: { ({name: round(seconds[-1], 2) for name, seconds in took.items()}) }", file=sys.stderr)
    least = {name: min(seconds) for name, seconds in took.items()}
    print(f"{megapixels:.0f} Mpx, {len(mosaics)} mosaics of {mosaics[0].stat().st_size / 1e6:.0f} MB, {n_windows} windows")
    print("| | s, least of three | Mpx/s |\n|---|---|---|")
    for name, seconds in least.items():
        print(f"| {name} | {seconds:.2f} | {megapixels / seconds:.1f} |")
    result = {
        "device": torch.cuda.get_device_name() if args.device == "cuda" else "cpu",
        "mpx": megapixels,
        "seconds": took,
        "mpx_per_s": {name: megapixels / seconds for name, seconds in least.items()},
        "gpu_busy_percent": {"mean": float(np.mean(busy)), "median": float(np.median(busy))} if busy else None,
    }
    print(json.dumps(result))
    io.write_json(OUT, result)


if __name__ == "__main__":
    main()
