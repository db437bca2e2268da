import pickle

import geopandas as gpd
import numpy as np
import pytest
import shapely
import torch
from lightning.fabric.utilities.distributed import DistributedSamplerWrapper
from lightning.pytorch import LightningModule, Trainer
from matplotlib.figure import Figure
from torch.utils.data import DataLoader

from learning_case import make_windows
from rts_pipeline.errors import InputError
from rts_pipeline.learning.datasets import ChipSampler, LabelDataset, MosaicDataset, SlumpDataset, open_datasets, weights


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    return make_windows(tmp_path_factory.mktemp("world"))


@pytest.fixture(scope="module")
def chips(world):
    return gpd.read_parquet(world.folder / "chips.parquet")


def joined(world, bands=("nir", "blue"), **changes):
    return open_datasets(world.mosaics, world.folder / "labels.parquet", world.grid, list(bands), 0.0, **changes)


def part_of(world, chip, bands=(3, 0)):
    """The pixels of a window, 0 where it reaches out of the world."""
    whole = np.pad(world.pixels[list(bands)], ((0, 0), (64, 64), (64, 64)))
    top, left = chip.row - world.row + 64, chip.column - world.column + 64
    return whole[:, top : top + chip.size_px, left : left + chip.size_px]


@pytest.mark.parametrize("unpacked", [False, True])
def test_windows_hold_the_mosaics_pixels_and_labels(world, chips, tmp_path, unpacked):
    dataset = joined(world, scratch=tmp_path if unpacked else None)
    assert isinstance(dataset, SlumpDataset)
    for query, chip in zip(ChipSampler(dataset, chips), chips.itertuples(), strict=True):
        sample = dataset[query]
        assert (sample["image"].dtype, sample["mask"].dtype) == (torch.float32, torch.int64)
        assert np.array_equal(sample["image"].numpy(), part_of(world, chip))
        for slump in world.slumps:
            column, row = (int(np.floor(v / 3)) for v in (slump.centroid.x, -slump.centroid.y))
            if 0 <= row - chip.row < 64 and 0 <= column - chip.column < 64:
                assert sample["mask"][row - chip.row, column - chip.column] == 1
    assert {path.name for path in tmp_path.iterdir()} == ({f"{p.stem}.npy" for p in world.mosaics} if unpacked else set())


def test_positive_beats_negative_beats_ignore(world):
    def value(geometry, boundary=0.0):
        area = gpd.GeoSeries([world.grid.block("b_e0003_n0006").polygon], crs=world.grid.crs)
        labels = LabelDataset(world.folder / "labels.parquet", area, world.grid, boundary)
        west, north = (np.floor(v / 3) * 3 for v in (geometry.x, geometry.y))
        return int(labels[slice(west, west + 3), slice(north, north + 3), slice(None)]["mask"][0, 0])

    unsure = world.slumps[5]
    beside, edge = (shapely.Point(unsure.bounds[2] + metres, unsure.centroid.y) for metres in (15, -3))
    assert value(unsure.centroid) == 1
    assert value(beside) == 255
    assert (value(edge), value(edge, boundary=9.0)) == (1, 255)


def test_a_mosaic_that_torchgeo_skips_is_named(world, tmp_path):
    broken = tmp_path / "e0011_n0021.tif"
    broken.write_bytes(b"no image")
    with pytest.raises(InputError, match=r"e0011_n0021\.tif: can't be read \(1 of 2 mosaics\)"):
        open_datasets([world.mosaics[0], broken], world.folder / "labels.parquet", world.grid, ["red"], 0.0)


def test_every_mosaic_and_every_label_is_indexed(world, tmp_path):
    dataset = joined(world)
    assert sorted(dataset.index["filepath_1"]) == sorted(str(path) for path in world.mosaics)
    labels = gpd.read_parquet(world.folder / "labels.parquet")
    labels.loc[2, "geometry"] = None
    labels.to_parquet(tmp_path / "labels.parquet")
    with pytest.raises(InputError, match=rf"label seed-[0-9a-f]{{12}} has no place in .* \(1 of {len(labels)} labels\)"):
        open_datasets(world.mosaics, tmp_path / "labels.parquet", world.grid, ["red"], 0.0)
    for broken, message in ((tmp_path / "none.parquet", "no such file"), (world.mosaics[0], "not a GeoParquet file")):
        with pytest.raises(InputError, match=message):
            open_datasets(world.mosaics, broken, world.grid, ["red"], 0.0)


