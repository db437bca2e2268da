"""Prediction: against the network's bare forward pass, against peers, and what memory and area do to it.

python bench/predict.py results/demo --geoai ENVIRONMENT/bin/python

Takes the last network of a demo and four cells of its mosaics (4096 x 4096 px, a fifth of it not observed), mirrored for larger
areas. Each piece runs in a process of its own, by turns; wall and CPU seconds are those after the imports, the least of the
turns counts. The bare pass gives every window that holds a usable pixel to the same engine and throws the answers away; the
stage reads, blends and writes besides. Peers have the same weights (fp32, as everybody runs them), windows and overlap: a
plain loop over torchgeo's GridGeoSampler and a DataLoader, and geoai's predict_geotiff, if an environment with geoai-py is
named (uv venv ENVIRONMENT; uv pip install --python ENVIRONMENT/bin/python geoai-py segmentation-models-pytorch). Agreement is
that with torch in fp32 on the same lattice. Prints tables and writes results/bench/predict.json. To try it all
out at a small size: --edges 1024 --peer-edges 1024.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import rasterio

from rts_pipeline import io, machine
from rts_pipeline.cells import Mosaics
from rts_pipeline.config import GridSection, Inference, Predict
from rts_pipeline.engines import QUEUED, compile_network
from rts_pipeline.grid import GeoBox
from rts_pipeline.lattice import probabilities

CELLS = ("e0078_n0626", "e0078_n0627", "e0079_n0626", "e0079_n0627")
CELL_PX = 2048
AREAS = {1: 2048, 4: 4096, 16: 8192}
"""Edge in pixels of areas of 1, 4 and 16 cells."""
SETTING = Predict()
TURNS = 3
OUT = Path("results/bench/predict.json")
Start = tuple[float, os.times_result]
Cost = tuple[float, float, float]
"""CPU seconds, wall seconds, peak MB."""


@dataclass(frozen=True)
class Case:
    """An area of the benchmark: its mosaics lie in `folder`/`edge`, as one raster in whole.tif."""

    folder: Path
    edge: int

    @property
    def cell_px(self) -> int:
        """Edge of its cells; a smaller area, to try out the command, is one cell."""
        return min(CELL_PX, self.edge)

    @property
    def options(self) -> Any:
        """The stage's options, with the area as one block."""
        from rts_pipeline.options import PredictOptions

        section = GridSection(crs="EPSG:32646", cell_px=self.cell_px, block_cells=self.edge // self.cell_px)
        return PredictOptions(grid=section, predict=SETTING)

    @property
    def block(self) -> GeoBox:
        """The whole area."""
        return self.options.grid.grid().block("b_e0000_n0000")

    @property
    def mosaics(self) -> list[Path]:
        """Its cells."""
        return sorted((self.folder / str(self.edge)).glob("e*.tif"))

    @property
    def n_windows(self) -> int:
        """Windows that hold a usable pixel."""
        return int(self.whole.with_name("windows.txt").read_text())

    @property
    def whole(self) -> Path:
        """The same pixels as one raster."""
        return self.folder / str(self.edge) / "whole.tif"


def make_case(case: Case, ground: np.ndarray) -> None:
    """Write the area's mosaics as the stage does, and one raster of the same pixels."""
    pixels = ground
    while pixels.shape[1] < case.edge:
        pixels = np.concatenate([pixels, pixels[:, ::-1]], axis=1)
        pixels = np.concatenate([pixels, pixels[:, :, ::-1]], axis=2)
    pixels = pixels[:, -case.edge :, : case.edge]
    grid = case.options.grid.grid()
    places = {case.whole: case.block}
    for column in range(case.edge // case.cell_px):
        for row in range(case.edge // case.cell_px):
            name = f"e{column:04d}_n{row:04d}"
            places[case.whole.with_name(f"{name}.tif")] = grid.cell(name)
    for path, place in places.items():
        with io.new_cog(path, count=4, dtype="uint16", nodata=0, **place.profile) as target:
            target.write(pixels[(slice(None), *case.block.slices_of(place))])
            target.descriptions = ("blue", "green", "red", "nir")


def read_ground(results: Path) -> np.ndarray:
    """Return the demo's cells that are used, (4, 4096, 4096)."""
    from rts_pipeline.grid import Grid

    paths = [results / "mosaic" / f"{name}.tif" for name in CELLS]
    with rasterio.open(paths[0]) as dataset:
        grid = Grid(dataset.crs.to_string())
    with Mosaics(paths, grid, ("blue", "green", "red", "nir")) as reader:
        south_west = grid.cell(CELLS[0])
        return reader.read(south_west.part(-CELL_PX, 0, 2 * CELL_PX, 2 * CELL_PX))


# --- what is measured, each in a process of its own ---


def ours(case: Case, model: Path) -> Start:
    """The stage, from files to a file."""
    from rts_pipeline.predict import predict

    start = time.perf_counter(), os.times()
    predict(case.block, model, case.mosaics, case.whole.with_name("ours.tif"), case.options, Inference(device="cpu"))
    return start


def bare(case: Case, model: Path) -> Start:
    """The forward pass of the windows that hold a usable pixel, as OpenVINO's users run it: their values lie in memory."""
    import openvino

    with rasterio.open(case.whole) as dataset:
        top = dataset.height // 2
        pixels = dataset.read(window=((top, top + 512), (0, min(2048, case.edge)))).astype(np.float32)
    windows = [
        np.ascontiguousarray(pixels[None, :, :, left : left + SETTING.window_px])
        for left in range(0, pixels.shape[2] - 511, 192)
    ]
    start = time.perf_counter(), os.times()
    queue = openvino.AsyncInferQueue(compile_network(model / "network.onnx", len(pixels), SETTING), QUEUED * machine.threads())
    for number in range(case.n_windows):
        queue.start_async([windows[number % len(windows)]], share_inputs=True)
    queue.wait_all()
    return start


def torchgeo_loop(case: Case, model: Path) -> Start:
    """What anybody would write with torchgeo."""
    import torch
    from torch.utils.data import DataLoader
    from torchgeo.datasets import RasterDataset, stack_samples
    from torchgeo.samplers import GridGeoSampler

    network = torch_network(model)
    start = time.perf_counter(), os.times()
    dataset = RasterDataset(case.whole, crs="EPSG:32646")
    # in pixels, by default
    sampler = GridGeoSampler(dataset, SETTING.window_px, SETTING.window_px - SETTING.overlap_px)
    assert len(sampler) >= case.n_windows, "the sampler leaves ground out"
    loader = DataLoader(dataset, batch_size=4, sampler=sampler, num_workers=1, collate_fn=stack_samples)
    found = np.zeros((case.edge, case.edge), np.uint8)
    west, _, _, north = case.block.bounds
    with torch.inference_mode():
        for batch in loader:
            values = (network(batch["image"].float())[:, 0] * 250).round().byte().numpy()
            for window, bounds in zip(values, batch["bounds"], strict=True):
                left, top = round((float(bounds[0].start) - west) / 3), round((north - float(bounds[1].stop)) / 3)
                target = found[max(top, 0) : top + window.shape[0], left : left + window.shape[1]]
                target[:] = window[-target.shape[0] :, : target.shape[1]]
    layout = {"driver": "GTiff", "count": 1, "dtype": "uint8", "tiled": True, "compress": "deflate"}
    with rasterio.open(case.whole.with_name("torchgeo.tif"), "w", **layout, **case.block.profile) as target:
        target.write(found, 1)
    return start


def torch_network(model: Path) -> Any:
    """Return the network with its normalisation, as torch has it by default: fp32, channels first."""
    from rts_pipeline.learning.torch_engine import load_network

    return load_network(model, io.read_json(model / "model.json"))


PIECES = {"ours": ours, "bare": bare, "torchgeo": torchgeo_loop}


def work(name: str, case: Case, model: Path) -> None:
    """Do one piece and print its cost; each piece says when its imports were done."""
    wall, before = PIECES[name](case, model)
    wall, after = time.perf_counter() - wall, os.times()
    # not ru_maxrss, which a child inherits from its parent
    peak = int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0]) / 1024
    print(sum(after[:4]) - sum(before[:4]), wall, peak)


GEOAI = """
import os, sys, time, torch
from pathlib import Path
from geoai.inference import predict_geotiff
network = torch.jit.load(sys.argv[1])
wall, before = time.perf_counter(), os.times()
same = {"tile_size": 512, "overlap": 128, "preprocess_fn": lambda values: values, "device": "cpu", "verbose": False}
predict_geotiff(network, sys.argv[2], sys.argv[3], **same)
wall, after = time.perf_counter() - wall, os.times()
peak = int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0]) / 1024
print(sum(after[:4]) - sum(before[:4]), wall, peak)
"""


def cost(name: str, case: Case, model: Path, geoai: Path | None = None) -> Cost:
    """Run one piece in a process of its own."""
    command = [sys.executable, __file__, str(model), "--work", name, str(case.edge), str(case.folder)]
    if name == "geoai":
        command = [
            str(geoai),
            "-c",
            GEOAI,
            str(case.folder / "network.pt"),
            str(case.whole),
            str(case.whole.with_name("geoai.tif")),
        ]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    cpu, wall, peak = (float(value) for value in done.stdout.split()[-3:])
    return cpu, wall, peak


def turns(names: list[str], case: Case, model: Path, number: int, geoai: Path | None = None) -> dict[str, Cost]:
    """Run pieces by turns; return the least seconds and the highest peak of each."""
    runs = [{name: cost(name, case, model, geoai) for name in names} for _ in range(number)]
    found = {name: [run[name] for run in runs] for name in names}
    return {n: (min(c for c, _, _ in f), min(w for _, w, _ in f), max(p for _, _, p in f)) for n, f in found.items()}


# --- agreement ---


def agreement(case: Case, model: Path, choice: Path) -> dict[str, Any]:
    """Compare the stage's probabilities and outlines with those of torch in fp32."""
    from rts_pipeline.learning.torch_engine import TorchEngine
    from rts_pipeline.metrics.objects import match_geometries

    facts, exact = io.read_json(model / "model.json"), case.whole.with_name("exact.tif")
    setting = Predict(precision="f32")
    engine = TorchEngine(model, facts, setting, "cpu", 4)
    layout = {"count": 1, "dtype": "uint8", "nodata": 255, **case.block.profile}
    with io.new_cog(exact, **layout) as dataset, Mosaics(case.mosaics, case.options.grid.grid(), facts["bands"]) as reader:
        for part, values in probabilities(case.block, reader, engine, setting):
            dataset.write(values, 1, window=case.block.window_of(part))
    rasters = []
    for path in (exact, case.whole.with_name("ours.tif")):
        with rasterio.open(path) as dataset:
            rasters.append(dataset.read(1).astype(int))
    apart = np.abs(rasters[1] - rasters[0])[rasters[0] < 255]
    expected, found = (outlines(case, path, choice) for path in (exact, case.whole.with_name("ours.tif")))
    matching = match_geometries(found, expected, 0.5)
    return {
        "within_1": float(np.mean(apart <= 1)),
        "within_2": float(np.mean(apart <= 2)),
        "most": int(apart.max()),
        "outlines_fp32": len(expected),
        "outlines": len(found),
        "matched": len(matching.iou),
        "least_iou": float(np.min(matching.iou, initial=1)),
    }


def outlines(case: Case, probability: Path, choice: Path) -> Any:
    """Return the outlines of a probability raster."""
    from rts_pipeline.config import Polygonize
    from rts_pipeline.options import PolygonizeOptions
    from rts_pipeline.polygonize import polygonize

    out = probability.with_suffix(".parquet")
    polygonize(case.block, probability, choice, out, PolygonizeOptions(grid=case.options.grid, polygonize=Polygonize()))
    return io.read_geoparquet(out).geometry.to_numpy()


@dataclass
class NoNetwork:
    """An engine that computes nothing, gives zeros, and counts its windows."""

    readers: int
    wide: int
    number: int = 0

    def start(self, pixels: Any, lefts: Any, add: Any) -> Any:
        self.number += len(lefts)
        done = add(np.zeros(pixels.shape[1:], np.float32)).astype(np.uint8)
        return lambda: done


def n_windows(case: Case) -> int:
    """Return the number of windows that hold a usable pixel."""
    engine = NoNetwork(readers=1, wide=8)
    with Mosaics(case.mosaics, case.options.grid.grid(), ("blue", "green", "red", "nir")) as reader:
        for _ in probabilities(case.block, reader, engine, SETTING):
            pass
    return engine.number


def main(results: Path, geoai: Path | None, edges: list[int], peer_edges: list[int]) -> None:
    """Measure, print tables, write results/bench/predict.json.

    `throughput_over_forward` are the seconds of the bare pass over those of the stage: wall or CPU, whichever is lower. CPU
    seconds don't see idle cores; beside other work wall seconds flatter, as work that waits is lost to nobody.
    """
    import torch

    last = sorted((results / "rounds").glob("*/model"))[-1]
    choice = last.parent / "validation" / "validation.json"
    peers = ["torchgeo", *(["geoai"] if geoai else [])]
    if not geoai:
        print("geoai: no environment named with --geoai, left out", file=sys.stderr)
    keys = "throughput_over_forward", "speedup", "peak_rss_mb", "area"
    result: dict[str, Any] = {key: {} for key in keys}
    with tempfile.TemporaryDirectory(dir=os.environ.get("TMPDIR")) as name:
        folder, ground = Path(name), read_ground(results)
        example = torch.from_numpy(ground[None, :, 1024:1536, 1024:1536].astype(np.float32))
        with torch.inference_mode(), warnings.catch_warnings(action="ignore"):
            torch.jit.trace(torch_network(last), example).save(folder / "network.pt")
        print("| px | piece | CPU s | wall s | peak MB | load before |\n|---|---|---|---|---|---|")
        for edge in edges:
            case, load = Case(folder, edge), os.getloadavg()[0]
            make_case(case, ground)
            case.whole.with_name("windows.txt").write_text(str(n_windows(case)))
            costs = turns(["bare", "ours"], case, last, TURNS)
            result["area"][edge] = dict(zip(("cpu_s", "wall_s", "windows"), (*costs["ours"][:2], case.n_windows), strict=True))
            (bare_cpu, bare_wall, _), (ours_cpu, ours_wall, _) = costs["bare"], costs["ours"]
            result["throughput_over_forward"][edge] = min(bare_wall / ours_wall, bare_cpu / ours_cpu)
            if edge in peer_edges:
                costs |= turns(peers, case, last, 1, geoai)
                result["speedup"][edge] = {
                    peer: {"cpu": costs[peer][0] / ours_cpu, "wall": costs[peer][1] / ours_wall} for peer in peers
                }
            result["peak_rss_mb"][edge] = {name: cost[2] for name, cost in costs.items()}
            for piece, (cpu, wall, peak) in costs.items():
                print(f"| {edge} | {piece} | {cpu:.2f} | {wall:.2f} | {peak:.0f} | {load:.1f} |", flush=True)
            io.write_json(OUT, result)
        print("| cells | windows | CPU s | CPU s a cell | wall s a cell |\n|---|---|---|---|---|")
        for edge, found in result["area"].items():
            cells, cpu, wall = (edge / CELL_PX) ** 2, found["cpu_s"], found["wall_s"]
            print(f"| {cells:g} | {found['windows']} | {cpu:.2f} | {cpu / cells:.2f} | {wall / cells:.2f} |", flush=True)
        result["agreement"] = agreement(Case(folder, 4096), last, choice) if 4096 in edges else None
    print(io.canonical_json(result))
    io.write_json(OUT, result)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("results", type=Path, help="of a demo; its model folder for --work")
    parser.add_argument("--geoai", type=Path, help="Python of an environment with geoai-py")
    parser.add_argument("--edges", type=int, nargs="+", default=list(AREAS.values()), help="areas to measure, in pixels")
    parser.add_argument("--peer-edges", type=int, nargs="*", default=[4096, 8192], help="areas that peers are measured at")
    parser.add_argument("--work", nargs=3, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.work:
        piece, edge, folder = arguments.work
        work(piece, Case(Path(folder), int(edge)), arguments.results)
    else:
        main(arguments.results, arguments.geoai, arguments.edges, arguments.peer_edges)
