"""Stage export: the data card and the citation, written from the results."""

import re

import geopandas as gpd
import pandas as pd
import pytest
import yaml

from export_case import AREA, OUTLINES, observed_table, options, release
from report_case import NOTE, UNKNOWN, Project, estimate, text
from rts_pipeline.config import Place
from rts_pipeline.errors import InputError, RefusedError
from rts_pipeline.export.build import build_export
from rts_pipeline.export.citation import authors, sentence
from rts_pipeline.export.tables import Source, published
from rts_pipeline.io import read_geoparquet, write_json
from rts_pipeline.metrics.objects import SIZE_CLASS_NAMES


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """A project of four seeds and two rounds, the second of which brought nothing."""
    return Project(tmp_path_factory.mktemp("card")).measure()


def card_of(project, out, estimates=UNKNOWN, rounds=None, **export):
    known = project.folder / "completeness.json"
    write_json(known, estimates)
    paths = project.attributes, known, project.results / "coverage" / "observed.parquet", project.reviews
    rounds = project.rounds if rounds is None else rounds
    build_export(*paths, out, options(formats=["gpkg"], **export), rounds)
    return (out / "data_card.html").read_text(encoding="utf-8")


def row(page, label):
    """The cells after the one with this label."""
    cells = re.search(rf"<tr><td>{re.escape(label)}</td>(.*?)</tr>", page).group(1)
    return [text(cell) for cell in re.findall(r"<td.*?>(.*?)</td>", cells)]


def test_counts_are_those_of_the_published_rows(project, tmp_path):
    page = card_of(project, tmp_path / "out", licence="CC-BY-4.0", version="1.0", doi="10.5281/zenodo.1234567")
    slumps = published(project.attributes, options())
    assert row(page, "Slumps") == [str(len(slumps))]
    assert row(page, "Images that show them") == ["1"]
    assert row(page, "First and last acquisition") == ["2019-07-15 – 2019-07-15"]
    by_size = [row(page, name)[0] for name in SIZE_CLASS_NAMES]
    assert sum(map(int, by_size)) == len(slumps)
    assert f"{(slumps['iteration'] == 0).sum()} were known at the start" in text(page)
    assert f'<td><code>rts_inventory.gpkg</code></td><td class="n">{len(slumps)}</td>' in page
    assert "Licence: CC-BY-4.0" in page
    assert "doi:10.5281/zenodo.1234567" in page


def test_what_the_rows_can_not_say_is_counted(tmp_path):
    project = Project(tmp_path, columns=2, n_seeds=3, new_by_round=(2,)).measure()
    slumps = gpd.read_parquet(project.attributes)
    slumps.loc[0, ["decision", "source", "iteration"]] = ["earlier", "earlier", 0]
    slumps["truncated"] = slumps.index < 2
    slumps.astype({"first_year": "Int64"}).to_parquet(project.attributes)
    page = text(card_of(project, tmp_path / "out"))
    assert "1 slumps are carried along from the earlier inventory" in page
    assert "but for 1 that are carried along" in page
    assert "2 outlines reach to ground that was not observed" in page
    assert "For 5 of 5 slumps no change was measured" in page
    folder = tmp_path / "layouts"
    write_json(tmp_path / "known.json", UNKNOWN)
    observed = project.results / "coverage" / "observed.parquet"
    build_export(project.attributes, tmp_path / "known.json", observed, project.reviews, folder, options(), project.rounds)
    for name in ("rts_arts.geojson", "darts_level2.gpkg"):
        assert len(gpd.read_file(folder / name)) == 4, "nobody saw it in this season"
    assert slumps["rts_uid"][0] not in set(read_geoparquet(folder / "darts_level1.parquet")["id"])


def test_rounds_networks_and_convergence_are_told(project, tmp_path):
    page = card_of(project, tmp_path / "out")
    assert row(page, "01") == ["6", "1", "1", "1", "2", "1", "1", "3"]
    assert "Converged: the last round (round 02) brought no new slump." in page
    assert "The search had not ended" not in page
    assert "75 % (50 % to 90 %)" in text(page)
    early = card_of(project, tmp_path / "early", rounds=["01"])
    assert "The search had not ended: Not converged: the last reviewed round (round 01) still brought 3 new slumps." in early


