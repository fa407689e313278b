"""The training door: what it refuses, what it writes, and that runs are exact: in length, on resuming, over processes."""

from __future__ import annotations

import json
import logging
import re
import subprocess
import sys
from datetime import datetime, timedelta
from pathlib import Path

import pytest
import torch
import yaml
from safetensors import safe_open

import train as door
from keyframes_gan import options
from keyframes_gan.errors import OptionsError, WeightsError, run_door
from keyframes_gan.models import engine
from tests.experiments import GAN, HALF, TEXT, UNLIMITED, Run, assert_equal, best, final, state


@pytest.fixture
def file(tmp_path: Path, synthetic_clips: Path) -> Path:
    path = tmp_path / "tiny.yml"
    path.write_text(TEXT.format(clips=synthetic_clips, experiments=tmp_path / "experiments"))
    return path


@pytest.fixture
def run(file: Path, tmp_path: Path) -> Run:
    def go(*overrides: str, auto_resume: bool = False) -> Path:
        checked = options.load(file, overrides)
        assert engine.run(checked, source=file, auto_resume=auto_resume) == 0
        return tmp_path / "experiments" / checked.name

    return go


def test_a_run_makes_exactly_its_iterations_and_writes_all(run: Run) -> None:
    # 48 samples, batch 4: 12 batches a pass; 14 iterations end within the second.
    folder = run("train:total_iter=14")
    assert state(folder, 14)["samples"] == 56
    assert sorted(int(path.stem) for path in (folder / "training_states").iterdir()) == [3, 6, 9, 12, 14]
    rows = [json.loads(line) for line in (folder / "validation.jsonl").read_text().splitlines()]
    assert [(row["iteration"], row["data"]) for row in rows] == [(n, name) for n in (3, 6, 9, 12, 14) for name in ("one", "two")]
    assert set(rows[0]["restored"]) == set(rows[0]["compressed"]) == {"psnr", "ssim"}
    log = next(folder.glob("train_run_*.log")).read_text()
    assert log.count("eta: ") == 4
    assert log.count("validation one at") == 5
    saved = yaml.safe_load((folder / "tiny.yml").read_text())
    assert saved["train"]["total_iter"] == 14
    with safe_open(folder / "models" / "net_g_latest.safetensors", framework="pt") as stored:
        metadata = stored.metadata()
        assert {name: stored.get_tensor(name).tolist() for name in stored.keys()} == {  # noqa: SIM118
            name: value.tolist() for name, value in final(folder)["params_ema"].items()
        }
    assert (metadata["arch"], metadata["iteration"]) == ("DMSASFFNetLite", "14")
    assert json.loads(metadata["kwargs"]) == {"widths": [8, 8, 8], "landmark_widths": [4, 4, 4], "blocks": 1}
    assert len(metadata["options_sha256"]) == 64
    assert not any(str(Path.cwd()) in value for value in metadata.values())


def test_training_learns_something_and_averages(run: Run) -> None:
    folder = run("train:total_iter=60", "train:optim_g:lr=3e-3", "val:val_freq=60")
    last = json.loads((folder / "validation.jsonl").read_text().splitlines()[0])
    assert last["restored"]["psnr"] > last["compressed"]["psnr"] + 3
    states = final(folder)
    assert any(not torch.equal(states["params"][name], states["params_ema"][name]) for name in states["params"])
    assert (folder / "models" / "net_g_best.safetensors").is_file()


@pytest.mark.parametrize("extra", [(), GAN, HALF], ids=["plain", "gan", "fp16"])
def test_a_resumed_run_equals_an_uninterrupted_one(run: Run, extra: tuple[str, ...]) -> None:
    straight = run("name=straight", *extra)
    folder = run("name=resumed", *extra)
    # As if the run had been killed in the midst of the validation after 6 iterations; and, once, while it wrote the state of the 9th.
    rows = (folder / "validation.jsonl").read_text().splitlines(keepends=True)
    (folder / "validation.jsonl").write_text("".join(rows[:3]) + rows[3][:20])
    for path in (folder / "models").glob("net_?_*"):
        if "_6" not in path.name and "_3" not in path.name:
            path.unlink()
    (folder / "training_states" / "9.state").write_bytes(b"PK half-written")
    log = run("name=resumed", *extra, "datasets:train:num_worker_per_gpu=1", auto_resume=True)
    assert log == folder
    assert_equal(straight, folder)
    assert state(straight, 9)["samples"] == state(folder, 9)["samples"] == 36
    assert (straight / "validation.jsonl").read_text() == (folder / "validation.jsonl").read_text()
    assert best(straight) == best(folder)
    assert not list(folder.parent.glob("*_archived_*"))


