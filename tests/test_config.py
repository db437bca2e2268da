from pathlib import Path

import pytest
import yaml
from snakemake.common.configfile import load_configfile

from rts_pipeline import config_file, options
from rts_pipeline.config import Config, Section, load_config, validate_config
from rts_pipeline.errors import UsageError
from rts_pipeline.options import options_json, parse_options

ROOT = Path(__file__).parents[1]
MINIMAL = {"area": {"aoi": "aoi.gpkg"}, "scenes": {"folders": ["orders"]}, "labels": {"seeds": "seeds.gpkg"}}
STAGE_OPTIONS = [
    kind
    for name, kind in vars(options).items()
    if name.endswith("Options") and isinstance(kind, type) and issubclass(kind, Section)
]


def with_value(section, key, value):
    return {**MINIMAL, section: {**MINIMAL.get(section, {}), key: value}}


def test_config_yaml_is_the_documented_default():
    assert (ROOT / "config/config.yaml").read_text() == config_file.documented_default(), "run: make config"


def test_reference_is_the_models():
    assert config_file.reference() in (ROOT / "config/README.md").read_text(), "run: make config"


def test_documented_default_says_what_the_model_says():
    spelled_out = Config.model_validate(yaml.safe_load(config_file.documented_default()))
    implied = validate_config(
        {"area": {"aoi": "data/aoi.gpkg"}, "scenes": {"folders": ["data/orders"]}, "labels": {"seeds": "data/seeds.gpkg"}},
        "test",
    )
    assert spelled_out == implied


@pytest.mark.parametrize("name", ["demo", "demo_small"])
def test_shipped_configurations_are_valid(name):
    assert load_config(ROOT / f"config/{name}.yaml").results == f"results/{name}"


def test_real_case_takes_its_folder_from_the_environment(monkeypatch):
    monkeypatch.setenv("RTS_CASE", "somewhere")
    assert load_config(ROOT / "config/real_case.yaml").area.aoi == "somewhere/aoi.gpkg"
    monkeypatch.delenv("RTS_CASE")
    with pytest.raises(UsageError, match=r"RTS_CASE.*not set"):
        load_config(ROOT / "config/real_case.yaml")


@pytest.mark.parametrize("kind", STAGE_OPTIONS, ids=lambda kind: kind.__name__)
def test_options_survive_the_way_to_the_stage(kind):
    text = options_json(validate_config(MINIMAL, "test"), kind)
    again = parse_options(kind, text)
    assert options_json(validate_config(MINIMAL, "other"), kind) == text
    assert set(again.model_dump()) == set(kind.model_fields)


def test_paths_of_inputs_are_not_options():
    moved = {"area": {"aoi": "b.gpkg"}, "scenes": {"folders": ["c"]}, "labels": {"seeds": "d.gpkg"}}
    for kind in (
        options.ScenesOptions,
        options.MosaicOptions,
        options.LabelsOptions,
        options.TrainOptions,
        options.PredictOptions,
    ):
        assert options_json(validate_config(MINIMAL, "a"), kind) == options_json(validate_config(moved, "b"), kind)