@pytest.mark.parametrize("unpacked", [False, True])
def test_a_dataset_can_be_sent_to_another_process_after_a_read(world, chips, tmp_path, unpacked):
    dataset = joined(world, scratch=tmp_path if unpacked else None)
    query = next(iter(ChipSampler(dataset, chips)))
    expected = dataset[query]
    again = pickle.loads(pickle.dumps(dataset))[query]
    assert all(torch.equal(expected[name], again[name]) for name in ("image", "mask"))


@pytest.mark.parametrize(("start", "workers"), [("fork", 2), ("spawn", 1)])
def test_processes_of_a_loader_read_what_this_one_reads(world, chips, start, workers):
    dataset = joined(world)
    sampler = ChipSampler(dataset, chips.iloc[:8])
    expected = [dataset[query] for query in sampler]
    loader = DataLoader(dataset, None, sampler=sampler, num_workers=workers, multiprocessing_context=start)
    for first, second in zip(loader, expected, strict=True):
        assert torch.equal(first["image"], second["image"])
        assert torch.equal(first["mask"], second["mask"])


def weighted(world, chips):
    return chips.assign(weight=weights(chips, gpd.GeoSeries(world.slumps, crs=world.grid.crs)))


def test_draws_depend_on_seed_and_epoch_alone(world, chips):
    dataset, table = joined(world), weighted(world, chips)

    def draws(seed, *epochs):
        sampler, passes = ChipSampler(dataset, table, draws=50, seed=seed), []
        for epoch in epochs:
            sampler.set_epoch(epoch)
            passes.append(list(sampler))
        return passes

    whole = draws(3, 0, 1, 2, 3)
    assert draws(3, 2, 3) == whole[2:]
    assert whole[0] != whole[1]
    assert draws(4, 0)[0] != whole[0]
    assert list(ChipSampler(dataset, table, draws=50, seed=3)) == whole[0]


def test_all_windows_come_in_order_in_every_epoch(world, chips):
    sampler = ChipSampler(joined(world), chips)
    first = list(sampler)
    sampler.set_epoch(1)
    assert list(sampler) == first
    assert len(first) == len(sampler) == len(chips)


def test_lightning_tells_the_sampler_the_epoch(world, chips, tmp_path):
    """In a plain training and after one that was cut off; through the wrapper that several devices get, too."""
    dataset, table = joined(world), weighted(world, chips)

    class Nothing(LightningModule):
        def __init__(self):
            super().__init__()
            self.weight = torch.nn.Parameter(torch.zeros(1))
            self.seen = []

        def training_step(self, batch, index):
            self.seen.append((self.current_epoch, batch["bounds"]))
            return self.weight.sum()

        def configure_optimizers(self):
            return torch.optim.SGD(self.parameters(), 0.1)

    def fit(epochs, checkpoint=None):
        sampler, task = ChipSampler(dataset, table, draws=3, seed=1), Nothing()
        quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False, "accelerator": "cpu"}
        trainer = Trainer(max_epochs=epochs, default_root_dir=tmp_path, enable_checkpointing=False, **quiet)
        loader = DataLoader(dataset, None, sampler=sampler, collate_fn=lambda sample: {"bounds": sample["bounds"]})
        trainer.fit(task, loader, ckpt_path=checkpoint)
        trainer.save_checkpoint(tmp_path / "last.ckpt", weights_only=False)
        return task.seen

    whole = fit(3)
    assert [epoch for epoch, _ in whole] == [0, 0, 0, 1, 1, 1, 2, 2, 2]
    fit(1)
    assert fit(3, tmp_path / "last.ckpt") == whole[3:]

    sampler = ChipSampler(dataset, table, draws=4, seed=1)
    sampler.set_epoch(5)
    expected = list(sampler)
    wrapped = [
        DistributedSamplerWrapper(ChipSampler(dataset, table, draws=4, seed=1), 2, rank, shuffle=False) for rank in (0, 1)
    ]
    for wrapper in wrapped:
        wrapper.set_epoch(5)
    assert [query for pair in zip(*wrapped, strict=True) for query in pair] == expected


