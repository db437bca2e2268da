"""Slumps that are known and changed: what each verdict on their new outline means, in labels, inventory and the next round."""

import geopandas as gpd
import numpy as np
import pandas as pd
import pytest
import shapely
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rts_pipeline.config import GridSection, Place, Time
from rts_pipeline.decided import compare
from rts_pipeline.inventory.build import build_inventory
from rts_pipeline.io import canonical_json
from rts_pipeline.labels import build_labels
from rts_pipeline.lineage import replacements, united, with_lineage
from rts_pipeline.options import InventoryOptions, LabelsOptions
from rts_pipeline.review.rounds import Signoff
from rts_pipeline.seeds import seed_ids

CRS = "EPSG:32646"
LABELS = LabelsOptions(grid=GridSection(crs=CRS))
INVENTORY = InventoryOptions(area=Place(region="Beiluhe"), time=Time(), grid=GridSection(crs=CRS))


def strip(start, stop):
    """A rectangle 10 m wide, along a line."""
    return shapely.box(500_000 + start, 3_900_000, 500_000 + stop, 3_900_010)


FIRST, SECOND = strip(0, 40), strip(60, 100)
A, B = seed_ids(np.array([FIRST, SECOND]))
BOTH = ",".join(sorted([A, B]))


class Decided:
    """Two seeds and rounds of one verdict each."""

    def __init__(self, folder, seeds=(FIRST, SECOND)):
        self.folder, self.seeds, self.reviews = folder, folder / "seeds.gpkg", []
        gpd.GeoDataFrame(geometry=list(seeds), crs=CRS).to_file(self.seeds)

    def verdict(self, decision, outline, known_ids="", judged=None, reason=None):
        number = len(self.reviews) + 1
        row = {
            **{"candidate_id": f"r{number:02d}-0001", "round": f"{number:02d}", "decision": decision, "possibility": 1.0},
            **{"reject_reason": reason, "reviewers": "ann", "n_reviews": 1, "agreement": None, "note": None},
            **{"reviewed_at": f"2024-01-{number:02d}T00:00:00Z", "base_sha256": f"b{number}", "model_sha256": f"m{number}"},
            **{"prob_mean": 0.5 + number / 100, "prob_max": 0.9, "guideline_version": "1", "known_ids": known_ids},
            "judged_m2": (judged or outline).area,
        }
        self.reviews.append(self.folder / f"r{number}.parquet")
        gpd.GeoDataFrame([row], geometry=[outline], crs=CRS).to_parquet(self.reviews[-1])

    def labels(self):
        build_labels(self.seeds, self.reviews, self.folder / "labels.parquet", LABELS)
        return gpd.read_parquet(self.folder / "labels.parquet")

    def inventory(self):
        build_inventory(self.seeds, self.reviews, self.folder / "inventory.parquet", INVENTORY)
        return gpd.read_parquet(self.folder / "inventory.parquet")

    def asked(self, *outlines, growth=0.5, labels=None):
        """Compare outlines in the next round, with its labels."""
        area = [outline.area for outline in outlines]
        frame = gpd.GeoDataFrame({"area_m2": area}, geometry=list(outlines), crs=CRS)
        return compare(frame, self.labels() if labels is None else labels, growth, 3.0)


@pytest.fixture
def decided(tmp_path):
    return Decided(tmp_path)


def test_an_outline_is_asked_again_when_it_grew_by_more_than_the_share(decided):
    frame = decided.asked(strip(-20, 40), strip(-20.1, 40), strip(55, 105), strip(0, 130), strip(0, 150.1), strip(200, 240))
    assert frame["status"].tolist() == ["known", "changed", "known", "changed", "changed", "candidate"]
    assert frame["known_ids"].tolist() == [*[A] * 2, B, *[BOTH] * 2, ""]
    assert [None if one is None else one.area for one in frame["known"]] == [400, 400, 400, 800, 800, None]
    assert decided.asked(strip(0, 119), strip(-3, 40), growth=0.0)["status"].tolist() == ["changed", "changed"]


