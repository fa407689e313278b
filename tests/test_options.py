"""The gate: every problem at once, with its place; nothing unsafe; nothing silently accepted."""

from __future__ import annotations

import importlib
import inspect
import typing
from collections.abc import Callable
from pathlib import Path

import pytest
from pydantic import ValidationError

import archs
import losses
from keyframes_gan import metrics, options
from keyframes_gan.errors import OptionsError
from keyframes_gan.options import networks, schemas, training
from keyframes_gan.options.reading import Place, read_text

GOOD = """\
name: good
model_type: DMSASFFNetModel
datasets:
  train: {name: a, type: DMSASFFNetDataset, dataroot: [clips.jsonl]}
  val: {name: b, type: DMSASFFNetDataset, dataroot: [clips.jsonl]}
network_g: {type: DMSASFFNetLite, blocks: 3}
train:
  total_iter: 10
  optim_g: {type: Adam, lr: 1e-4}
  scheduler: {type: CosineAnnealingLR}
  pixel_opt: {type: L1Loss}
val: {val_freq: 5, metrics: {psnr: {type: calculate_psnr}}}
logger: {save_checkpoint_freq: 5}
"""


def problems(path: Path, text: str, *overrides: str, check_paths: bool = False) -> list[str]:
    path.write_text(text)
    with pytest.raises(OptionsError) as caught:
        options.load(path, overrides, root=path.parent, check_paths=check_paths)
    return str(caught.value).splitlines()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "o.yml"


def test_every_options_file_passes(repo_root: Path) -> None:
    files = sorted(path for folder in ("train", "test") for path in (repo_root / "options" / folder).rglob("*.yml"))
    assert len(files) >= 3
    for path in files:
        load = options.load_benchmark if "\nmethods:" in path.read_text() else options.load
        load(path, check_paths=False)


def test_good_options_are_typed_and_complete(file: Path) -> None:
    file.write_text(GOOD)
    checked = options.load(file, root=file.parent, check_paths=False)
    assert checked.train is not None
    assert checked.train.optim_g.lr == 1e-4
    plain = options.plain(checked)
    assert plain["network_g"] == {"type": "DMSASFFNetLite", "blocks": 3}
    assert plain["train"]["ema_decay"] == 0.999
    with pytest.raises(ValidationError):
        checked.train.total_iter = 3  # type: ignore[misc]


def test_all_problems_are_reported_at_once_with_their_places(file: Path) -> None:
    text = """\
name: bad name
model_type: DMSASFFNetModel
num_gpu: 1.5
datasets:
  train: {name: a, type: DMSASFFNetDataset, dataroot: [nope.jsonl], p_hq: 2, patch_sise: 3}
network_g: {type: DMSASFFNetLiet}
train:
  total_iter: 1e4
  ema_deacy: 0.9
  evil: !!python/object/apply:os.system ["touch /tmp/evil"]
  optim_g: {type: Adam, lr: yes}
  optim_g: {type: Adam, lr: 1}
  scheduler: {type: CosineAnnealingLR}
"""
    found = problems(file, text, check_paths=True)
    starts = [line.removeprefix(f"{file}:").split(": ", 2)[:2] for line in found]
    for place_and_key in (
        ["1:7", "name"],
        ["3:10", "num_gpu"],
        ["5:56", "datasets.train.dataroot[0]"],
        ["5:75", "datasets.train.p_hq"],
        ["5:78", "datasets.train.patch_sise"],
        ["6:19", "network_g.type"],
        ["8:15", "train.total_iter"],
        ["9:3", "train.ema_deacy"],
        ["10:9", "train.evil"],
        ["11:29", "train.optim_g.lr"],
        ["12:3", "train.optim_g"],
    ):
        assert place_and_key in starts, (place_and_key, found)
    text_found = "\n".join(found)
    assert "unknown key; did you mean ema_decay?" in text_found
    assert "given twice, first at line 11" in text_found
    assert 'got "nope.jsonl"' in text_found
    assert "python/object/apply:os.system is not allowed" in text_found
    assert "expected one of DMSASFFNetLite, DMSASFFNet, got" in text_found