def test_resuming_a_finished_run_changes_nothing(run: Run) -> None:
    folder = run()
    before = final(folder)
    run(auto_resume=True)
    after = final(folder)
    assert all(torch.equal(value, after[key][name]) for key, states in before.items() for name, value in states.items())
    run("train:total_iter=12", auto_resume=True)
    assert state(folder, 12)["samples"] == 48


def test_starting_anew_keeps_the_old_experiment(run: Run) -> None:
    folder = run()
    run()
    assert len(list(folder.parent.glob("run_archived_*"))) == 1


def test_resuming_from_a_named_state(run: Run, tmp_path: Path) -> None:
    straight = run("name=straight")
    other = run("name=other", f"path:resume_state={straight}/training_states/6.state")
    assert_equal(straight, other)
    (straight / "models" / "net_g_6.pth").unlink()
    with pytest.raises(WeightsError, match=r"expected net_g_6\.pth"):
        run("name=third", f"path:resume_state={straight}/training_states/6.state")


def test_weights_to_begin_with(run: Run) -> None:
    folder = run()
    begun = run("name=begun", f"path:pretrain_network_g={folder}/models/net_g_latest.safetensors", "train:optim_g:lr=1e-12")
    for name, value in final(folder)["params_ema"].items():
        torch.testing.assert_close(final(begun)["params"][name], value)
    with pytest.raises(WeightsError, match="body"):
        run("name=wrong", f"path:pretrain_network_g={folder}/models/net_g_latest.pth", "network_g:blocks=2")


def test_evaluation_measures_without_training(run: Run, file: Path, tmp_path: Path) -> None:
    folder = run()
    measured = run("name=measured", "train=null", "logger=null", f"path:pretrain_network_g={folder}/models/net_g_latest.safetensors")
    rows = [json.loads(line) for line in (measured / "validation.jsonl").read_text().splitlines()]
    trained = [json.loads(line) for line in (folder / "validation.jsonl").read_text().splitlines()][-2:]
    assert [row["restored"] for row in rows] == [row["restored"] for row in trained]
    assert not (measured / "models").exists()
    assert "validation one" in (measured / "evaluation.log").read_text()


