"""SRNet as a restorer: which pixels the network sees, where its result goes, and who shares a batch."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch
from skimage.data import astronaut

from archs.srnet_arch import SRNet
from data.degradation import Degradation
from keyframes_gan import options, restorers
from keyframes_gan.errors import UserError, WeightsError
from keyframes_gan.faces import align
from keyframes_gan.metrics.fidelity import psnr
from keyframes_gan.restorers import srnet
from keyframes_gan.types import BatchRestorer, FaceClip

CPU = torch.device("cpu")


def points(width: float, centre: float) -> npt.NDArray[np.float32]:
    """Landmarks with level eyes whose box is about `width` pixels wide."""
    raw = np.random.default_rng(1).uniform(0, 1, (68, 2))
    raw[36:42], raw[42:48] = (0.2, 0.3), (0.8, 0.3)
    box = align.box_of(raw)
    placed: npt.NDArray[np.float32] = ((raw - (box[:2] + box[2:]) / 2) * (width / (box[2] - box[0])) + centre).astype(np.float32)
    return placed


def clip(count: int, size: int, width: float, *, seed: int = 0) -> FaceClip:
    crops = np.random.default_rng(seed).integers(0, 256, (count, size, size, 3), np.uint8)
    faces = np.tile(points(width, (size - 1) / 2), (count, 1, 1))
    return FaceClip(seed, 0, crops, np.tile(np.eye(2, 3), (count, 1, 1)), faces)


@pytest.fixture(scope="module")
def network() -> SRNet:
    torch.manual_seed(2)
    net = SRNet("photo", window=8)
    with torch.no_grad():
        net.body.conv_out.bias.fill_(0.5)
        net.body.conv_out.weight.mul_(3)
    return net


@pytest.fixture
def restorer(network: SRNet) -> srnet.SuperResolution:
    return srnet.SuperResolution(network, srnet.SPEC, device=CPU, precision=torch.float32)


def plainly(network: SRNet, crop: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    with torch.inference_mode():
        out = network(torch.from_numpy(np.ascontiguousarray(crop)).permute(2, 0, 1)[None].float() / 255)[0]
    made: npt.NDArray[np.float32] = (out[0].permute(1, 2, 0).clamp(0, 1) * 255).numpy()
    return made


def test_the_network_sees_the_face_and_the_rest_is_interpolated(network: SRNet, restorer: srnet.SuperResolution) -> None:
    given = clip(2, 96, 50)  # 1.12 * 50 = 56, so 64
    restored = restorer.restore(given, restorer.start(0))
    assert restored.shape == (2, 384, 384, 3)
    for crop, made in zip(given.crops, restored, strict=True):
        inside = plainly(network, crop[16:80, 16:80])
        assert np.abs(made[100:284, 100:284] - inside[36:220, 36:220]).max() <= 0.51
        outside = np.ones((384, 384), bool)
        outside[64:320, 64:320] = False
        np.testing.assert_array_equal(made[outside], align.enlarged(crop, 384)[outside])


def test_a_face_at_the_border_is_seen_as_far_as_the_crop_goes(network: SRNet, restorer: srnet.SuperResolution) -> None:
    given = clip(1, 96, 50)
    given = replace(given, landmarks=given.landmarks - 40)
    restored = restorer.restore(given, None)
    assert np.abs(restored[0, 40:216, 40:216] - plainly(network, given.crops[0, :64, :64])[40:216, 40:216]).max() <= 0.51
    whole = clip(1, 64, 120)
    restored = restorer.restore(whole, None)
    assert np.abs(restored[0, 40:216, 40:216] - plainly(network, whole.crops[0])[40:216, 40:216]).max() <= 0.51


def test_several_people_come_out_as_alone(restorer: srnet.SuperResolution, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = []
    original = restorer._enlarge
    monkeypatch.setattr(restorer, "_enlarge", lambda crops: sizes.append(crops.shape[:2]) or original(crops))
    monkeypatch.setitem(srnet.MOST_PIXELS, "cpu", 3 * 64 * 64)
    clips = [clip(3, 96, 50), clip(2, 128, 52, seed=1), clip(1, 96, 25, seed=2)]
    assert isinstance(restorer, BatchRestorer)
    together = restorer.restore_many(clips, [0, 1, 2])
    assert sizes == [(3, 64), (2, 64), (1, 32)]
    for one, made in zip(clips, together, strict=True):
        assert np.abs(restorer.restore(one, 0).astype(int) - made).max() <= 1


def test_frames_of_context_and_ahead_are_not_computed(restorer: srnet.SuperResolution) -> None:
    given = replace(clip(4, 64, 40), context=2, ahead=1)
    restored = restorer.restore(given, None)
    for frame in (0, 1, 3):
        np.testing.assert_array_equal(restored[frame], align.enlarged(given.crops[frame], 256))
    assert (restored[2] != align.enlarged(given.crops[2], 256)).any()


@pytest.mark.parametrize("variant", ["video", "photo"])
def test_either_variant_comes_from_a_file(tmp_path: Path, variant: str) -> None:
    torch.manual_seed(0)
    net = SRNet(variant)  # type: ignore[arg-type]
    path = tmp_path / "net.pth"
    torch.save({"G": {f"module.{name}": value for name, value in net.state_dict().items()}}, path)
    built = restorers.find("srnet", device="cpu", weights=str(path))
    assert isinstance(built, srnet.SuperResolution)
    assert (built._network.variant, built._network.body.encoder.window) == (variant, 0)
    given = clip(1, 32, 25)
    assert np.abs(built.restore(given, None)[0, 20:108, 20:108] - plainly(net.eval(), given.crops[0])[20:108, 20:108]).max() <= 0.51
    assert srnet.create(device="cpu", weights=str(path), window=16)._network.body.encoder.window == 16
    with pytest.raises(UserError, match="window: expected 0"):
        srnet.create(device="cpu", weights=str(path), window=1)


def test_other_weights_are_refused(identity_weights: Path) -> None:
    with pytest.raises(WeightsError, match="expected weights of SRNet"):
        restorers.find("srnet", device="cpu", weights=str(identity_weights))


@pytest.mark.parametrize("strength", [0.0, 1.0], ids=["clean", "bad"])
@pytest.mark.parametrize("name", ["srnet_t", "srnet_f"])
def test_the_shipped_weights_beat_interpolation_on_what_they_were_trained_for(repo_root: Path, name: str, strength: float) -> None:
    truth = np.ascontiguousarray(astronaut()[16:208, 128:320])
    settings = options.plain(options.load(repo_root / "options" / "train" / f"{name}.yml", check_paths=False))
    far = Degradation.of({**settings["degradation"], "scale": 4}).weaker(strength)
    restorer = restorers.find("srnet", device="cpu", weights=name)
    inside, gains = (slice(24, -24), slice(24, -24)), []
    for seed in range(8):
        rng = np.random.default_rng(seed)
        small = far.apply([truth], far.draw(rng), rng)[0]
        given = FaceClip(0, 0, small[None], np.eye(2, 3)[None], points(42, 23.5)[None])
        made = restorer.restore(given, restorer.start(0))[0]
        gains.append(psnr(truth[inside], made[inside]) - psnr(truth[inside], align.enlarged(small, 192)[inside]))
    assert np.mean(gains) > 0.2


def test_wrong_arguments_beside_the_weights_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(srnet.weights_store, "kwargs_of", lambda *_: {"window": "a"})
    with pytest.raises(WeightsError, match="srnet_t: expected arguments of SRNet beside its weights, got "):
        restorers.find("srnet", device="cpu")