def drawn(held, negative, other):
    """Return the share of draws of windows with a slump, of negatives, and of others, of which there are so many."""
    kinds = ["positive"] * held + ["negative"] * negative + ["background"] * other
    boxes = [shapely.box(10 * i, 0, 10 * i + 8, 8) for i in range(len(kinds))]
    slumps = gpd.GeoSeries([box.centroid.buffer(1) for box in boxes[:held]])
    weight = weights(gpd.GeoDataFrame({"kind": kinds}, geometry=boxes), slumps)
    return [float(part.sum()) for part in np.split(weight, [held, held + negative])]


@pytest.mark.parametrize(
    ("numbers", "shares"),
    [
        ((2, 3, 5), (0.5, 0.25, 0.25)),
        ((2, 0, 5), (0.5, 0.0, 0.5)),
        ((2, 5, 0), (0.5, 0.5, 0.0)),
        ((8, 1, 1), (0.8, 0.1, 0.1)),
        ((9, 0, 1), (0.9, 0.0, 0.1)),
        ((4, 0, 0), (1.0, 0.0, 0.0)),
        ((0, 1, 3), (0.0, 0.5, 0.5)),
    ],
)
def test_half_of_the_draws_hold_a_slump_or_more_where_more_windows_do(numbers, shares):
    assert np.allclose(drawn(*numbers), shares)


def shown(figure):
    """The image of each panel."""
    assert isinstance(figure, Figure)
    figure.canvas.draw()
    return [axes.images[0].get_array() for axes in figure.axes]


@pytest.mark.parametrize(("bands", "grey"), [(["nir", "blue", "red", "green"], False), (["nir", "blue"], True)])
def test_an_image_is_drawn_in_true_colour_or_grey(world, chips, bands, grey):
    dataset = MosaicDataset(world.mosaics, world.grid, bands)
    sample = dataset[next(iter(ChipSampler(dataset, chips)))]
    (image,) = shown(dataset.plot(sample, suptitle="a window"))
    assert image.shape == (64, 64, 3)
    assert (np.ptp(image, axis=2) == 0).all() == grey
    assert image.std() > 10
    sample["image"] = torch.zeros_like(sample["image"])
    assert (shown(dataset.plot(sample, show_titles=False))[0] == 128).all()


def test_a_mask_is_drawn_with_a_legend_and_what_is_ignored_hatched(world, chips):
    dataset = joined(world)
    labels = dataset.datasets[1]
    sample = {"mask": torch.tensor([[0, 1, 1], [0, 255, 255], [0, 255, 255]])}
    figure = labels.plot(sample)
    assert (shown(figure)[0] == [[0, 1, 1], [0, 0, 0], [0, 0, 0]]).all()
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["slump", "background", "ignored"]
    assert figure.axes[0].collections[0].hatches == ["////"]
    assert not labels.plot({"mask": torch.zeros(4, 4)}).axes[0].collections


def test_image_mask_and_prediction_are_drawn_beside_each_other(world, chips):
    dataset = joined(world)
    sample = dataset[next(iter(ChipSampler(dataset, chips)))]
    figure = dataset.plot(sample, suptitle="a window")
    assert [axes.get_title() for axes in figure.axes] == ["Image", "Mask"]
    assert len(shown(figure)) == 2
    sample["prediction"] = sample["mask"]
    assert [axes.get_title() for axes in dataset.plot(sample).axes] == ["Image", "Mask", "Prediction"]
    assert [axes.get_title() for axes in dataset.plot(sample, show_titles=False).axes] == ["", "", ""]