@pytest.mark.parametrize(
    ("values", "told"),
    [
        (with_value("chips", "size", 256), "unknown key 'chips.size'; did you mean 'size_px'"),
        (with_value("chips", "buffer_m", "300 m"), "key 'chips.buffer_m' is '300 m'"),
        (with_value("grid", "cell_px", 2000), "key 'grid.cell_px' is 2000"),
        (with_value("time", "season", ["08-30", "07-01"]), "must begin before it ends"),
        (with_value("time", "season", ["07-01", "30 August"]), "key 'time.season.1' is '30 August'"),
        (with_value("chips", "validation_fraction", 25), "key 'chips.validation_fraction' is 25"),
        (with_value("train", "bands", ["swir"]), "swir"),
        (
            {**MINIMAL, "polygonize": {"threshold": 0.5, "seed_threshold": 0.4}},
            "seed_threshold 0.4 must be at least threshold 0.5",
        ),
        (with_value("evidence", "years", [2018, 2019, 2019]), "key 'evidence.years' is [2018, 2019, 2019]: Value error"),
        (with_value("evidence", "years", []), "key 'evidence.years' is []"),
        (with_value("evidence", "years", [2019, 20019]), "key 'evidence.years.1' is 20019"),
        (with_value("evidence", "years", [-1]), "key 'evidence.years.0' is -1"),
        (with_value("polygonize", "simplify_px", 0.6), "key 'polygonize.simplify_px' is 0.6"),
        (
            {**MINIMAL, "results": "my results"},
            "key 'results' is 'my results': Value error, a space, or a sign",
        ),
        ({**MINIMAL, "results": "out/{k}"}, "can't be in the path, found '{'"),
        ({**MINIMAL, "reviews": "/data/lab (new)/reviews"}, "key 'reviews' is '/data/lab (new)/reviews'"),
        ({**MINIMAL, "results": ""}, "key 'results' is '': Value error, a path is expected"),
        (with_value("polygonize", "min_area_m2", float("inf")), "key 'polygonize.min_area_m2' is inf"),
        (with_value("train", "max_minutes", float("inf")), "key 'train.max_minutes' is inf"),
        (
            with_value("train", "devices", True),
            "key 'train.devices' is True: Value error, a number is expected; YAML reads yes",
        ),
        (with_value("adjust", "shifts", False), "key 'adjust.shifts' is False: Input should be 'none', 'measure' or 'correct'"),
        (with_value("train", "seed", -1), "key 'train.seed' is -1"),
        (with_value("train", "seed", 2**32), "seed 4294967296 must be at most 4294967295"),
        ({**MINIMAL, "train": {"seed": 2**32 - 1, "members": 2}}, "seed 4294967295 must be at most 4294967294"),
        ({**MINIMAL, "tiling": {}}, "unknown key 'tiling'"),
        ({key: value for key, value in MINIMAL.items() if key != "labels"}, "key 'labels' is missing"),
        (
            with_value("scenes", "exclude", {f"20190801_{number:06d}_1009": "雲" * 20 for number in range(700)}),
            "...: Value error, 700 items with 103,600 characters",
        ),
        (
            with_value("scenes", "exclude", {20190801041000: "clouds"}),
            "20190801041000 is a number to YAML: write the item's id in",
        ),
        ([], "expected a mapping"),
    ],
)
def test_mistakes_name_file_key_and_value(values, told):
    with pytest.raises(UsageError) as error:
        validate_config(values, "config.yaml")
    assert str(error.value).startswith("config.yaml: ")
    assert told in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("folder", ["results", "../a/b.c", "/data/été/2019-08_x", "results/demo+1@2=3,4:5%"])
def test_other_folders_may_be_given(folder):
    assert validate_config({**MINIMAL, "results": folder, "reviews": folder}, "config.yaml").results == folder


@pytest.mark.parametrize(
    "read", [load_config, lambda path: validate_config(load_configfile(path), path)], ids=["we", "snakemake"]
)
def test_items_whose_ids_are_digits_are_excluded_as_they_are_written(tmp_path, read):
    ids = ["20190801_041000_1032", "20221221_084022_18_2414", "20190801_041000_0c74", "20221221_084022_05_0000"]
    unquoted = "".join(f"    {item_id}: clouds\n" for item_id in ids)
    text = yaml.safe_dump(MINIMAL).replace("scenes:\n", f"scenes:\n  exclude:\n{unquoted}")
    (tmp_path / "config.yaml").write_text(text)
    assert read(tmp_path / "config.yaml").scenes.exclude == dict.fromkeys(ids, "clouds")


def test_missing_and_broken_files(tmp_path):
    with pytest.raises(UsageError, match="no such file"):
        load_config(tmp_path / "none.yaml")
    for broken in ("a: [1,", "a: 2019-13-45"):
        (tmp_path / "broken.yaml").write_text(broken)
        with pytest.raises(UsageError, match="not valid YAML") as error:
            load_config(tmp_path / "broken.yaml")
        assert "\n" not in str(error.value)