@pytest.mark.parametrize(
    ("reason", "statuses"),
    [
        ("snow or cloud", ["candidate", "changed"]),
        ("no-data edge", ["candidate", "changed"]),
        ("water", ["rejected", "known"]),
        (None, ["rejected", "known"]),
    ],
)
def test_ground_that_the_image_did_not_show_is_asked_again(decided, reason, statuses):
    """Until somebody sees it."""
    alone, grown = strip(200, 240), strip(-40, 40)
    decided.verdict("reject", alone, reason=reason)
    decided.verdict("reject", grown, A, reason=reason)
    assert decided.asked(alone, grown)["status"].tolist() == statuses
    assert sorted(decided.inventory()["delineation_id"]) == sorted([A, B])
    decided.verdict("reject", alone, reason="bare ground")
    decided.verdict("accept", grown, A)
    assert decided.asked(alone, grown)["status"].tolist() == ["rejected", "known"]


def rectangle(west, south, east, north):
    return shapely.box(500_000 + west, 3_900_000 + south, 500_000 + east, 3_900_000 + north)


KNOWN, REFUSED = rectangle(0, 0, 200, 100), rectangle(1000, 0, 1020, 15)
NEXT_TO_DECIDED = {
    "half a metre of a known slump": (rectangle(199.5, 0, 300, 100), "candidate"),
    "its edge": (rectangle(200, 0, 300, 100), "candidate"),
    "its corner": (rectangle(200, 100, 300, 200), "candidate"),
    "a twentieth of it": (rectangle(190, 0, 390, 100), "candidate"),
    "a quarter of it": (rectangle(150, 0, 350, 100), "known"),
    "a strip of it that is most of a narrow outline": (rectangle(198, 0, 201, 100), "known"),
    "all of it and much more": (rectangle(0, 0, 400, 100), "changed"),
    "around what was rejected": (rectangle(900, 0, 1100, 150), "candidate"),
    "beside what was rejected": (rectangle(1020, 0, 1200, 150), "candidate"),
    "half a metre of what was rejected": (rectangle(1019.5, 0, 1200, 150), "candidate"),
    "what was rejected": (REFUSED, "rejected"),
    "in what was rejected": (rectangle(1005, 5, 1010, 10), "rejected"),
    "what was rejected, and a pixel's ring but for a side": (rectangle(997, 0, 1023, 15), "rejected"),
    "what was rejected, and half as much": (rectangle(1000, 0, 1030, 15), "rejected"),
    "what was rejected, and more than half as much": (rectangle(1000, 0, 1030.1, 15), "candidate"),
    "half of what was rejected, and as much beside it": (rectangle(1010, 0, 1030, 15), "candidate"),
}


@pytest.mark.parametrize(("outline", "status"), NEXT_TO_DECIDED.values(), ids=NEXT_TO_DECIDED)
def test_a_neighbour_of_what_was_decided_is_asked(tmp_path, outline, status):
    decided = Decided(tmp_path, [KNOWN])
    decided.verdict("reject", REFUSED)
    frame = decided.asked(outline)
    assert frame["status"].tolist() == [status]
    assert frame["known_ids"].tolist() == [seed_ids(np.array([KNOWN]))[0] if status in {"known", "changed"} else ""]


def test_what_was_judged_of_a_neighbour_says_nothing_of_a_slump_that_grew(tmp_path):
    decided = Decided(tmp_path, [rectangle(0, 0, 20, 50)])
    decided.verdict("accept", rectangle(60, 0, 260, 100))
    assert decided.asked(rectangle(0, 0, 60, 50))["status"].tolist() == ["changed"], "though it touches a larger one"


@pytest.mark.parametrize("growth", [0.0, 0.2, 0.5])
def test_what_was_rejected_is_not_asked_again(decided, growth):
    """Nor the same ground in other outlines, in any later round."""
    outlines = [strip(200, 240), strip(238, 290), strip(195, 400), strip(120, 515)]
    for number, outline in enumerate(outlines, 1):
        assert decided.asked(outline, growth=growth)["status"].tolist() == ["candidate"]
        decided.verdict("reject", outline)
        assert decided.asked(*outlines[:number], growth=growth)["status"].tolist() == ["rejected"] * number
    assert decided.asked(strip(198, 236), strip(204, 244), strip(130, 510), growth=growth)["status"].eq("rejected").all()