def test_what_does_not_go_together_is_told_beside_unknown_keys_and_missing_files(file: Path) -> None:
    text = """\
name: a
model_type: DMSASFFNetModel
datasets:
  train: {name: a, type: DMSASFFNetDataset, dataroot: [nope.jsonl], batch_size_per_gpu: 8, patch_sise: 64}
network_g: {type: DMSASFFNetLite}
train:
  total_iter: 10
  accumulate: 3
  optim_g: {type: Adam, lr: 1e-4}
  scheduler: {type: CosineAnnealingLR}
  pixel_opt: {type: L1Loss}
logger: {save_checkpoint_freq: 5, print_frek: 3}
"""
    found = problems(file, text, check_paths=True)
    assert [line.split(": ")[1] for line in found] == [
        "datasets.train.dataroot[0]",
        "datasets.train.patch_sise",
        "train.accumulate",
        "logger.print_frek",
    ]


def test_unsafe_tag_runs_nothing(file: Path, tmp_path: Path) -> None:
    marker = tmp_path / "ran"
    problems(file, GOOD + f'evil: !!python/object/apply:os.mkdir ["{marker}"]\n')
    assert not marker.exists()


@pytest.mark.parametrize(
    ("change", "key", "words"),
    [
        (("p_none", ", p_none: 0.5"), "p_none", "p_hq + p_gop + p_none"),
        (("pin", ", prefetch_mode: cuda"), "pin_memory", "expected true"),
        (("cpu", ", prefetch_mode: cpu"), "prefetch_mode", "'cuda'"),
        (("patch", ", patch_size: 100"), "patch_size", "multiple of 16"),
        (("marks", ", landmark_channels: 3"), "landmark_channels", "expected 1, as DMSASFFNetLite"),
    ],
)
def test_inconsistent_data_options(file: Path, change: tuple[str, str], key: str, words: str) -> None:
    found = problems(file, GOOD.replace("[clips.jsonl]}", f"[clips.jsonl]{change[1]}}}", 1))
    assert len(found) == 1
    assert "o.yml:4:" in found[0]
    assert f"datasets.train.{key}: " in found[0]
    assert words in found[0]


@pytest.mark.parametrize(
    ("override", "start"),
    [
        ("train:accumulate=3", "--force_yml:1:1: train.accumulate: expected a divisor of batch_size_per_gpu 8, got 3"),
        ("network_d={type: MultiScaleDiscriminator}", "--force_yml:1:1: network_d: expected network_d and train.gan_opt together"),
        ("train:optim_d={type: SGD, lr: 1}", "o.yml:8:3: train.gan_opt: expected gan_opt and optim_d together"),
        ("train:pixel_opt=null", "--force_yml:1:1: train.pixel_opt: expected a pixel_opt or a perceptual_opt"),
        ("train:scheduler={type: CosineAnnealingRestartLR, periods: [5]}", "--force_yml:1:1: train.scheduler.periods: expected periods"),
        ("train:optim_g:lr=-1", "--force_yml:1:1: train.optim_g.lr: expected greater than 0, got -1"),
        ("train:optim_g:lr=1_e", '--force_yml:1:1: train.optim_g.lr: expected a valid number, got "1_e"'),
        ("train:optim_g:lr=.nan", "--force_yml:1:1: train.optim_g.lr: expected a finite number, got NaN"),
        ("model_type=KEEP", "--force_yml:1:1: model_type: expected one of DMSASFFNetModel, KEEPGANModel, KEEPModel, "),
        ("logger=null", "--force_yml:1:1: logger: expected for training: datasets.train and a logger section"),
        ("train", "--force_yml:1:1: expected section:key=value"),
        ("name:x:y=3", "--force_yml:1:1: name.x.y: name.x is no section"),
        ("trian:total_iter=3", "--force_yml:1:1: trian: unknown key; did you mean train?"),
        ("train:total_iter=[1", "--force_yml:1:1: train.total_iter: not YAML"),
    ],
)
def test_wrong_overrides(file: Path, override: str, start: str) -> None:
    found = problems(file, GOOD, override)
    assert any(line.removeprefix(f"{file.parent}/").startswith(start) for line in found), found


