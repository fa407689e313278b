"""FVD: which frames make a run, pooling, and a TorchScript file of the expected signature."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from keyframes_gan import metrics, weights
from keyframes_gan.errors import WeightsError
from keyframes_gan.measure import load_scorers
from keyframes_gan.metrics.clips import Frames, Strip
from keyframes_gan.metrics.distribution import Moments, frechet
from keyframes_gan.metrics.fvd import VideoScorer


class Levels(torch.nn.Module):
    """Has the signature of the published file; its features are mean and motion."""

    def forward(self, clips: torch.Tensor, rescale: bool, resize: bool, return_features: bool) -> torch.Tensor:
        means = clips.mean(dim=[1, 3, 4])
        return torch.stack([means.mean(dim=1), means[:, 1:].sub(means[:, :-1]).abs().mean(dim=1)], dim=1)


def plain(levels: np.ndarray) -> list[np.ndarray]:
    return [np.full((40, 60, 3), level, np.uint8) for level in levels]


def describe(clips: torch.Tensor) -> np.ndarray:
    return Levels()(clips, False, False, True).double().numpy()


def test_runs_are_of_sixteen_frames_and_end_at_cuts() -> None:
    rng = np.random.default_rng(0)
    original, judged = rng.integers(0, 256, (2, 70))
    scorer = VideoScorer(describe)
    cuts = [index in (0, 20) for index in range(70)]
    for first in range(0, 70, 7):
        part = slice(first, first + 7)
        befores = [None if first == 0 else plain(levels[first - 1 : first])[0] for levels in (original, judged)]
        strips = [Strip(plain(levels[part]), before) for levels, before in zip((original, judged), befores, strict=True)]
        scorer.add(Frames(*strips, cuts=cuts[part]))
    score = scorer.finish()
    assert score.values == (None,) * 70
    assert score.value is None
    runs = [slice(0, 16), slice(20, 36), slice(36, 52), slice(52, 68)]

    def moments(levels: np.ndarray) -> Moments:
        scaled = levels / 127.5 - 1
        return Moments.of(np.array([[scaled[run].mean(), np.abs(np.diff(scaled[run])).mean()] for run in runs]))

    assert score.pool.original.count == 4
    assert score.pool.value() == pytest.approx(frechet(moments(original), moments(judged)), rel=1e-4)


def test_boxes_and_short_clips_have_no_run() -> None:
    pictures = plain(np.arange(20))
    boxed, short = VideoScorer(describe), VideoScorer(describe)
    boxed.add(Frames(Strip(pictures), Strip(pictures), boxes=[[(0, 0, 40, 40)]] * 20))
    short.add(Frames(Strip(pictures[:15]), Strip(pictures[:15])))
    assert boxed.finish().pool is None
    assert short.finish().pool is None


@pytest.mark.filterwarnings("ignore:.*torch.jit:FutureWarning")
def test_the_file_is_torchscript(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "i3d_torchscript.pt"
    torch.jit.script(Levels()).save(str(path))
    monkeypatch.setattr(weights, "locate", lambda name: {"i3d_fvd": path}[name])
    scorer = metrics.load_clip("fvd", device="cpu")()
    pictures = plain(np.arange(32))
    scorer.add(Frames(Strip(pictures), Strip(pictures[::-1])))
    assert scorer.finish().pool.original.count == 2
    path.write_bytes(b"something else")
    with pytest.raises(WeightsError, match=r"i3d_torchscript\.pt: expected a TorchScript file"):
        metrics.load_clip("fvd", device="cpu")


def test_without_the_file_it_is_unavailable() -> None:
    if weights.at_hand("i3d_fvd"):
        pytest.skip("the weights of FVD are here")
    _, reasons = load_scorers(["fvd"])
    assert "i3d_torchscript.pt" in reasons["fvd"]