@pytest.mark.parametrize("decision", ["accept", "edit"])
def test_what_is_accepted_takes_the_place_of_what_was_known(decided, decision):
    decided.verdict(decision, strip(-40, 38), A)
    labels, slumps = decided.labels(), decided.inventory()
    assert labels[["label_id", "kind"]].to_numpy().tolist() == [[B, "positive"], ["r01-0001", "positive"]]
    assert sorted(slumps.area.round(3)) == [400, 780], "also where the known one was larger"
    slump = slumps.loc[slumps.area.idxmax()]
    assert (slump["delineation_id"], slump["source"], slump["decision"]) == (f"{A}+r01-0001", "seed", decision)
    assert slump["prob_mean"] == pytest.approx(0.51)
    assert '"replaced":true' in slump["parts"] and '"replaced":false' in slump["parts"]
    assert decided.asked(strip(-40, 40))["status"].tolist() == ["known"]


def test_places_are_taken_again_and_again(decided):
    decided.verdict("accept", strip(-40, 40), A)
    decided.verdict("accept", strip(-40, 100), f"r01-0001,{B}")
    decided.verdict("edit", strip(-40, 35), "r02-0001")
    assert decided.labels()["label_id"].tolist() == ["r03-0001"]
    slump = decided.inventory().iloc[0]
    assert slump["delineation_id"] == "+".join([*sorted([A, B]), "r01-0001", "r02-0001", "r03-0001"])
    assert slump.geometry.area == pytest.approx(750)


def test_a_slump_that_the_new_drawing_leaves_out_stays(decided):
    """The network drew two slumps as one; the reviewer redraws the one that grew."""
    decided.verdict("edit", strip(-30, 45), f"{A},{B}", judged=strip(-30, 130))
    assert decided.labels()["label_id"].tolist() == [B, "r01-0001"]
    assert sorted(decided.inventory()["delineation_id"]) == sorted([f"{A}+r01-0001", B])
    again = decided.asked(strip(-30, 130), strip(-30, 211))
    assert again["status"].tolist() == ["known", "changed"], "the same outline isn't asked again"


@pytest.mark.parametrize(("decision", "kind"), [("reject", "negative"), ("unsure", "ignore"), ("unseen", "ignore")])
def test_what_is_refused_leaves_the_known_ones_and_says_nothing_against_them(decided, decision, kind):
    decided.verdict(decision, strip(-40, 70), f"{A},{B}")
    labels = decided.labels()
    assert labels["kind"].tolist() == ["positive", "positive", kind]
    assert labels.geometry[2].area == pytest.approx(600)
    assert labels.geometry[2].intersection(labels.geometry[:2].union_all()).area < 1e-6
    assert sorted(decided.inventory()["delineation_id"]) == sorted([A, B])
    again = decided.asked(strip(-40, 70), strip(-80, 84.9), strip(-80, 85.1), strip(-25, 40))
    changed = "changed" if decision == "unseen" else "known"
    assert again["status"].tolist() == ["known", changed, "changed", changed], "what nobody looked at is asked again"
    elsewhere = decided.asked(strip(90, 190))
    assert elsewhere["status"].tolist() == ["changed"], "another change of a slump is another question"


def test_what_was_refused_gives_way_to_what_is_accepted_later(decided):
    decided.verdict("reject", strip(-40, 40), A)
    decided.verdict("accept", strip(-90, 40), A)
    labels = decided.labels()
    assert labels["label_id"].tolist() == [B, "r02-0001"]
    assert decided.asked(strip(-90, 40))["status"].tolist() == ["known"]


def test_a_new_slump_that_was_redrawn_smaller_is_not_asked_again(decided):
    decided.verdict("edit", strip(200, 220), judged=strip(200, 240))
    assert decided.asked(strip(200, 240), strip(200, 261))["status"].tolist() == ["known", "changed"]


