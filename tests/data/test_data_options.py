"""The options of each data set and its constructor: the same keys, the same defaults, and refusals that help."""

from __future__ import annotations

import importlib
import typing
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from data import DATASETS
from data.position import Positioned
from keyframes_gan import options
from keyframes_gan.errors import OptionsError
from keyframes_gan.options import datasets, plain
from keyframes_gan.video import roundtrip

IGNORED = {"io_backend", "use_rot", "p_none"}
"""Keys of public files that have one value here, and one that the others decide."""


SEQUENCE: dict[str, Any] = {"dataroot": ["x"], "streams": [{"crf": 42}], "cache": "y"}


class Watched(dict[str, Any]):
    """Remembers which keys were asked for."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.asked: set[str] = set()

    def __getitem__(self, key: str) -> Any:
        self.asked.add(key)
        return super().__getitem__(key)

    def __contains__(self, key: object) -> bool:
        self.asked.add(str(key))
        return super().__contains__(key)

    def get(self, key: str, default: Any = None) -> Any:
        self.asked.add(key)
        return super().get(key, default)


@pytest.fixture(params=DATASETS)
def kind(request: pytest.FixtureRequest, footage: Path, synthetic_clips: Path, shots: Path) -> tuple[str, dict[str, Any]]:
    """A data set's name, and no more options than it needs."""
    roots: dict[str, dict[str, Any]] = {
        "DMSASFFNetDataset": {"dataroot": [str(synthetic_clips)], "patch_size": 64},
        "KeyframeClipDataset": {"dataroot": [str(synthetic_clips)], "patch_size": 64},
        "KeyframeSequenceDataset": {"dataroot": [str(shots)], "patch_size": 64, "streams": [{"crf": 30}], "cache": str(shots.parent / "s")},
        "VideoRecurrentTestDataset": {"dataroot_gt": str(footage), "dataroot_lq": str(footage)},
        "VFHQDataset": {"dataroot_gt": str(footage)},
        "SingleVFHQDataset": {"dataroot_gt": str(footage)},
    }
    return request.param, {"name": "t", "type": request.param, **roots[request.param]}


def build(name: str, opt: dict[str, Any]) -> Any:
    return getattr(importlib.import_module(DATASETS[name]), name)(opt)


