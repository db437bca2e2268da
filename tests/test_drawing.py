"""Figures as a journal prints them: what is written in them can be read in a column, is whole, and lies on nothing else."""

from itertools import combinations

import geopandas as gpd
import numpy as np
import pandas as pd
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text
from shapely import Point, box

from report_case import CRS, EAST, NO_AUDIT, NORTH, Project, estimate, hill
from rts_pipeline import drawing
from rts_pipeline.crossvalidate import crossvalidate
from rts_pipeline.inventory.earlier import EARLIER
from rts_pipeline.learning.record import COLUMNS, write_curves
from rts_pipeline.metrics.objects import SIZE_CLASS_NAMES
from rts_pipeline.report import figures
from rts_pipeline.report.coverage import Coverage
from rts_pipeline.report.landscape import clusters
from rts_pipeline.report.map import draw_map
from test_crossvalidate import table

COLUMN_IN = 8.5 / 2.54
LEAST_POINTS = 6.0
TOLERANCE_PX = 1.0
TOLD = estimate(0.75, 0.567, 0.915)
AUDIT = {"known": 70, "added": 5, "missed": estimate(30, 12, 61.5), "completeness": TOLD}
SEARCHES = {"candidates": 40, "first": 30, "second": 33, "both": 25, "total": estimate(39.6, 38, 44), "assumptions": []}
ESTIMATES = {
    "audit": {**NO_AUDIT, **AUDIT, "round": "02", "windows": {"frame": 2400, "sampled": 200, "looked_through": 198}}
    | {"size_classes": dict.fromkeys(SIZE_CLASS_NAMES, AUDIT)},
    "reviewers": {**SEARCHES, "reviewers": ["ada", "bob"]},
    "detectors": {**SEARCHES, "detectors": ["a", "b"], "slumps": 40, "unjudged": [2, 3]},
    "curve": {"rounds": ["01", "02"], "new": [9, 3], "expected": [9, 3], "total": estimate(13.5, 12, 25), "p": 0.66}
    | {"assumptions": []},
}


@pytest.fixture
def written(monkeypatch):
    """The texts that a figure draws, each with its size in points and the pixels that it covers."""
    draw = Text.draw

    def texts(figure: Figure):
        found = []

        def noted(self, renderer):
            draw(self, renderer)
            if self.get_visible() and self.get_text().strip():
                found.append((self.get_text(), self.get_fontsize(), self.get_window_extent(renderer)))

        monkeypatch.setattr(Text, "draw", noted)
        with drawing.styled():
            FigureCanvasAgg(figure).draw()
        monkeypatch.setattr(Text, "draw", draw)
        return found

    return texts


def legible(figure, texts):
    """Return what is too small in a column, runs over the figure's edge, or lies on another text."""
    shrunk = min(1.0, COLUMN_IN / figure.get_figwidth())
    small = [text for text, points, _ in texts if points * shrunk < LEAST_POINTS]
    whole = figure.bbox.padded(TOLERANCE_PX)
    cut = [text for text, _, box in texts if not (whole.contains(box.x0, box.y0) and whole.contains(box.x1, box.y1))]
    inner = [(text, box.padded(-TOLERANCE_PX)) for text, _, box in texts]
    over = [(one, two) for (one, a), (two, b) in combinations(inner, 2) if a.overlaps(b)]
    return {"small": small, "cut": cut, "over": over}


NOTHING = {"small": [], "cut": [], "over": []}


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    """Every figure of a report, by name."""
    folder = tmp_path_factory.mktemp("figures")
    project = Project(folder, columns=4, n_seeds=5, new_by_round=(3, 5, 0), dem=hill(folder / "dem.tif")).measure()
    project.completeness = ESTIMATES
    project.judged_twice("01", [("accept", "accept"), ("edit", "unsure"), ("reject", "reject")] * 1111)
    kept, files = [], figures.files

    def keep(one):
        kept.append(one.figure)
        return files(one)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(figures, "files", keep)
        project.report()
    names = [path.stem for path in (project.folder / "figures").glob("*.svg")]
    assert len(kept) == len(names) == 14
    return kept


def test_every_figure_of_the_report_can_be_read_in_a_column(drawn, written):
    for figure in drawn:
        texts = written(figure)
        assert len(texts) > 3
        assert legible(figure, texts) == NOTHING, texts[-1][0]


@pytest.mark.parametrize("sides_km", [(12, 12), (5, 150), (150, 5), (0.6, 0.5), (900, 1300)])
@pytest.mark.parametrize("rounds", [1, 9])
def test_maps_of_any_shape_can_be_read_in_a_column(sides_km, rounds, written):
    width, height = (1000 * side for side in sides_km)
    area = gpd.GeoSeries([box(EAST, NORTH, EAST + width, NORTH + height)], crs=CRS)
    share = np.linspace(0.05, 0.95, rounds + 2)
    points = [Point(EAST + width * part, NORTH + height * part).buffer(60) for part in share]
    frame = {"iteration": range(rounds + 2), "decision": ["seed", *["accept"] * rounds, EARLIER]}
    slumps = gpd.GeoDataFrame(frame, geometry=points, crs=CRS)
    seen = Coverage(1.0, 2019, {2019: 0.5}, 0.5, [((*points[0].bounds[:2], *points[-1].bounds[2:]), np.eye(4, dtype=bool))])
    for drawn in (draw_map(slumps, area, seen, CRS), clusters(slumps, area, CRS)[0]):
        assert legible(drawn.figure, written(drawn.figure)) == NOTHING


def test_many_rounds_and_all_decisions_can_be_read(written):
    names = [f"{k:02d}" for k in range(1, 13)]
    rounds = pd.DataFrame(dict.fromkeys(figures.NAMES, 3), index=range(12)).assign(round=names, precision=0.5)
    for drawn in (figures.decisions_by_round(rounds), figures.growth_by_round(names, [1234] * 13)):
        assert legible(drawn.figure, written(drawn.figure)) == NOTHING


def test_pictures_of_training_and_cross_validation_can_be_read(tmp_path, monkeypatch, written):
    kept = []
    monkeypatch.setattr(drawing, "save", lambda figure, path, **_: kept.append(figure))
    rows = pd.DataFrame([dict.fromkeys(COLUMNS, value) for value in (0.1, 0.5, 0.9)]).assign(member=0)
    write_curves(tmp_path / "curves.png", rows)
    blocks = table(np.random.default_rng(0), [f"s_e0000_n000{block}" for block in range(5)])
    blocks.to_parquet(tmp_path / "blocks.parquet")
    crossvalidate([tmp_path / "blocks.parquet"], tmp_path / "c.json", tmp_path / "c.png")
    assert len(kept) == 2
    for figure in kept:
        assert legible(figure, written(figure)) == NOTHING


def test_what_can_not_be_read_is_noticed(written):
    with drawing.drawing(width=8.0) as (figure, axes):
        axes.text(0.5, 0.5, "one")
        axes.text(0.5, 0.5, "two")
        axes.text(1.2, 0.5, "gone", transform=figure.transFigure)
    found = legible(figure, written(figure))
    assert found["cut"] == ["gone"]
    assert ("one", "two") in found["over"]
    assert {"one", "two", "gone"} <= set(found["small"])
