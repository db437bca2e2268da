import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rts_pipeline.learning.augment import WAVELENGTHS_NM, Geometric, Haze, Radiometric
from rts_pipeline.learning.inputs import Inputs, Normalisation, ndvi

BANDS = ["blue", "green", "red", "nir"]
NORMALISATION = Normalisation([600.0, 900.0, 1100.0, 2200.0, 0.33], [150.0, 200.0, 300.0, 500.0, 0.1])
DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU"))]
seeds = st.integers(0, 2**32 - 1)


def ground(n=8, size=64):
    """Values of a plausible ground, (n, 4, size, size)."""
    mean, std = (torch.tensor(v[:4])[:, None, None] for v in (NORMALISATION.mean, NORMALISATION.std))
    return (mean + std * torch.randn(n, 4, size, size)).clamp(min=1).round()


def radiometric(bands=BANDS, **changes):
    indexes = [BANDS.index(band) for band in bands]
    chosen = Normalisation([NORMALISATION.mean[i] for i in indexes], [NORMALISATION.std[i] for i in indexes])
    return type("Changed", (Radiometric,), changes)(bands, chosen)


ALONE = {"gain": 0.0, "contrast": 0.0, "gamma": 0.0, "haze_share": 0.0, "blur_share": 0.0, "noise_share": 0.0}


@pytest.mark.parametrize("device", DEVICES)
def test_what_is_not_observed_stays_so_and_nothing_else_becomes_it(device):
    image = ground().to(device)
    image[:, :, :20, 30:] = 0
    image[3] = 0
    image[4] = 1
    augment = Radiometric(BANDS, NORMALISATION).to(device)
    for seed in range(8):
        torch.manual_seed(seed)
        changed = augment(image)
        assert changed.dtype == torch.float32
        assert torch.equal((changed != 0).any(dim=1), (image != 0).any(dim=1))
        assert changed.isfinite().all()
        assert (changed[(image != 0)] >= 1).all()
        index = ndvi(changed[:, 2], changed[:, 3])
        assert index.abs().max() <= 1


def test_values_may_come_as_the_mosaics_hold_them():
    torch.manual_seed(0)
    image = ground(2)
    augment = Radiometric(BANDS, NORMALISATION)
    torch.manual_seed(1)
    expected = augment(image)
    torch.manual_seed(1)
    assert torch.equal(augment(image.to(torch.uint16)), expected)


@pytest.mark.parametrize("seed", range(4))
def test_a_gap_does_not_darken_its_neighbours(seed):
    """Ground at the mean of all bands must look the same beside a gap as far from it."""
    image = torch.tensor(NORMALISATION.mean[:4])[:, None, None].repeat(8, 1, 64, 64)
    image[:, :, :, 32:] = 0
    augment = radiometric(haze_share=0.0, blur_share=1.0, noise_share=0.0)
    torch.manual_seed(seed)
    changed = augment(image)[..., :32]
    assert torch.allclose(changed, changed[..., :1].expand_as(changed), rtol=1e-4)


def test_strengths_of_zero_change_nothing():
    image = ground()
    assert torch.allclose(radiometric(**ALONE)(image), image, rtol=1e-5)


@settings(max_examples=20, deadline=None)
@given(seed=seeds)
def test_gain_contrast_and_gamma_keep_the_order_of_values_and_stay_within_bounds(seed):
    values = torch.linspace(200, 4000, 64 * 64).reshape(1, 1, 64, 64).repeat(3, 4, 1, 1)
    torch.manual_seed(seed)
    changed = radiometric(haze_share=0.0, blur_share=0.0, noise_share=0.0)(values).flatten(2)
    assert (changed.diff(dim=2) >= 0).all()
    at_mean = [int((values[0, 0].flatten() - m).abs().argmin()) for m in NORMALISATION.mean[:4]]
    for band, place in enumerate(at_mean):
        ratio = changed[:, band, place] / NORMALISATION.mean[band]
        assert ((ratio - 1).abs() < Radiometric.gain + 0.002).all()


def test_bands_are_changed_mostly_in_common():
    image = torch.tensor(NORMALISATION.mean[:4])[:, None, None].repeat(256, 1, 8, 8)
    torch.manual_seed(0)
    ratio = radiometric(**{**ALONE, "gain": 0.15})(image)[:, :, 0, 0] / torch.tensor(NORMALISATION.mean[:4])
    correlation = np.corrcoef(ratio.T.numpy())
    assert (correlation > 0.6).all()
    assert correlation[np.triu_indices(4, 1)].max() < 0.95


def test_haze_is_an_addition_that_shrinks_with_the_wavelength():
    torch.manual_seed(0)
    dark = torch.zeros(16, 4, 32, 32)
    veil = Haze(BANDS, most=0.3, p=1.0)(dark)
    falling = sorted(BANDS, key=WAVELENGTHS_NM.__getitem__)
    assert falling == BANDS
    assert (veil.diff(dim=1) <= 0).all()
    assert 0.2 * 3000 < veil[:, 0].max() <= 0.3 * 3000
    assert veil[:, 0].diff(dim=2).abs().max() < 0.3 * 3000 * 0.2


def test_blur_keeps_the_mean_and_takes_contrast():
    torch.manual_seed(0)
    image = ground(32)
    blurred = radiometric(**{**ALONE, "blur_share": 0.5})(image)
    same = (blurred - image).abs().amax(dim=(1, 2, 3)) < 1
    assert 8 < same.sum() < 24
    assert torch.allclose(blurred.mean(dim=(2, 3)), image.mean(dim=(2, 3)), rtol=0.01)
    assert (blurred[~same].std(dim=(2, 3)) < image[~same].std(dim=(2, 3))).all()