@pytest.mark.parametrize("phase", ["train", "val"])
def test_defaults_are_the_same(kind: tuple[str, dict[str, Any]], phase: str, same: Callable[..., bool]) -> None:
    name, opt = kind
    if name.startswith("V"):
        opt["num_frame"] = 2
    full = plain(getattr(datasets, name)(**opt))
    bare, complete = build(name, {**opt, "phase": phase}), build(name, {**full, "phase": phase})
    assert len(bare) == len(complete)
    for index in range(0, len(bare), max(1, len(bare) // 4)):
        assert same(Positioned(bare, 0)[index, 3 * index], Positioned(complete, 0)[index, 3 * index])


def test_every_key_is_read_and_no_other(kind: tuple[str, dict[str, Any]]) -> None:
    name, opt = kind
    section = getattr(datasets, name)
    given = Watched({**opt, "phase": "train"})
    data = build(name, given)
    for position in range(3):
        _ = Positioned(data, 0)[0, position]
    known = set(section.model_fields) - set(datasets.Data.model_fields) - (IGNORED - given.asked)
    assert known - given.asked <= {"type"}
    asked = given.asked - known - set(datasets.DMSASFFNetDataset.model_fields)  # a base class asks for its own
    assert asked <= {"phase", "seed", "swap_channels", "legacy"}


@pytest.mark.parametrize(
    ("type_", "given", "words"),
    [
        ("VFHQDataset", {"dataroot_gt": "x", "blur_sigma": [3, 2]}, "smaller value first"),
        ("VFHQDataset", {"dataroot_gt": "x", "blur_sigma": [0, 2]}, "greater than 0"),
        ("VFHQDataset", {"dataroot_gt": "x", "blur_kernel_size": 20}, "an odd number"),
        ("VFHQDataset", {"dataroot_gt": "x", "kernel_prob": [0.5, 0.4]}, "add up to 1, these make 0.9"),
        ("VFHQDataset", {"dataroot_gt": "x", "resize_prob": [1.0]}, "expected 3 probabilities, one for each of"),
        ("VFHQDataset", {"dataroot_gt": "x", "crf_range": [25, 52]}, "less than or equal to 51"),
        ("VFHQDataset", {"dataroot_gt": "x", "interval_list": []}, "at least 1 item"),
        ("VFHQDataset", {"dataroot_gt": "x", "io_backend": {"type": "lmdb"}}, "'disk'"),
        ("VFHQDataset", {}, "expected dataroot_gt .* or dataroot"),
        ("VFHQDataset", {"dataroot": ["x"], "meta_info_file": "y"}, "the folder that it names clips of"),
        ("KeyframeClipDataset", {"dataroot": ["x"], "codecs": ["libx264"]}, "expected 1 probabilities"),
        ("KeyframeClipDataset", {"dataroot": ["x"], "codecs": ["h264"], "codec_prob": [1.0]}, "libx264"),
        ("KeyframeClipDataset", {"dataroot": ["x"], "crf_range": {"libx264": [20, 30]}}, "from 0 to 51, the scale of libx265"),
        ("KeyframeClipDataset", {"dataroot": ["x"], "codecs": ["mpeg4"], "codec_prob": [1.0], "crf_range": {"mpeg4": [0, 3]}}, "1 to 31"),
        ("KeyframeClipDataset", {"dataroot": ["x"], "scale_range": [0.0, 1.0]}, "factors above 0"),
        ("KeyframeClipDataset", {"dataroot": ["x"], "p_hq": 0.5}, "p_hq . p_gop . p_none to be 1"),
        ("KeyframeSequenceDataset", {**SEQUENCE, "cache": None}, "cache"),
        ("KeyframeSequenceDataset", {**SEQUENCE, "streams": []}, "at least 1 item"),
        ("KeyframeSequenceDataset", {**SEQUENCE, "streams": [{}]}, "expected crf or bits_per_pixel, one of the two"),
        ("KeyframeSequenceDataset", {**SEQUENCE, "streams": [{"crf": 30, "bits_per_pixel": 0.1}]}, "crf or bits_per_pixel, one of the two"),
        ("KeyframeSequenceDataset", {**SEQUENCE, "streams": [{"crf": 52}]}, "expected 0 to 51, the scale of libx264"),
        ("KeyframeSequenceDataset", {**SEQUENCE, "streams": [{"codec": "mpeg4", "crf": 0}]}, "expected 1 to 31, the scale of mpeg4"),
        ("KeyframeSequenceDataset", {**SEQUENCE, "streams": [{"crf": 30, "preset": "quick"}]}, "'medium'"),
        ("KeyframeSequenceDataset", {**SEQUENCE, "patch_size": 100}, "multiple of 16"),
        ("KeyframeSequenceDataset", {**SEQUENCE, "p_hq": 0.5}, "expected probabilities that add up to 1, these make 1.1"),
        ("SingleVFHQDataset", {"dataroot_gt": "x", "gt_size": 33}, "multiple of 2"),
        ("VideoRecurrentTestDataset", {"dataroot_gt": "x"}, "dataroot_lq and dataroot_gt together"),
        ("VideoRecurrentTestDataset", {"dataroot": ["x"], "num_frame": 0}, "num_frame"),
    ],
)
def test_refusals(type_: str, given: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        getattr(datasets, type_)(name="t", type=type_, **given)


def test_the_gate_knows_the_encoders() -> None:
    assert datasets.QUALITIES == roundtrip.QUALITIES
    assert set(typing.get_args(datasets.Encoder)) == set(roundtrip.CODECS)
    assert typing.get_args(datasets.Preset) == roundtrip.PRESETS


def test_a_recipe_takes_either_kind_of_reference_data(tmp_path: Path) -> None:
    file = tmp_path / "o.yml"
    file.write_text("""\
name: either
model_type: DMSASFFNetModel
datasets:
  train: {name: a, type: KeyframeClipDataset, dataroot: [clips.jsonl], crf_range: {libx264: [20, 30]}, codecs: [libx264], codec_prob: [1.0]}
  val: {name: b, type: DMSASFFNetDataset, dataroot: [clips.jsonl]}
network_g: {type: DMSASFFNetLite}
train:
  total_iter: 1
  optim_g: {type: Adam, lr: 1e-4}
  scheduler: {type: CosineAnnealingLR}
  pixel_opt: {type: L1Loss}
val: {val_freq: 1, metrics: {psnr: {type: psnr}}}
logger: {save_checkpoint_freq: 1}
""")
    made = options.load(file, root=tmp_path, check_paths=False)
    assert [type(section).__name__ for section in made.datasets.values()] == ["KeyframeClipDataset", "DMSASFFNetDataset"]
    with pytest.raises(OptionsError, match=r"datasets\.train\.crf_range\.libx264: expected \[lowest, highest\] from 0 to 51"):
        options.load(file, ["datasets:train:crf_range:libx264=[20, 60]"], root=tmp_path, check_paths=False)


def test_paths_are_checked_where_they_should_be(footage: Path) -> None:
    context = {"root": str(footage), "check_paths": True}
    good = {"name": "t", "type": "VFHQDataset", "dataroot_gt": "frames"}
    assert datasets.VFHQDataset.model_validate(good, context=context).dataroot_gt == "frames"
    for wrong in ("gone", "video.mp4"):
        with pytest.raises(ValidationError, match="no such folder"):
            datasets.VFHQDataset.model_validate({**good, "dataroot_gt": wrong}, context=context)