def test_overrides_replace_and_add(file: Path) -> None:
    file.write_text(GOOD)
    made = options.load(file, ["train:optim_g:lr=1e-3", "path:strict_load_g=false", "device=cpu"], root=file.parent, check_paths=False)
    assert made.train is not None
    assert (made.train.optim_g.lr, made.path.strict_load_g, made.device) == (1e-3, False, "cpu")
    assert options.digest(made) != options.digest(options.load(file, root=file.parent, check_paths=False))


def test_files_that_are_no_options(file: Path) -> None:
    assert problems(file, "")[0].endswith("o.yml:1:1: expected options, got an empty file")
    assert "expected a mapping" in problems(file, "- 1\n")[0]
    assert "o.yml:2:2: not YAML" in problems(file, "a: [1\nb: 2\n")[0]
    file.write_bytes(b"name: \xff")
    with pytest.raises(OptionsError, match="UTF-8"):
        options.load(file)
    with pytest.raises(OptionsError, match="give an existing file with -opt"):
        options.load(file.parent / "missing.yml")


def test_paths_are_relative_to_the_root(file: Path) -> None:
    file.write_text(GOOD)
    (file.parent / "clips.jsonl").touch()
    options.load(file, root=file.parent)
    assert len(problems(file, GOOD.replace("clips.jsonl", "other.jsonl"), check_paths=True)) == 2


def test_weights_are_a_file_or_a_name(file: Path) -> None:
    file.write_text(GOOD)
    options.load(file, ["path:pretrain_network_g=keyframes_lite"], root=file.parent, check_paths=False)
    (file.parent / "clips.jsonl").touch()
    found = problems(file, GOOD, "path:pretrain_network_g=no/such.pth", check_paths=True)
    assert found == [
        '--force_yml:1:1: path.pretrain_network_g: no such file (relative paths start at the repository\'s root), got "no/such.pth"'
    ]


def test_yaml_numbers_merges_and_places() -> None:
    document = read_text("base: &b {x: 1e-4, y: -1}\nmore:\n  <<: *b\n  y: 2.5e3\n", "f")
    assert document.problems == []
    assert document.data["more"] == {"x": 1e-4, "y": 2500.0}
    assert document.place(("more", "y")) == Place("f", 4, 6)
    assert document.place(("more", "x")) == Place("f", 1, 14)
    assert document.place(("more", "z", "w"), of_key=True) == Place("f", 2, 1)