def test_completeness_is_told_with_its_interval_or_why_not(project, tmp_path):
    page = card_of(project, tmp_path / "out")
    assert row(page, "Audit") == ["all slumps", "–", "no round was <audited>"]
    sizes = {name: {"completeness": estimate(None, None, None)} for name in SIZE_CLASS_NAMES}
    audit = {"round": "02", "completeness": estimate(0.8, 0.7, 0.9), "size_classes": sizes, "assumptions": []}
    page = card_of(project, tmp_path / "known", UNKNOWN | {"audit": audit})
    assert row(page, "Audit")[:2] == ["all slumps", "80 % (70 % to 90 %)"]
    assert 'alt="Completeness with intervals"' in page


def test_limits_are_counted(project, tmp_path):
    page, slumps = text(card_of(project, tmp_path / "out")), published(project.attributes, options())
    assert f"{len(slumps)} of {len(slumps)} slumps have no terrain attributes" in page
    assert f"{int(slumps['prob_mean'].isna().sum())} slumps have no probability" in page
    assert "no pixel of them is part of this release" in page
    assert "none is stated, so ask the authors" in page


def test_the_card_needs_no_network_and_escapes_words(project, tmp_path):
    page = card_of(project, tmp_path / "out")
    assert all(source.startswith("data:image/svg+xml") for source in re.findall(r'src="([^"]*)"', page))
    assert "<script" not in page
    assert NOTE not in page


def test_a_changed_review_is_refused_and_a_missing_file_named(project, tmp_path):
    with pytest.raises(InputError, match=r"round_03: is not signed off"):
        card_of(project, tmp_path / "out", rounds=["01", "03"])
    (tmp_path / "broken").mkdir()
    broken = Project(tmp_path / "broken").measure()
    (broken.reviews / "round_01" / "reviewed.parquet").write_bytes(b"changed")
    with pytest.raises(RefusedError):
        card_of(broken, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def source_of(tmp_path, area=AREA, **export):
    release(tmp_path, OUTLINES[:1], area=area, formats=["csv"], **export)
    observed = observed_table(tmp_path)
    return Source(
        published(tmp_path / "attributes.parquet", options()), pd.read_parquet(observed), options(area=area, **export)
    )


def citation(folder):
    return yaml.safe_load((folder / "export" / "CITATION.cff").read_text(encoding="utf-8"))


def test_the_citation_has_what_the_format_requires(tmp_path):
    source = source_of(tmp_path, licence="CC-BY-4.0", version="1.0", doi="10.5281/zenodo.1234567", released="2024-05-06")
    told = citation(tmp_path)
    assert {"cff-version", "message", "title", "authors"} <= set(told)
    assert (told["cff-version"], told["type"]) == ("1.2.0", "dataset")
    assert told["authors"] == [
        {"family-names": "Xia", "given-names": "Z.", "affiliation": "The Chinese University of Hong Kong"},
        {"family-names": "Huang", "given-names": "L.", "affiliation": "CUHK"},
    ]
    assert told["date-released"] == "2024-05-06"
    assert (told["version"], told["doi"], told["license"]) == ("1.0", "10.5281/zenodo.1234567", "CC-BY-4.0")
    assert all({"type", "title", "authors"} <= set(reference) for reference in told["references"])
    assert sentence(source) == (
        "Xia, Z.; Huang, L. (2024): Inventory of retrogressive thaw slumps: Beiluhe, 2019 (version 1.0). Data set."
        " https://doi.org/10.5281/zenodo.1234567"
    )


def test_a_citation_without_makers_says_so(tmp_path):
    source = source_of(tmp_path, area=Place())
    told = citation(tmp_path)
    assert told["authors"] == [{"name": "not stated"}]
    assert told["date-released"] == "2024-01-01", "the day of the latest verdict"
    assert not {"version", "doi", "license"} & set(told)
    assert sentence(source).startswith("Authors not stated (2024)")


@pytest.mark.parametrize(
    ("maker", "person"),
    [
        ("AGLewkowicz, University of Ottawa", ("Lewkowicz", "A. G.")),
        ("JMüller-Lüdenscheidt, AWI", ("Müller-Lüdenscheidt", "J.")),
        ("ØSørensen, NVE", ("Sørensen", "Ø.")),
        ("Permafrost group, CUHK", None),
    ],
)
def test_makers_become_people_where_their_names_tell(tmp_path, maker, person):
    source = Source(None, None, options(area=Place(creator_lab=maker)))
    (found,) = authors(source)
    assert found["written"] == maker
    assert (found.get("family-names"), found.get("given-names")) == (person or (None, None))
    assert (found.get("name") == maker) == (person is None)
