"""A region without seeds begins with another project's network."""

import json
import shutil

import geopandas as gpd
import pytest

from rts_pipeline.adopt import COPIED, adopt
from rts_pipeline.errors import InputError
from rts_pipeline.options import AdoptOptions
from workflow_case import shared_case

KIND = {"architecture": "deeplabv3+", "encoder": "resnet18"}


@pytest.fixture
def elsewhere(made, tmp_path):
    """A round's folder of another project."""
    return shutil.copytree(made.results / "rounds/01", tmp_path / "elsewhere")


@pytest.fixture(scope="session")
def begun(tmp_path_factory, worker_id):
    """A project without seeds, whose round 01 waits for review."""

    def begin(case):
        shutil.copytree(case.results / "rounds/01", case.folder / "elsewhere/rounds/04")
        shutil.rmtree(case.results / "rounds")
        (case.folder / "corridor/seeds.gpkg").unlink()
        case.configure(labels={"seeds": None}, rounds={"adopt": "elsewhere/rounds/04"})
        planned = case.plan()
        assert planned == {"labels": 1, "adopt": 1, "predict": 4, "polygonize": 4, "candidates": 1, "evidence": 1}
        case.snakemake()

    return shared_case(tmp_path_factory, worker_id, "begun", begin)


def options(**train):
    return AdoptOptions(train={**KIND, **train})


def test_network_and_thresholds_are_the_other_projects(elsewhere, tmp_path):
    out = tmp_path / "rounds/01"
    adopt(elsewhere, out, options())
    assert {str(path.relative_to(out)) for path in out.rglob("*") if path.is_file()} == {*COPIED, "model/model.json"}
    assert all((out / name).read_bytes() == (elsewhere / name).read_bytes() for name in COPIED)
    facts, theirs = (json.loads((folder / "model/model.json").read_text()) for folder in (out, elsewhere))
    assert facts == {**theirs, "adopted_from": str(elsewhere)}


def test_a_network_that_the_second_round_can_not_start_from_is_refused(elsewhere, tmp_path):
    with pytest.raises(InputError, match=r"the network's encoder is resnet18; expected resnet50 as in train\.encoder"):
        adopt(elsewhere, tmp_path / "out", options(encoder="resnet50"))
    assert not (tmp_path / "out").exists()
    # a second round that starts from nothing may be of any kind
    adopt(elsewhere, tmp_path / "out", options(encoder="resnet50", warm_start=False))


@pytest.mark.parametrize("name", ["model/weights.pt", "model/network.onnx", "validation/validation.json"])
def test_a_missing_file_is_named(elsewhere, tmp_path, name):
    (elsewhere / name).unlink()
    with pytest.raises(InputError, match=f"{name}: no such file"):
        adopt(elsewhere, tmp_path / "out", options())
    assert not (tmp_path / "out/model/model.json").exists()


def test_changed_weights_are_noticed(elsewhere, tmp_path):
    with (elsewhere / "model/weights.pt").open("ab") as file:
        file.write(b"more")
    with pytest.raises(InputError, match=r"weights\.pt: sha256 \w+\.\.\. differs from model\.json"):
        adopt(elsewhere, tmp_path / "out", options())


def test_thresholds_of_another_network_are_refused(elsewhere, tmp_path):
    path = elsewhere / "validation/validation.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "weights_sha256": "0" * 64}))
    with pytest.raises(InputError, match=r"validation\.json: was not chosen for the network beside it"):
        adopt(elsewhere, tmp_path / "out", options())


def test_a_cut_off_file_is_named(elsewhere, tmp_path):
    path = elsewhere / "validation/validation.json"
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(InputError, match=r"validation\.json"):
        adopt(elsewhere, tmp_path / "out", options())
    assert not (tmp_path / "out").exists()


def test_nothing_is_known_and_all_that_is_outlined_is_new(begun):
    labels = gpd.read_parquet(begun.results / "rounds/01/labels.parquet")
    outlines = gpd.read_parquet(begun.results / "rounds/01/outlines.parquet")
    assert len(labels) == 0 < len(outlines)
    assert set(outlines["status"]) == {"candidate"}
    assert begun.plan() == {}


def test_another_network_there_is_another_first_round_here(begun, tmp_path):
    case = begun.copy(tmp_path / "case")
    path = case.folder / "elsewhere/rounds/04/model/model.json"
    path.write_text(json.dumps(json.loads(path.read_text()), indent=1))
    assert case.plan()["adopt"] == 1


def test_the_second_round_learns_from_what_was_reviewed(begun, tmp_path):
    case = begun.copy(tmp_path / "case")
    case.review("01")
    assert (case.reviews / "round_01/model/weights.pt").exists()
    assert {rule: case.plan()[rule] for rule in ("labels", "chips", "train", "validate")} == dict.fromkeys(
        ("labels", "chips", "train", "validate"), 1
    )
    case.snakemake("preliminary")
    slumps = gpd.read_parquet(case.results / "inventory/outlines.parquet")
    reviewed = gpd.read_parquet(case.reviews / "round_01/reviewed.parquet")
    assert len(slumps) == reviewed["decision"].isin(["accept", "edit", "missed"]).sum() > 0
    said = (case.results / "report/report.html").read_text()
    assert "The network of round 01 was trained elsewhere" in said
    assert "<code>elsewhere/rounds/04</code>" in said


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"rounds": {"adopt": None}}, "labels.seeds and rounds.adopt are null: the first round needs known slumps"),
        ({"predict": {"precision": "int8"}}, "predict.precision is 'int8', and a network of rounds.adopt is not quantised"),
    ],
)
def test_what_can_not_be_is_told_at_once(begun, tmp_path, changed, said):
    case = begun.copy(tmp_path / "case")
    case.configure(**changed)
    done = case.snakemake("-n", check=False)
    assert done.returncode == 2
    assert said in done.stderr


def test_a_folder_that_is_not_there_is_told_at_once(begun, tmp_path):
    case = begun.copy(tmp_path / "case")
    case.configure(rounds={"adopt": "nowhere/rounds/04"})
    done = case.snakemake("-n", check=False)
    assert done.returncode == 3
    assert "nowhere/rounds/04/model/model.json: no such file" in done.stderr
    assert "Traceback" not in done.stderr
