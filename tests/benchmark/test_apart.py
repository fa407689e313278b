"""What restoring costs: multiply-accumulates against a closed form, memory against a known allocation, in a process of its own."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch

from keyframes_gan.benchmark.apart import macs_per_face, resident_peak, restore_apart
from keyframes_gan.benchmark.plan import LOSSLESS
from keyframes_gan.errors import UserError
from keyframes_gan.pipeline.settings import Settings
from keyframes_gan.portrait import portrait_clip
from keyframes_gan.types import FaceClip, RestorerSpec
from keyframes_gan.video.compress import encode_frames

SIDE = 256


class OneConvolution:
    """Runs one 3 x 3 convolution from 3 to 8 channels over every crop, and gives the crop back."""

    spec = RestorerSpec("one", "for this test", None, (SIDE,), clip_length=2, overlap=0, licence="", residual=True)

    def __init__(self) -> None:
        self.network = torch.nn.Conv2d(3, 8, 3, padding=1)

    def start(self, track_id: int) -> object:
        return track_id

    def restore(self, clip: FaceClip, state: object) -> npt.NDArray[np.uint8]:
        with torch.inference_mode():
            self.network(torch.from_numpy(clip.crops).permute(0, 3, 1, 2).float())
        return clip.crops


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("apart") / "clip.mkv"
    encode_frames(portrait_clip(3, (192, 192), 0.9), path, rate=25, encoding=LOSSLESS)
    return path


def test_multiply_accumulates_are_those_of_the_network(clip: Path, tmp_path: Path) -> None:
    counted = macs_per_face(clip, tmp_path / "out.mkv", Settings(encoding=LOSSLESS), OneConvolution())
    assert counted == SIDE * SIDE * 3 * 8 * 3 * 3


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells it")
def test_the_peak_is_what_was_held_and_stays(clip: Path) -> None:
    before = resident_peak()
    assert before is not None
    block = np.ones(before // 8 + 25_000_000)  # more than ever before, by 200 MB
    size = block.nbytes
    del block
    after = resident_peak()
    assert after is not None
    assert size <= after <= before + size


def test_a_process_of_its_own_tells_time_memory_and_work(clip: Path, tmp_path: Path) -> None:
    """It holds Python and PyTorch, above 100 MB, whatever this process holds; without a network nothing is multiplied."""
    held = np.ones(500_000_000, np.uint8)
    cost, _ = restore_apart(clip, tmp_path / "out.mkv", Settings(restorer="none", encoding=LOSSLESS))
    assert held[-1] == 1
    assert (tmp_path / "out.mkv").is_file()
    assert cost.seconds is not None
    assert cost.seconds > 0
    assert cost.macs_per_face is None
    if sys.platform == "linux":
        assert cost.peak_bytes is not None
        assert 1e8 < cost.peak_bytes < (resident_peak() or 0)


def test_what_is_wrong_there_is_told_here(clip: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="expected one of keyframes_lite"):
        restore_apart(clip, tmp_path / "out.mkv", Settings(restorer="magic", encoding=LOSSLESS))