def test_the_oldest_checkpoints_go(run: Run) -> None:
    folder = run("logger:keep_checkpoints=1", "logger:save_checkpoint_freq=2")
    assert [path.name for path in (folder / "training_states").iterdir()] == ["9.state"]
    assert sorted(path.name for path in (folder / "models").glob("*.pth")) == ["net_g_9.pth", "net_g_best.pth", "net_g_latest.pth"]


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # tensorboard's own
def test_tensorboard_shows_curves_and_pictures_once(run: Run, repo_root: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator  # noqa: PLC0415  # slow to import

    folder = run("logger:use_tb_logger=true")
    (folder / "training_states" / "9.state").unlink()
    run("logger:use_tb_logger=true", auto_resume=True)
    shown = EventAccumulator(str(folder / "tensorboard"))
    shown.Reload()
    tags = shown.Tags()
    assert {"losses/l_pix", "metrics/one/psnr", "metrics/two/ssim"} <= set(tags["scalars"])
    assert [event.step for event in shown.Scalars("metrics/one/psnr")] == [3, 6, 9]
    assert [event.step for event in shown.Scalars("losses/l_pix")] == [3, 6, 9]
    assert sum(name.startswith("one/") for name in tags["images"]) == 4
    assert not (repo_root / "tb_logger" / "run").exists()


def test_logger_is_left_as_it_was_found(run: Run) -> None:
    run()
    assert logging.getLogger("basicsr").handlers == []


def test_machines_that_do_not_fit_are_refused(run: Run, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(OptionsError, match=r"torchrun --nproc_per_node=2"):
        run("num_gpu=2")
    monkeypatch.delenv("RANK", raising=False)
    with pytest.raises(OptionsError, match="started by torchrun"):
        engine.run(options.load(file), source=file, launcher="pytorch")
    if not torch.cuda.is_available():
        with pytest.raises(OptionsError, match="set device: cpu or auto"):
            run("device=cuda")


def test_door_checks_and_refuses(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_door(door.main, ["-opt", str(file), "--check"]) == 0
    assert "all options are right" in capsys.readouterr().out
    assert run_door(door.main, ["-opt", str(file), "--force_yml", "train:total_itr=1", "train:ema_decay=2"]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 2
    assert "train.total_itr: unknown key; did you mean total_iter?" in lines[0]
    assert "train.ema_decay: expected less than 1, got 2" in lines[1]


def test_a_loss_that_is_not_finite_is_one_line_and_a_file(file: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert run_door(door.main, ["-opt", str(file), "--force_yml", "train:optim_g={type: SGD, lr: 1e30}", *UNLIMITED]) == 2
    line = capfd.readouterr().err.splitlines()[-1]
    assert re.match(
        r"error: iteration \d: loss term l_pix is (nan|inf) \(.*(first|second)_.*nonfinite_\d\.pt; lower the learning rate", line
    )
    kept = torch.load(next((tmp_path / "experiments" / "run").glob("nonfinite_*.pt")), weights_only=True)
    assert len(kept["files"]) == len(kept["batch"]["lq"]) == 4


def test_dry_run_tells_what_the_run_will_take_and_keeps_nothing(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()
    before = sorted(tmp_path.rglob("*"))
    # Its steps are the last two, so that the discriminator, which joins in the 7th, takes part.
    late = ["train:net_d_init_iters=6", "logger:use_tb_logger=true"]
    assert run_door(door.main, ["-opt", str(file), "--dry-run", "--force_yml", *GAN, *late]) == 0
    assert sorted(tmp_path.rglob("*")) == before
    told = capfd.readouterr().out.splitlines()
    assert told[0] == "run: everything works; nothing was kept"
    lines = dict(re.split(r"  +", line.strip(), maxsplit=1) for line in told[1:])
    assert re.fullmatch(r"[\d.]+ s for 4 samples \([\d.e+]+/s\)", lines["one step"])
    assert re.fullmatch(r"[\d.]+ GB of this process", lines["peak memory"])
    assert re.fullmatch(r"[\d.]+ MB in [\d.e-]+ s, 4 of them", lines["checkpoint"])
    assert re.fullmatch(r"4 samples in about [\d.]+ s, 3 times", lines["validation one"])
    assert re.fullmatch(r"9 steps in about [\d.]+ s", lines["whole run"])
    end = datetime.strptime(lines["expected end"].split(",")[0], "%Y-%m-%d %H:%M").astimezone()
    assert timedelta(minutes=-2) < end - datetime.now().astimezone() < timedelta(minutes=2)
    assert {"network_g", "network_d", "device", "waiting for data", "validation two"} <= set(lines)


def test_dry_run_is_for_trainings(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    weights = ["train=null", "logger=null", "path:pretrain_network_g=keyframes_lite"]
    assert run_door(door.main, ["-opt", str(file), "--dry-run", "--force_yml", *weights]) == 2
    assert "expected options with a train section" in capsys.readouterr().err


def test_help_shows_the_way(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="0"):
        door.main(["--help"])
    text = capsys.readouterr().out
    for words in (
        "--check",
        "--dry-run",
        "--auto_resume",
        "torchrun --nproc_per_node=2",
        "keyframes_gan.weights add",
        "video_inference.py",
    ):
        assert words in text


def test_processes_that_do_not_fit_are_refused_with_all_else(
    file: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, value in {"RANK": "0", "WORLD_SIZE": "3"}.items():
        monkeypatch.setenv(name, value)
    wrong = ["num_gpu=2", "train:accumulate=3", "val:best=one/lpips", *GAN[:1]]
    assert run_door(door.main, ["-opt", str(file), "--launcher", "pytorch", "--force_yml", *wrong]) == 2
    said = [line.split(": ", 1)[1] for line in capsys.readouterr().err.removeprefix("error: ").splitlines()]
    assert [line.split(", got")[0] for line in said] == [
        "num_gpu: expected a divisor of the 3 processes that were started, or auto",
        "train.accumulate: expected a divisor of batch_size_per_gpu 4",
        "val.best: expected one of one/psnr, one/ssim, two/psnr, two/ssim",
        "network_d: expected network_d and train.gan_opt together, or neither",
    ]


def test_door_refuses_before_it_imports_torch(file: Path, repo_root: Path) -> None:
    code = (
        "import sys, train; from keyframes_gan.errors import run_door; status = run_door(train.main); print(status, 'torch' in sys.modules)"
    )
    line = [sys.executable, "-c", code, "-opt", str(file), "--force_yml", "name=a b"]
    done = subprocess.run(line, check=True, capture_output=True, text=True, cwd=repo_root)
    assert done.stdout.split() == ["2", "False"]