@pytest.mark.parametrize("crs", [CRS, "EPSG:4326"])
@pytest.mark.parametrize("extra", [[], [strip(-300, -200)], [strip(20, 45)]])
def test_a_verdict_finds_its_seed_in_any_order_of_the_file(tmp_path, crs, extra):
    """The file is saved again in another order, or another seed is added: the same ground is known."""
    seeds = gpd.GeoSeries([FIRST, SECOND], crs=CRS).to_crs(crs)
    more = gpd.GeoSeries(extra, crs=CRS).to_crs(crs)
    first, second = seed_ids(seeds.to_numpy(), geographic=seeds.crs.is_geographic)
    decided, known = Decided(tmp_path), []
    decided.verdict("edit", strip(0, 30), first)
    for outlines in (seeds, pd.concat([more, seeds[::-1]])):
        gpd.GeoDataFrame(geometry=outlines.to_numpy(), crs=crs).to_file(decided.seeds)
        labels = decided.labels()
        assert first not in set(labels["label_id"]) and second in set(labels["label_id"])
        parts = decided.inventory()["delineation_id"].str.split("+")
        (own,) = (names for names in parts if first in names)
        assert "r01-0001" in own
        known.append(labels[labels["label_id"].isin([second, "r01-0001"])].reset_index(drop=True))
    assert known[0].equals(known[1])


@pytest.mark.parametrize("name", ["seed-00001", "seed-00002", B, f"seed-00002,{B}"])
def test_a_name_that_no_seed_there_has_takes_no_place(decided, name, capsys):
    """A sign-off of a version that numbered seeds, or of another seed: what overlaps is united."""
    decided.verdict("accept", strip(-40, 40), name)
    assert decided.labels()["label_id"].tolist() == [*sorted([A, B]), "r01-0001"]
    assert sorted(decided.inventory().area.round()) == [400, 800]
    told = "labels: 1 known slumps that verdicts replace aren't there (seed-0000"
    assert (told in capsys.readouterr().err) == ("seed-0000" in name)


def test_reviews_from_before_are_read(decided):
    decided.verdict("accept", strip(-40, 40), A)
    old = gpd.read_parquet(decided.reviews[0]).drop(columns=["known_ids", "judged_m2"])
    old.to_parquet(decided.reviews[0])
    assert with_lineage(old)["known_ids"].tolist() == [""]
    assert len(decided.labels()) == 3
    assert sorted(decided.inventory().area.round()) == [400, 800], "the union, as it was then"


def test_a_signoff_from_before_is_read(tmp_path):
    facts = {"round": "01", "after": None, "rows_sha256": "a", "candidates_sha256": "b", "n_candidates": 1, "n_new": 1}
    (tmp_path / "signoff.json").write_text(canonical_json({**facts, "cells": [], "at": "", "reviewers": []}))
    signoff = Signoff.read(tmp_path / "signoff.json")
    assert (signoff.n_changed, signoff.n_cut) == (0, 0)


verdicts = st.lists(
    st.tuples(
        st.sampled_from(["accept", "edit", "reject", "unsure", "missed"]),
        st.integers(-10, 20),
        st.integers(1, 12),
        st.sets(st.integers(0, 5)),
    ),
    max_size=6,
)


