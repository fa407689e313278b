"""The training door: what it refuses, what it writes, and that runs are exact: in length, on resuming, over processes."""

from __future__ import annotations

import json
import logging
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from safetensors import safe_open

import train as door
from keyframes_gan import options
from keyframes_gan.errors import OptionsError, WeightsError, run_door
from keyframes_gan.models import engine

TEXT = """\
name: run
model_type: DMSASFFNetModel
manual_seed: 5
device: cpu
datasets:
  train:
    name: speakers
    type: DMSASFFNetDataset
    dataroot: [{clips}]
    patch_size: 32
    reference_gap: 5
    batch_size_per_gpu: 4
    num_worker_per_gpu: 0
  val_one: {{name: one, type: DMSASFFNetDataset, dataroot: [{clips}], frames_per_clip: 2}}
  val_two: {{name: two, type: DMSASFFNetDataset, dataroot: [{clips}], frames_per_clip: 1, p_hq: 0, p_gop: 0, p_none: 1}}
network_g: {{type: DMSASFFNetLite, widths: [8, 8, 8], landmark_widths: [4, 4, 4], blocks: 1}}
path: {{experiments_dir: {experiments}}}
train:
  total_iter: 9
  warmup_iter: 3
  ema_decay: 0.9
  optim_g: {{type: AdamW, lr: 1e-3}}
  scheduler: {{type: CosineAnnealingLR}}
  pixel_opt: {{type: CharbonnierLoss, eps: 1e-6}}
  clip_grad_norm: 1.0
val: {{val_freq: 3, metrics: {{psnr: {{type: calculate_psnr}}, ssim: {{type: calculate_ssim}}}}}}
logger: {{print_freq: 3, save_checkpoint_freq: 3}}
"""
GAN = (
    "network_d={type: MultiScaleDiscriminator, base_ch: 4, num_layers: 1, num_discriminators: 2}",
    "train:optim_d={type: Adam, lr: 1e-3}",
    "train:gan_opt={type: MultiScaleGANLoss, gan_type: hinge, loss_weight: 0.1}",
)
HALF = ("train:precision=fp16", "train:optim_g:fused=true", "train:skip_nonfinite=1")
UNLIMITED = ("train:clip_grad_norm=null", "train:warmup_iter=-1")

Run = Callable[..., Path]


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


def final(experiment: Path, tag: str = "latest") -> dict[str, dict[str, torch.Tensor]]:
    states: dict[str, dict[str, torch.Tensor]] = torch.load(experiment / "models" / f"net_g_{tag}.pth", weights_only=True)
    return states


def assert_equal(first: Path, second: Path, tag: str = "latest") -> None:
    ours, theirs = final(first, tag), final(second, tag)
    assert ours.keys() == theirs.keys()
    for key, state in ours.items():
        assert state.keys() == theirs[key].keys()
        for name, value in state.items():
            assert torch.equal(value, theirs[key][name]), f"{key} {name}"


def state(experiment: Path, number: int) -> dict[str, Any]:
    loaded: dict[str, Any] = torch.load(experiment / "training_states" / f"{number}.state", weights_only=True)
    return loaded


def best(experiment: Path) -> str:
    with safe_open(experiment / "models" / "net_g_latest.safetensors", framework="pt") as stored:
        found: str = stored.metadata()["best"]
    return found


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


def command(processes: int, file: Path, arguments: Sequence[str]) -> list[str]:
    launch = ["-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={processes}"] if processes else []
    return [sys.executable, *launch, "train.py", "-opt", str(file), *(["--launcher", "pytorch"] if processes else []), *arguments]


ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1"}


def torchrun(processes: int, file: Path, root: Path, arguments: Sequence[str]) -> subprocess.CompletedProcess[str]:
    line = command(processes, file, arguments)
    return subprocess.run(line, check=False, capture_output=True, text=True, cwd=root, env=ENVIRONMENT, timeout=300)


def children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def interrupt(line: list[str], root: Path, experiment: Path, *, after: int, by: signal.Signals) -> tuple[int, str]:
    """Start a run; once it has saved iteration `after`, send the signal: alone, to its whole group; of several processes, to one.

    Return its exit status and its log.
    """
    run = subprocess.Popen(line, cwd=root, env=ENVIRONMENT, stderr=subprocess.PIPE, text=True, start_new_session=True)
    state, deadline = experiment / "training_states" / f"{after}.state", time.monotonic() + 240
    while not state.exists() and run.poll() is None and time.monotonic() < deadline:
        time.sleep(0.005)
    assert state.exists(), run.communicate()[1]
    if "torch.distributed.run" in line:
        os.kill(children(run.pid)[-1], by)
    else:
        os.killpg(run.pid, by)
    log = run.communicate(timeout=240)[1]
    return run.returncode, log


def newest(experiment: Path) -> int:
    return max(int(path.stem) for path in (experiment / "training_states").glob("*.state"))