def test_yaml_bombs_and_loops_are_refused() -> None:
    lines = ["a0: &a0 [1, 1, 1, 1, 1, 1, 1, 1, 1, 1]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 9)]
    bomb = read_text("\n".join(lines), "f")
    assert len(bomb.problems) == 1
    assert "aliases" in str(bomb.problems[0])
    assert "aliases" in str(read_text("a: &a [*a]\n", "f").problems[0])


@pytest.mark.parametrize("read_options", [options.load, options.load_benchmark, options.load_routing])
@pytest.mark.parametrize(("opening", "closing"), [("[", "]"), ("{b: ", "}")])
def test_options_nested_too_deep_are_one_line(tmp_path: Path, read_options: Callable[[Path], object], opening: str, closing: str) -> None:
    path = tmp_path / "deep.yml"
    path.write_text(f"a: {3000 * opening}{3000 * closing}\n")
    with pytest.raises(OptionsError, match=r"deep\.yml:1:\d+: expected at most 50 levels of sections or lists, got more$"):
        read_options(path)
    assert not read_text(f"a: {40 * '['}{40 * ']'}", "f").problems


def test_network_sections_fit_the_constructors() -> None:
    for section in networks.NETWORKS.values():
        parameters = inspect.signature(archs.find(section.__name__)).parameters
        assert set(section.model_fields) - {"type"} == set(parameters)


def test_the_networks_of_both_keep_releases_are_understood() -> None:
    new = networks.KEEP(type="KEEP", cft_list=["16", "32", "64"], cfa_list=[16, 32], cfa_nhead=4, cfa_dim=256, cond=1)
    old = networks.KEEP(type="KEEP", connect_list=["16", "32", "64"], cross_fuse_list=["16", "32"], flow_type="gmflow")
    assert schemas.plain(new)["cfa_list"] == [16, 32]
    assert schemas.plain(old)["connect_list"] == ["16", "32", "64"]
    with pytest.raises(ValueError, match="cfa_dim or its older name, not both"):
        networks.KEEP(type="KEEP", cfa_dim=256, cross_fuse_dim=256)
    with pytest.raises(ValueError, match="fix_modules"):
        networks.KEEP(type="KEEP", fix_modules=["decoder"])
    assert {"cfa_nhead", "ndf"} <= schemas.known_keys()


def test_metric_sections_cover_our_metrics_and_know_which_way_is_better() -> None:
    better = {
        name: section.model_fields["better"].default
        for section in (schemas.OwnFidelity, schemas.OwnDistance)
        for name in typing.get_args(section.model_fields["type"].annotation)
    }
    assert better == {name: metric.better for name, metric in metrics.METRICS.items() if metric.of == "picture"}


def test_loss_sections_fit_the_constructors() -> None:
    for section in (training.PerceptualLoss, training.GANLoss, training.LPIPSLoss, training.CodeLoss, training.TemporalWarpLoss):
        for name in typing.get_args(section.model_fields["type"].annotation):
            cls = getattr(importlib.import_module(losses.LOSSES[name]), name)
            accepted = {key for base in cls.__mro__[:-1] if "__init__" in vars(base) for key in inspect.signature(base).parameters}
            assert set(section.model_fields) - {"type"} <= accepted


KEEP = """\
name: k
model_type: KEEPModel
datasets:
  train: {name: a, type: VFHQDataset, dataroot: [clips.jsonl]}
network_g: {type: KEEP}
path: {pretrain_network_g: keep_v1}
train:
  total_iter: 10
  optim_g: {type: Adam, lr: 1e-4}
  scheduler: {type: CosineAnnealingLR}
  pixel_opt: {type: L1Loss}
logger: {save_checkpoint_freq: 5}
"""


def test_keep_begins_with_weights(file: Path) -> None:
    for begin in ("pretrain_network_g: keep_v1", "pretrain_network_vqgan: a.pth, pretrain_network_flow: gmflow_sintel"):
        file.write_text(KEEP.replace("pretrain_network_g: keep_v1", begin))
        assert options.load(file, check_paths=False).path.pretrain_network_d is None
    for given, keys in (("", ["flow", "vqgan"]), ("pretrain_network_vqgan: a.pth", ["flow"])):
        found = problems(file, KEEP.replace("pretrain_network_g: keep_v1", given))
        assert [line.split(": ")[1] for line in found] == [f"path.pretrain_network_{key}" for key in keys]


def test_keeps_third_stage_needs_the_second_and_looks_where_frames_meet(file: Path) -> None:
    text = KEEP.replace("KEEPModel", "KEEPGANModel")
    found = problems(file, text, "train:temporal_opt={loss_weight: 0.1}", "train:temporal_side=64")
    assert ["train.temporal_side: expected one of network_g.cfa_list [16, 32], got 64" in line for line in found] == [True]
    found = problems(file, text.replace("pretrain_network_g: keep_v1", ""))
    assert ["path.pretrain_network_g: expected what stage 2 made" in line for line in found] == [True]
    found = problems(file, text, "train:temporal_opt={loss_weight: 0.1}", "network_g:cfa_list=[]")
    assert ["train.temporal_side: expected one of network_g.cfa_list [], got" in line for line in found] == [True]
    found = problems(file, text, "train:perceptual_opt={type: PerceptualLoss, layer_weights: {conv5_4: 1}}")
    assert any("train.perceptual_opt.type" in line for line in found)


def test_networks_of_aligned_faces_want_data_of_their_size(file: Path) -> None:
    small = ["network_g:img_size=32", "datasets:train:num_frame=1", "train:perceptual_opt={type: LPIPSLoss}"]
    assert {line.split(": ", 1)[1] for line in problems(file, KEEP, *small)} == {
        'train.perceptual_opt: expected none for pictures below 64 pixels, got {"type": "LPIPSLoss"}',
        "datasets.train.gt_size: expected 32, network_g.img_size, got nothing",
        "datasets.train.num_frame: expected 2 at least, got 1",
    }


FLOW = """\
name: f
model_type: KeyframeFlowModel
datasets:
  train: {name: a, type: KeyframeSequenceDataset, dataroot: [clips.jsonl], cache: streams, streams: [{crf: 42}]}
network_g: {type: KeyframeFlowNet, blocks: [0, 1, 1]}
train:
  total_iter: 10
  optim_g: {type: Adam, lr: 1e-4}
  scheduler: {type: CosineAnnealingLR}
  pixel_opt: {type: L1Loss}
logger: {save_checkpoint_freq: 5}
"""


def test_the_flow_recipes_options(file: Path) -> None:
    file.write_text(FLOW)
    checked = options.plain(options.load(file, root=file.parent, check_paths=False))
    assert checked["train"]["gradient_weight"] == 0
    assert checked["datasets"]["train"]["streams"] == [{"codec": "libx264", "crf": 42.0, "preset": "medium", "gop": 250, "scale": 1.0}]
    (file.parent / "clips.jsonl").touch()
    options.load(file, root=file.parent)  # the cache need not be there


def test_vivid_options_want_faithful_weights(file: Path) -> None:
    vivid = FLOW.replace("KeyframeFlowModel", "VividFlowModel").replace("{type: KeyframeFlowNet,", "{type: VividKeyframeFlowNet,")
    (file.parent / "clips.jsonl").touch()
    found = [line.split(": ", 1)[1] for line in problems(file, vivid + "path: {param_key_g: params}\n", "manual_seed=1")]
    assert [line for line in found if line.startswith("path: expected pretrain_network_g")], found
    file.write_text(vivid + "path: {pretrain_network_g: keyframes_lite}\n")
    options.load(file, root=file.parent)


@pytest.mark.parametrize(
    ("override", "start"),
    [
        ("datasets:train:streams=[{crf: 60}]", "datasets.train.streams[0].crf: expected 0 to 51, the scale of libx264, got 60"),
        ("datasets:train:streams=[{codec: libx265}]", "datasets.train.streams[0].crf: expected crf or bits_per_pixel, one of the two"),
        ("datasets:train:streams=[{cfr: 42}]", "datasets.train.streams[0].cfr: unknown key; did you mean crf?"),
        ("datasets:train:p_photo=1", "datasets.train.p_none: expected probabilities that add up to 1, these make 1.8"),
        ("datasets:train:type=DMSASFFNetDataset", "datasets.train.type: expected 'KeyframeSequenceDataset', got"),
        ("network_g:type=DMSASFFNetLite", "network_g.type: expected 'KeyframeFlowNet', got"),
        ("network_g:blocks=[1, 2]", "network_g.blocks: expected "),
        ("network_g:widths=[0, 16, 16]", "network_g.widths[0]: expected"),
        ("train:gradient_weight=-1", "train.gradient_weight: expected greater than or equal to 0, got -1"),
        ("train:legacy=true", "train.legacy: unknown key"),
        ("train:blocks=4", "train.blocks: unknown key in this section; others have it"),
    ],
)
def test_wrong_options_of_the_flow_recipe(file: Path, override: str, start: str) -> None:
    found = [line.split(": ", 1)[1] for line in problems(file, FLOW, override)]
    assert any(line.startswith(start) for line in found), found