@settings(deadline=None, max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(verdicts)
def test_no_verdict_disappears(tmp_path, rounds):
    decided = Decided(tmp_path)
    names = [A, B]
    accepted = set(names)
    for number, (decision, start, length, known) in enumerate(rounds, 1):
        asked = ",".join(name for index, name in enumerate(names) if index in known) if decision != "missed" else ""
        decided.verdict(decision, strip(10 * start, 10 * (start + length)), asked)
        names.append(f"r{number:02d}-0001")
        accepted |= {names[-1]} if decision in {"accept", "edit", "missed"} else set()
    labels, slumps = decided.labels(), decided.inventory()
    told = [name for joined in slumps["delineation_id"] for name in joined.split("+")]
    assert sorted(told) == sorted(accepted), "each accepted outline is part of one slump"
    positive = labels[labels["kind"] == "positive"].union_all()
    assert positive.symmetric_difference(slumps.union_all()).area < 1e-6, "labels and inventory show the same ground"
    negative = labels[(labels["kind"] == "negative") & (labels["known_ids"] != "")]
    assert positive.intersection(negative.union_all()).area < 1e-6
    assert (
        shapely.area(shapely.intersection(*[slumps.geometry.to_numpy()[i] for i in np.triu_indices(len(slumps), 1)])).sum()
        < 1e-6
    )


judged = st.lists(
    st.tuples(st.sampled_from(["accept", "edit", "reject"]), st.integers(-30, 30), st.integers(1, 25), st.booleans()),
    min_size=1,
    max_size=5,
)


@settings(deadline=None, max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(judged)
def test_only_new_ground_is_asked(tmp_path, rounds):
    """What was judged isn't asked in the next round, what was rejected in no later one; what touches nothing always is."""
    decided, refused = Decided(tmp_path), []
    labels = decided.labels()
    for decision, start, length, on_edge in rounds:
        outline = strip(5 * start, 5 * (start + length)) if on_edge else strip(5 * start + 1.3, 5 * (start + length) - 1.3)
        row = decided.asked(outline, labels=labels).iloc[0]
        if row["status"] in {"candidate", "changed"}:
            drawn = outline if decision != "edit" else shapely.affinity.scale(outline, 0.6, 1.0)
            decided.verdict(decision, drawn, row["known_ids"], judged=outline)
            refused += [outline] if decision == "reject" else []
            labels = decided.labels()
        again = [outline, *refused, *(one.buffer(-0.5, join_style="mitre") for one in refused)]
        assert decided.asked(*again, labels=labels)["status"].isin(["known", "rejected"]).all()
        east = labels.total_bounds[2] - 500_000
        clear = decided.asked(strip(east, east + 30), strip(east - 0.5, east + 30), labels=labels)
        assert clear["status"].tolist() == ["candidate"] * 2


@pytest.mark.parametrize(
    ("outline", "taken"),
    [
        (strip(40, 60), []),  # a common edge
        (strip(38, 60), []),  # less than a pixel (3 m) of the first
        (strip(37, 60), [0]),
        (strip(38, 62), []),  # of both
        (strip(0, 62), [0]),
        (strip(38, 40), [0]),  # narrower than a pixel, but nowhere else
    ],
)
def test_places_need_shared_ground_of_a_pixel_s_width(outline, taken):
    names, known = pd.Series(["a", "b", "c"]), pd.Series(["", "a", "a,b,d"])
    new, old = replacements(names, known, np.array([FIRST, SECOND, outline]), 3.0)
    assert (new.tolist(), old.tolist()) == ([2] * len(taken), taken)


@pytest.mark.parametrize("decision", ["accept", "edit"])
def test_a_known_slump_that_an_outline_touches_by_accident_stays(decided, decision):
    decided.verdict(decision, strip(0, 60.5), f"{A},{B}")
    assert decided.labels()["label_id"].tolist() == [B, "r01-0001"]
    slumps = decided.inventory()
    assert sorted(slumps["delineation_id"]) == sorted([f"{A}+r01-0001", B])
    assert slumps.area.sum() == pytest.approx(1000), "the ground of both, once"


@settings(deadline=None, max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(-50, 110), st.integers(1, 90), st.sampled_from(["accept", "edit"]))
def test_no_known_slump_is_lost(tmp_path, start, length, decision):
    """It is a row of its own, or its ground is shared with the outline that took its place by no less than a pixel."""
    decided, outline = Decided(tmp_path), strip(start, start + length)
    decided.verdict(decision, outline, f"{A},{B}")
    labels, slumps = decided.labels()["label_id"].tolist(), decided.inventory()
    for name, seed in ((A, FIRST), (B, SECOND)):
        shared = seed.intersection(outline).area / 10
        replaced = shared >= 3 or shared >= length / 2
        assert (name in labels) != replaced
        if not replaced:
            covered = slumps[slumps.intersects(seed.centroid)]
            assert covered["delineation_id"].str.contains(name).all() and len(covered) == 1


def test_unions():
    outlines = np.array([FIRST, SECOND, strip(20, 60)])
    none, two, one = united(outlines, np.array([1, 2, 1]), 3)
    assert (none, two.area, one) == (None, 600.0, SECOND)
    assert united(outlines[:0], np.array([], int), 2).tolist() == [None, None]