@pytest.mark.skipif(sys.platform != "linux", reason="finds the processes in /proc")
@pytest.mark.parametrize("processes", [0, 2], ids=["alone", "two"])
def test_a_run_that_is_stopped_and_killed_ends_as_if_it_had_not_been(
    processes: int, run: Run, file: Path, repo_root: Path, tmp_path: Path
) -> None:
    folder, total = tmp_path / "experiments", 30
    overrides = [f"train:total_iter={total}", "val:val_freq=10", "datasets:train:num_worker_per_gpu=1"]
    overrides += ["datasets:train:batch_size_per_gpu=2", "datasets:train:patch_size=16"]
    if processes:
        done = torchrun(processes, file, repo_root, ["--force_yml", "name=straight", *overrides])
        assert done.returncode == 0, done.stderr
    else:
        run("name=straight", *overrides)
    broken = command(processes, file, ["--auto_resume", "--force_yml", "name=broken", "logger:save_checkpoint_freq=1", *overrides])

    status, log = interrupt(broken, repo_root, folder / "broken", after=3, by=signal.SIGTERM)
    assert status == 0, log
    assert "SIGTERM: saving, and stopping here" in log
    stopped = newest(folder / "broken")
    assert 3 <= stopped < total
    assert state(folder / "broken", stopped)["samples"] == stopped * 2 * max(1, processes)

    status, log = interrupt(broken, repo_root, folder / "broken", after=stopped + 4, by=signal.SIGKILL)
    assert status != 0
    assert f"iterations {stopped + 1} to {total}" in log
    assert stopped + 4 <= newest(folder / "broken") < total

    done = subprocess.run(broken, check=False, capture_output=True, text=True, cwd=repo_root, env=ENVIRONMENT, timeout=300)
    assert done.returncode == 0, done.stderr
    assert_equal(folder / "straight", folder / "broken")
    assert_equal(folder / "straight", folder / "broken", "best")
    assert best(folder / "straight") == best(folder / "broken")
    assert (folder / "straight" / "validation.jsonl").read_text() == (folder / "broken" / "validation.jsonl").read_text()


def test_two_processes_have_the_gradient_of_one_with_twice_the_batch(run: Run, file: Path, repo_root: Path, tmp_path: Path) -> None:
    # One step of SGD at rate 1 without averages: the weights move by just the gradient.
    plain = ["train:total_iter=1", "train:optim_g={type: SGD, lr: 1}", "train:ema_decay=0", *UNLIMITED]
    one = run("name=one", *plain)
    begun = run("name=begun", *plain, "train:optim_g={type: SGD, lr: 1e-30}")
    done = torchrun(2, file, repo_root, ["--force_yml", "name=two", *plain, "datasets:train:batch_size_per_gpu=2"])
    assert done.returncode == 0, done.stderr
    for name, start in final(begun)["params"].items():
        ours, theirs = (start - final(folder)["params"][name] for folder in (tmp_path / "experiments" / "two", one))
        # Each is a mean over n = 4 * 32 * 32 pixels, summed in another order: sqrt(n) roundings of 2^-24, relative to the largest, with
        # a factor of 16 for what happens on the way back through the layers; and the rounding of the weights themselves.
        bound = 16 * (4 * 32 * 32) ** 0.5 * 2**-24 * float(theirs.abs().max()) + 2**-23 * float(start.abs().max())
        torch.testing.assert_close(ours, theirs, atol=bound, rtol=0, msg=name)
        assert float(theirs.abs().max()) > 100 * bound or not theirs.any(), name


def test_two_processes_train_as_one(run: Run, file: Path, repo_root: Path, tmp_path: Path) -> None:
    one, two = run("name=one", "train:total_iter=6"), tmp_path / "experiments" / "two"
    done = torchrun(2, file, repo_root, ["--force_yml", "name=two", "train:total_iter=6", "datasets:train:batch_size_per_gpu=2"])
    assert done.returncode == 0, done.stderr
    assert (state(two, 6)["samples"], state(two, 6)["world_size"]) == (24, 2)
    for name, value in final(one)["params"].items():
        torch.testing.assert_close(final(two)["params"][name], value, atol=2e-5, rtol=1e-4, msg=name)


def test_two_processes_train_a_gan(file: Path, repo_root: Path, tmp_path: Path) -> None:
    chunks = ["train:accumulate=2", "train:precision=bf16", "train:total_iter=2"]
    done = torchrun(2, file, repo_root, ["--force_yml", *chunks, *GAN])
    assert done.returncode == 0, done.stderr
    assert {path.name for path in (tmp_path / "experiments" / "run" / "models").glob("*_2.pth")} == {"net_g_2.pth", "net_d_2.pth"}


def test_a_loss_that_is_not_finite_stops_all_processes(file: Path, repo_root: Path, tmp_path: Path) -> None:
    done = torchrun(2, file, repo_root, ["--force_yml", "train:optim_g={type: SGD, lr: 1e30}", *UNLIMITED])
    assert done.returncode != 0
    assert re.search(r"error: iteration \d: process 0: loss term l_pix is .*\); process 1: loss term l_pix is", done.stderr)
    assert {path.name[-12:] for path in (tmp_path / "experiments" / "run").glob("nonfinite_*.pt")} == {"_process0.pt", "_process1.pt"}


def test_processes_of_slurm_train_together(file: Path, repo_root: Path, tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        meeting = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free.getsockname()[1]), "SLURM_NTASKS": "2"}
    line = [*command(0, file, ["--launcher", "slurm", "--force_yml", "train:total_iter=2", "num_gpu=2"])]
    ranks = [{"SLURM_PROCID": rank, "SLURM_LOCALID": rank} for rank in ("0", "1")]
    tasks = [subprocess.Popen(line, cwd=repo_root, env={**ENVIRONMENT, **meeting, **rank}) for rank in ranks]
    assert [task.wait(timeout=240) for task in tasks] == [0, 0]
    assert (state(tmp_path / "experiments" / "run", 2)["samples"], state(tmp_path / "experiments" / "run", 2)["world_size"]) == (16, 2)


def test_wrong_options_stop_all_processes(file: Path, repo_root: Path) -> None:
    done = torchrun(1, file, repo_root, ["--force_yml", "train:total_itr=3"])
    assert done.returncode != 0
    assert "did you mean total_iter?" in done.stderr
