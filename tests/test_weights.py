import pytest
import torch
from torchgeo.models import ResNet18_Weights

from rts_pipeline.errors import InputError, UsageError
from rts_pipeline.learning import network
from rts_pipeline.learning.weights import adapt, load_encoder, load_weights, read_state

BANDS = ["blue", "green", "red", "nir"]


def encoder(name="resnet18", inputs=4):
    return network.build_network("deeplabv3+", name, inputs).encoder


def test_names_may_carry_a_prefix(tmp_path):
    source, target = encoder(), encoder()
    state = {f"model.encoder.{name}": value for name, value in source.state_dict().items()}
    torch.save({"state_dict": {**state, "head": torch.zeros(1)}}, tmp_path / "w.pt")
    load_encoder(target, str(tmp_path / "w.pt"), BANDS)
    assert all(torch.equal(a, b) for a, b in zip(source.state_dict().values(), target.state_dict().values(), strict=True))


def test_a_timm_encoder_takes_timm_weights(tmp_path):
    import timm

    source = timm.create_model("resnet18", in_chans=4, pretrained=False)
    torch.save(source.state_dict(), tmp_path / "w.pt")
    for name in ("resnet18", "tu-resnet18"):
        target = encoder(name)
        load_encoder(target, str(tmp_path / "w.pt"), BANDS)
        assert torch.equal(next(target.parameters()), source.conv1.weight)


def test_weights_of_old_torch_count_no_batches(tmp_path):
    source, target = encoder(), encoder()
    state = {name: value for name, value in source.state_dict().items() if not name.endswith("num_batches_tracked")}
    assert len(state) < len(source.state_dict())
    torch.save(state, tmp_path / "w.pt")
    load_encoder(target, str(tmp_path / "w.pt"), BANDS)
    loaded = target.state_dict()
    assert all(torch.equal(value, loaded[name]) for name, value in state.items())


@pytest.mark.parametrize("name", ["resnet10t", "tu-mobilenetv3_small_100"])
def test_encoders_of_timm_are_known_by_name(name):
    made = network.build_network("fpn", name, 5).eval()
    assert made(torch.zeros(1, 5, 64, 64)).shape == (1, 1, 64, 64)


def test_colour_weights_fit_four_bands(tmp_path):
    source = encoder(inputs=3)
    torch.save(source.state_dict(), tmp_path / "w.pt")
    target = encoder()
    load_encoder(target, str(tmp_path / "w.pt"), BANDS)
    red, green, blue = source.conv1.weight.unbind(dim=1)
    expected = torch.stack([blue, green, red, (red + green + blue) / 3], dim=1) * 3 / 4
    assert torch.allclose(target.conv1.weight, expected)


def test_responses_keep_their_size():
    # Ground that is equally bright in all bands gives what it gave before.
    kernel = torch.randn(8, 3, 7, 7)
    for inputs in (BANDS, ["red"], ["nir", "ndvi"], ["blue", "green", "red"]):
        assert torch.allclose(adapt(kernel, None, ["blue", "green", "red", "nir"]).sum(dim=1), kernel.sum(dim=1), atol=1e-5)
        assert adapt(kernel, None, inputs).shape == (8, len(inputs), 7, 7)


def test_sentinel_2_weights_of_the_cache(tmp_path, monkeypatch):
    source = encoder(inputs=13)
    weights = ResNet18_Weights.SENTINEL2_ALL_MOCO
    cached = tmp_path / "hub" / "checkpoints" / weights.url.rsplit("/", 1)[1]
    cached.parent.mkdir(parents=True)
    torch.save(source.state_dict(), cached)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    target = encoder()
    load_encoder(target, "ResNet18_Weights.SENTINEL2_ALL_MOCO", BANDS)
    bands = [weights.meta["bands"].index(name) for name in ("B2", "B3", "B4", "B8")]
    assert torch.allclose(target.conv1.weight, source.conv1.weight[:, bands] * 13 / 4)


def test_weights_that_are_not_in_the_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    with pytest.raises(UsageError, match=r"SENTINEL2_ALL_MOCO' is not in torch's cache .*get_state_dict"):
        load_encoder(encoder(), "ResNet18_Weights.SENTINEL2_ALL_MOCO", BANDS)
    with pytest.raises(UsageError, match=r"'ResNet18_Weights\.MARS' is unknown to torchgeo"):
        load_encoder(encoder(), "ResNet18_Weights.MARS", BANDS)


def test_weights_that_do_not_fit_are_refused(tmp_path):
    path = tmp_path / "w.pt"
    torch.save(encoder("resnet34").state_dict(), path)
    with pytest.raises(InputError, match=r"doesn't fit: layer1\.0\.conv1\.weight|doesn't fit: \S+ is "):
        load_encoder(encoder("resnet50"), str(path), BANDS)
    torch.save(encoder(inputs=6).state_dict(), path)
    with pytest.raises(InputError, match=r"doesn't fit: conv1\.weight is \(64, 6, 7, 7\).*expected \(64, 4, 7, 7\)"):
        load_encoder(encoder(), str(path), BANDS)


def test_files_that_are_no_weights_are_named(tmp_path):
    with pytest.raises(InputError, match=r"w\.pt: no such file"):
        read_state(tmp_path / "w.pt", "train.weights")
    with pytest.raises(InputError, match=r"is no file; expected weights \(train\.weights\)"):
        read_state(tmp_path, "train.weights")
    (tmp_path / "w.pt").write_bytes(b"no weights")
    with pytest.raises(InputError, match="not a file of weights"):
        read_state(tmp_path / "w.pt", "train.weights")


def test_a_network_takes_only_its_own_weights():
    source, target = network.build_network("unet", "resnet18", 4), network.build_network("unet", "resnet18", 4)
    load_weights(target, source.state_dict(), "here", "train.warm_start")
    assert all(torch.equal(a, b) for a, b in zip(source.parameters(), target.parameters(), strict=True))
    with pytest.raises(InputError, match="here: doesn't fit"):
        load_weights(target, encoder().state_dict(), "here", "train.warm_start")
