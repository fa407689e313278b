"""Metrics of other packages: VMAF through FFmpeg, pyiqa's by name; and what is said when those are not there."""

from __future__ import annotations

import importlib
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch

from keyframes_gan import metrics
from keyframes_gan.errors import MediaError, UserError
from keyframes_gan.measure import load_scorers
from keyframes_gan.metrics import UnavailableError, pyiqa_bridge, vmaf
from keyframes_gan.metrics.clips import ClipScore, Frames, Strip
from keyframes_gan.metrics.pyiqa_bridge import offline


@pytest.fixture
def program() -> str:
    try:
        return vmaf.find_program()
    except UnavailableError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="module")
def clip() -> list[np.ndarray]:
    from skimage.data import astronaut  # noqa: PLC0415  # slow to import

    return [np.ascontiguousarray(astronaut()[100:197, 100 + index : 229 + index]) for index in range(4)]


def run(program: str, original: list[np.ndarray], judged: list[np.ndarray], **more: list) -> ClipScore:
    scorer = vmaf.VmafScorer(program)
    scorer.add(Frames(Strip(original), Strip(judged), **more))
    return scorer.finish()


def test_vmaf_of_a_copy_is_near_100_and_falls_with_noise(program: str, clip: list[np.ndarray]) -> None:
    rng = np.random.default_rng(0)
    noisy = [[np.clip(one + rng.normal(0, size, one.shape), 0, 255).astype(np.uint8) for one in clip] for size in (10, 40)]
    same, little, much = (run(program, clip, judged) for judged in (clip, *noisy))
    assert same.values[0] > 97
    assert same.values[1:] == (100.0, 100.0, 100.0)
    assert 100 > little.value > much.value + 10
    assert little.value == pytest.approx(np.mean(little.values))


def test_vmaf_takes_batches_and_leaves_out_boxes_and_small_pictures(program: str, clip: list[np.ndarray]) -> None:
    judged = [255 - one for one in clip]
    scorer = vmaf.VmafScorer(program)
    scorer.add(Frames(Strip(clip[:1]), Strip(judged[:1])))
    scorer.add(Frames(Strip(clip[1:], clip[0]), Strip(judged[1:], judged[0])))
    assert scorer.finish() == run(program, clip, judged)
    assert run(program, clip, judged, boxes=[[]] * 4) == ClipScore((None,) * 4, None)
    small = [one[:20] for one in clip]
    assert run(program, small, small).value is None


def test_vmaf_tells_what_went_wrong(clip: list[np.ndarray], tmp_path: Path) -> None:
    broken = tmp_path / "ffmpeg"
    broken.write_text("#!/bin/sh\necho 'no such filter' >&2\nexit 3\n")
    broken.chmod(0o755)
    with pytest.raises(MediaError, match="VMAF: FFmpeg ended with status 3: no such filter"):
        run(str(broken), clip, clip)


def test_without_a_program_vmaf_is_unavailable(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    vmaf.find_program.cache_clear()
    request.addfinalizer(vmaf.find_program.cache_clear)
    monkeypatch.setattr(vmaf, "_packaged", lambda: None)
    monkeypatch.setattr(vmaf.shutil, "which", lambda _: None)
    scorers, reasons = load_scorers(["psnr", "vmaf"])
    assert list(scorers) == ["psnr"]
    assert reasons == {"vmaf": "VMAF needs an FFmpeg with libvmaf (no FFmpeg found); run: pip install imageio-ffmpeg"}


@pytest.fixture
def fake_pyiqa(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[..., object]], None]:
    """Put a package of that name in the place of the real one; give it what makes metrics."""

    def put(create: Callable[..., object]) -> None:
        package, configs = ModuleType("pyiqa"), ModuleType("pyiqa.default_model_configs")
        package.create_metric = create
        package.__spec__ = importlib.machinery.ModuleSpec("pyiqa", None)
        configs.DEFAULT_CONFIGS = {
            "musiq": {"metric_mode": "NR", "score_range": "~0, ~100"},
            "lpips": {"metric_mode": "FR", "lower_better": True, "score_range": "0, 1"},
            "fid": {"metric_mode": "FR"},
        }
        monkeypatch.setitem(sys.modules, "pyiqa", package)
        monkeypatch.setitem(sys.modules, "pyiqa.default_model_configs", configs)

    return put


def test_pyiqa_by_name(fake_pyiqa: Callable, clip: list[np.ndarray]) -> None:
    class Difference(torch.nn.Module):
        def __init__(self, mode: str) -> None:
            super().__init__()
            self.metric_mode = mode

        def forward(self, picture: torch.Tensor, original: torch.Tensor | None = None) -> torch.Tensor:
            return picture.mean() if original is None else (original - picture).mean()

    fake_pyiqa(lambda name, device: Difference({"musiq": "NR", "lpips": "FR"}[name]).to(device))
    assert (metrics.find("pyiqa:musiq").better, metrics.find("pyiqa:musiq").uses_original) == ("higher", False)
    assert (metrics.find("pyiqa:lpips").better, metrics.find("pyiqa:lpips").uses_original) == ("lower", True)
    first, second = clip[:2]
    assert metrics.load("pyiqa:musiq")(first, second) == pytest.approx(second.mean() / 255, rel=1e-5)
    assert metrics.load("pyiqa:lpips")(first, second) == pytest.approx((first.mean() - second.mean()) / 255, abs=1e-6)
    for name in ("pyiqa:fid", "pyiqa:musik"):
        with pytest.raises(UserError, match="expected pyiqa: and a metric of single pictures"):
            metrics.find(name)


def test_pyiqa_never_downloads(fake_pyiqa: Callable, capsys: pytest.CaptureFixture[str]) -> None:
    def fetch(*_: object, **__: object) -> None:
        sys.stdout.write("Downloading ...")
        socket.create_connection(("192.0.2.1", 443), timeout=5)

    fake_pyiqa(fetch)
    connect = socket.socket.connect
    with pytest.raises(UnavailableError, match=r"pyiqa:musiq: its weights are not in pyiqa's cache .*metrics do not download"):
        metrics.load("pyiqa:musiq")
    assert socket.socket.connect is connect
    assert capsys.readouterr().out == ""
    with offline(), pytest.raises(ConnectionRefusedError):
        socket.create_connection(("192.0.2.1", 443), timeout=5)


def test_without_pyiqa_its_metrics_are_unavailable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyiqa", None)
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    assert metrics.find("pyiqa:musiq").better == "unknown"
    _, reasons = load_scorers(["pyiqa:musiq"])
    assert "need that package" in reasons["pyiqa:musiq"]


def test_a_pyiqa_that_does_not_import_is_unavailable(fake_pyiqa: Callable, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(name: str) -> None:
        msg = f"{name}: `np.sctypes` was removed in the NumPy 2.0 release"
        raise AttributeError(msg)

    fake_pyiqa(lambda *_, **__: None)
    monkeypatch.setattr(pyiqa_bridge.importlib, "import_module", fail)
    assert pyiqa_bridge.describe("pyiqa:musiq").better == "unknown"
    with pytest.raises(UnavailableError, match=r"the package pyiqa cannot be imported .*NumPy 2\.0 release\); run: pip install 'pyiqa>="):
        pyiqa_bridge.load(argument="musiq")