def test_noise_is_a_share_of_the_bands_deviation():
    torch.manual_seed(0)
    image = ground(16)
    added = radiometric(**{**ALONE, "noise_share": 1.0})(image) - image
    assert np.allclose(added.std(dim=(0, 2, 3)), Radiometric.noise * torch.tensor(NORMALISATION.std[:4]), rtol=0.05)


@pytest.mark.parametrize("bands", [["red"], ["nir", "blue"]])
def test_any_bands_will_do(bands):
    image = ground()[:, [BANDS.index(band) for band in bands]]
    assert radiometric(bands)(image).shape == image.shape


def coded(n=16, size=24):
    """Windows whose every pixel has its own value, the image's band 0 the same as the mask."""
    mask = torch.arange(size * size).reshape(size, size).repeat(n, 1, 1)
    return torch.stack([mask.float(), -mask.float()], dim=1), mask


@settings(max_examples=20, deadline=None)
@given(seed=seeds, size=st.integers(3, 40))
def test_flips_and_turns_move_whole_pixels(seed, size):
    image, mask = coded(8, size)
    torch.manual_seed(seed)
    moved, classes = type("Turns", (Geometric,), {"scale_share": 0.0})()(image, mask)
    assert torch.equal(moved[:, 0].long(), classes)
    assert torch.equal(moved[:, 1], -moved[:, 0])
    assert torch.equal(classes.flatten(1).sort(dim=1).values, mask.flatten(1))


def test_all_eight_turns_come_and_each_window_has_its_own():
    image, mask = coded(400, 4)
    torch.manual_seed(0)
    _, classes = type("Turns", (Geometric,), {"scale_share": 0.0})()(image, mask)
    variants, numbers = classes.flatten(1).unique(dim=0, return_counts=True)
    assert len(variants) == 8
    assert numbers.min() > 25


@pytest.mark.parametrize("device", DEVICES)
def test_scaled_windows_stay_aligned_and_what_comes_from_outside_is_ignored(device):
    """A ramp is reproduced by bilinear resampling: its value says where a pixel came from."""
    torch.manual_seed(0)
    size = 64
    rows, columns = torch.meshgrid(torch.arange(size), torch.arange(size), indexing="ij")
    mask = ((rows // 8 + columns // 8) % 2).repeat(64, 1, 1).to(device)
    image = torch.stack([rows, columns]).float().repeat(64, 1, 1, 1).to(device) + 1
    moved, classes = type("Scaled", (Geometric,), {"scale_share": 1.0})()(image, mask)
    inside = classes != 255
    assert set(classes.unique().tolist()) == {0, 1, 255}
    assert torch.equal(inside, moved[:, 0] != 0)
    assert (moved.permute(0, 2, 3, 1)[~inside] == 0).all()
    y, x = ((moved[:, band] - 1) for band in (0, 1))
    clear = inside & ((y % 8 - 3.5).abs() < 3) & ((x % 8 - 3.5).abs() < 3)
    expected = (y.round() // 8 + x.round() // 8) % 2
    assert torch.equal(classes[clear], expected[clear].long())
    share = inside.float().mean(dim=(1, 2))
    assert 0.55 < share.min() < 0.6
    assert 0.3 < (share == 1).float().mean() < 0.8


def test_a_magnified_window_shows_any_part():
    torch.manual_seed(0)
    rows, columns = torch.meshgrid(torch.arange(64), torch.arange(64), indexing="ij")
    image = torch.stack([rows, columns]).float().repeat(300, 1, 1, 1) + 1
    large = type("Large", (Geometric,), {"scale": (1.5, 1.5), "scale_share": 1.0})()
    moved, classes = large(image, torch.zeros(300, 64, 64, dtype=torch.long))
    assert (classes == 0).all()
    assert moved.flatten(2).amin(dim=2).min() < 2
    assert moved.flatten(2).amax(dim=2).max() > 63


def test_ignored_pixels_stay_ignored():
    torch.manual_seed(0)
    _, classes = Geometric()(torch.zeros(16, 4, 32, 32), torch.full((16, 32, 32), 255))
    assert (classes == 255).all()


@pytest.mark.parametrize("device", DEVICES)
def test_equal_seeds_give_equal_batches_whatever_autocast_says(device):
    image, mask = ground(16).to(device), torch.randint(0, 2, (16, 64, 64), device=device)
    augment, inputs, move = (
        m.to(device) for m in (Radiometric(BANDS, NORMALISATION), Inputs(BANDS, NORMALISATION), Geometric())
    )
    results = []
    for enabled in (False, True):
        torch.manual_seed(7)
        with torch.autocast(device, torch.bfloat16, enabled=enabled):
            results.append(move(inputs(augment(image))[0], mask))
    assert all(torch.equal(first, second) for first, second in zip(*results, strict=True))
    other = move(inputs(augment(image))[0], mask)
    assert not torch.equal(results[0][0], other[0])


def test_each_window_has_its_own_draws():
    image = ground(1).repeat(16, 1, 1, 1)
    torch.manual_seed(0)
    assert len(Radiometric(BANDS, NORMALISATION)(image).flatten(1).unique(dim=0)) == 16
    small = torch.arange(32 * 32.0).reshape(1, 1, 32, 32).repeat(64, 1, 1, 1)
    assert len(Geometric()(small, torch.zeros(64, 32, 32, dtype=torch.long))[0].flatten(1).unique(dim=0)) > 32
