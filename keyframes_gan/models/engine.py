"""Running BasicSR's training loop on options that passed the gate.

`basicsr.train.train_pipeline` looks its helpers up in its own module. For the time of a run they are replaced there: options come from the
gate, data in an order that depends on the seed and the position only, exactly `total_iter` steps are made, a run continues
from the newest whole state, and SIGTERM ends it after the step at hand, with everything saved.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
import yaml
from torch.utils.data import DataLoader

from data.position import PositionSampler, train_loader
from keyframes_gan import options as gate
from keyframes_gan import registry, weights
from keyframes_gan.errors import WeightsError
from keyframes_gan.models import checkpoints
from keyframes_gan.models.base import seed_everything
from keyframes_gan.models.processes import Stop, device_of, joined
from keyframes_gan.options.training import LPIPSLoss, PerceptualLoss

LOGGER = "basicsr"
WEIGHTS = "pretrain_network_"


def run(options: gate.Options, *, source: Path, launcher: str = "none", auto_resume: bool = False, root: Path = gate.ROOT) -> int:
    """Train, or evaluate when the options have no `train` section.

    Args:
        options: what the gate returned.
        source: the options file; the effective options are saved under its name.
        launcher: "none", "pytorch" under torchrun, or "slurm" under srun.
        auto_resume: continue from the newest state of the experiment of that name, where there is one.
        root: where relative paths start.

    Returns:
        The exit status, 0.

    Raises:
        OptionsError: the device or the launcher does not fit this machine.
        UserError: data or weights cannot be read, or a checkpoint cannot be written.
    """
    registry.register_all()
    with joined(options, launcher):
        opt = to_basicsr(options, root=root, distributed=launcher != "none", auto_resume=auto_resume)
        seed_everything(options.manual_seed, 0)  # the initial weights, the same in every process
        if options.train is None:
            _evaluate(opt)
        else:
            with Stop(opt["device"], distributed=opt["dist"]) as stop, _replaced(opt, source, stop):
                registry.basicsr_train.train_pipeline(str(root))
    return 0


def to_basicsr(options: gate.Options, *, root: Path, distributed: bool, auto_resume: bool) -> dict[str, Any]:
    """Return the options as BasicSR's loop and models take them: one dict, absolute paths, this process's rank and device."""
    opt = gate.plain(options)
    rank, world_size = registry.get_dist_info()
    experiment = root / options.path.experiments_dir / options.name
    device = device_of(options, distributed=distributed)
    opt |= {"dist": distributed, "rank": rank, "world_size": world_size, "device": device, "num_gpu": int(device == "cuda")}
    opt |= {"auto_resume": auto_resume, "is_train": options.train is not None, "root_path": str(root)}
    opt |= {"options_sha256": gate.digest(options), "commit": checkpoints.commit(root)}
    for phase, dataset in opt["datasets"].items():
        dataset["phase"] = phase.split("_")[0]
        dataset["seed"] = options.manual_seed
        for key in set(options.datasets[phase].paths) & set(dataset):
            dataset[key] = _absolute(dataset[key], root)
    paths = {key: value for key, value in opt["path"].items() if key != "experiments_dir"}
    for key in _not_needed(options) & set(paths):
        del paths[key]
    for key in [key for key in paths if key.startswith(WEIGHTS)]:
        file = root / Path(paths[key]).expanduser()
        paths[key] = str(file if file.is_file() else weights.locate(paths[key]))
    if "resume_state" in paths:
        paths["resume_state"] = str(root / Path(paths["resume_state"]).expanduser())
    folders = {
        "experiments_root": "",
        "models": "models",
        "training_states": "training_states",
        "log": "",
        "visualization": "visualization",
    }
    opt["path"] = paths | {key: str(experiment / name) for key, name in folders.items()}
    return opt


def _absolute(paths: str | list[str], root: Path) -> str | list[str]:
    """Make paths absolute; relative ones start at `root`."""
    return str(root / Path(paths).expanduser()) if isinstance(paths, str) else [str(root / Path(path).expanduser()) for path in paths]


def _not_needed(options: gate.Options) -> set[str]:
    """Return the weights that no loss and no new network wants; the others are looked for before anything is written."""
    perceptual = None if options.train is None else options.train.perceptual_opt
    vgg19 = isinstance(perceptual, PerceptualLoss) or (options.network_g.type == "DMSASFFNet" and options.path.pretrain_network_g is None)
    lpips = isinstance(perceptual, LPIPSLoss)
    unwanted = ([] if vgg19 else ["vgg19"]) + ([] if lpips else ["alexnet", "lpips"])
    return {WEIGHTS + name for name in unwanted}


class Run:
    """What BasicSR's loop asks for in the course of one run."""

    def __init__(self, opt: dict[str, Any], stop: Stop) -> None:
        self.opt, self.stop = opt, stop
        self.state: dict[str, Any] | None = None
        self.sets: list[list[DataLoader[Any]]] = []
        self.prefetchers: list[Prefetcher] = []
        self.model: Any = None
        self.shown: Any = None

    def build(self, opt: dict[str, Any]) -> Any:  # noqa: ANN401
        """Build the model."""
        self.model = registry.build_model(opt)
        return self.model

    def resume(self, opt: dict[str, Any]) -> dict[str, Any] | None:
        """Find the state to continue from."""
        self.state = resume_state(opt)
        return self.state

    def loaders(self, opt: dict[str, Any], logger: logging.Logger) -> Loaders:
        """Build the data for what is left to do."""
        found = loaders(opt, logger, self.state)
        self.sets = found[2]
        return found

    def board(self, opt: dict[str, Any]) -> Any:  # noqa: ANN401
        """Open the experiment's TensorBoard where the options ask for it, in process 0; what it shows of the time ahead is forgotten."""
        if opt["rank"] != 0 or not opt["logger"]["use_tb_logger"]:
            return None
        from torch.utils.tensorboard import SummaryWriter  # noqa: PLC0415  # slow to import

        done = 0 if self.state is None else int(self.state["iter"])
        self.shown = SummaryWriter(str(Path(opt["path"]["experiments_root"]) / "tensorboard"), purge_step=done + 1)
        return self.shown

    def prefetcher(self, batches: Any) -> Prefetcher:  # noqa: ANN401
        """Hand out batches until the run is asked to end."""
        self.prefetchers.append(Prefetcher(batches, self.begin, self.ended))
        return self.prefetchers[-1]

    def begin(self) -> None:
        """Make up for the validation of the iteration to continue from, where the run was killed in the middle of it."""
        done = 0 if self.state is None else int(self.state["iter"])
        val = self.opt.get("val")
        if done and val is not None and done % val["val_freq"] == 0:
            for sets in self.sets:
                self.model.validation(sets, done, self.shown, val["save_img"])

    def close(self) -> None:
        """Let the workers go. An error's traceback would keep them, and the interpreter would then wait for them for ever."""
        for prefetcher in self.prefetchers:
            prefetcher.batches = None

    def ended(self) -> bool:
        """Whether the run was asked to end; the validation after the last step is then left out, so that a continued run is the same."""
        if not self.stop():
            return False
        registry.get_root_logger().info("SIGTERM: saving, and stopping here; --auto_resume continues")
        self.sets.clear()
        return True


@contextlib.contextmanager
def _replaced(opt: dict[str, Any], source: Path, stop: Stop) -> Iterator[None]:
    """Put our parts in the places where BasicSR's loop looks, and the old ones back at the end."""
    module, run = registry.basicsr_train, Run(opt, stop)
    on_device = module.CUDAPrefetcher
    ours = {
        "parse_options": lambda *_args, **_kwargs: (opt, SimpleNamespace(opt=str(source))),
        "load_resume_state": run.resume,
        "create_train_val_dataloader": run.loaders,
        "build_model": run.build,
        "init_tb_loggers": run.board,
        "mkdir_and_rename": lambda _path: None,  # of a TensorBoard folder apart from the experiment's, which we do not have
        "copy_opt_file": lambda _path, folder: _save_options(opt, Path(folder) / source.name),
        "CPUPrefetcher": lambda loader: run.prefetcher(Batches(loader)),
        "CUDAPrefetcher": lambda loader, options: run.prefetcher(on_device(loader, options)),
        "get_env_info": lambda: f"torch {torch.__version__}, {torch.get_num_threads()} threads, {opt['world_size']} process(es)",
        "dict2str": lambda options: f"options {options['options_sha256'][:12]}, commit {options['commit'][:12]}, saved as {source.name}",
    }
    theirs = {name: getattr(module, name) for name in ours}
    benchmark = torch.backends.cudnn.benchmark
    silence_logger()
    try:
        for name, part in ours.items():
            setattr(module, name, part)
        yield
    finally:
        run.close()
        for name, part in theirs.items():
            setattr(module, name, part)
        torch.backends.cudnn.benchmark = benchmark
        silence_logger()


def silence_logger() -> None:
    """Take the handlers from BasicSR's logger, so that the next run sets it up with its own file."""
    logger = logging.getLogger(LOGGER)
    for handler in list(logger.handlers):
        handler.close()
        logger.removeHandler(handler)
    registry.initialized_loggers.pop(LOGGER, None)


def resume_state(opt: dict[str, Any]) -> dict[str, Any] | None:
    """Return the state to continue from, with the run's `folder` added, or None to start anew.

    Raises:
        WeightsError: `path.resume_state` names a file that is not a training state, or whose networks are missing.
    """
    if opt["auto_resume"]:
        folder = Path(opt["path"]["experiments_root"])
        state = checkpoints.newest_state(folder / "training_states", folder / "models")
        return None if state is None else {**state, "folder": str(folder)}
    path = opt["path"].get("resume_state")
    if path is None:
        return None
    folder = Path(path).parents[1]
    state = checkpoints.load_state(Path(path))
    missing = [name for name in state["networks"].values() if not (folder / "models" / name).is_file()]
    if missing:
        msg = f"{path}: expected {missing[0]} in {folder / 'models'}; give a state whose networks are still there"
        raise WeightsError(msg)
    for key in ("models", "training_states", "visualization"):
        Path(opt["path"][key]).mkdir(parents=True, exist_ok=True)
    return {**state, "folder": str(folder)}


Loaders = tuple[DataLoader[Any], PositionSampler, list[list[DataLoader[Any]]], int, int]


def loaders(opt: dict[str, Any], logger: logging.Logger, state: dict[str, Any] | None) -> Loaders:
    """Build the data: one epoch that holds exactly the iterations that are left, and the validation sets."""
    total = int(opt["train"]["total_iter"])
    done, samples = (0, 0) if state is None else (int(state["iter"]), int(state["samples"]))
    train = opt["datasets"]["train"]
    dataset = registry.build_dataset(train)
    sampler = PositionSampler(
        len(dataset),
        seed=int(opt["manual_seed"]),
        start=samples,
        batches=max(0, total - done),
        batch_size=int(train["batch_size_per_gpu"]),
        rank=int(opt["rank"]),
        world_size=int(opt["world_size"]),
    )
    loader = train_loader(dataset, sampler, workers=int(train["num_worker_per_gpu"]), pin_memory=bool(train.get("pin_memory", False)))
    logger.info(
        "%d training samples, batch %d x %d, iterations %d to %d", len(dataset), sampler.batch_size, opt["world_size"], done + 1, total
    )
    sets = validation_loaders(opt)
    # As one, because BasicSR's loop warns of several; our models take the list.
    return loader, sampler, [sets] if sets else [], 0, total


def validation_loaders(opt: dict[str, Any]) -> list[DataLoader[Any]]:
    """Return one loader of single samples per validation or test set; process 0 only, as only it validates."""
    if opt["rank"] != 0:
        return []
    sets = [registry.build_dataset(dataset) for phase, dataset in opt["datasets"].items() if phase != "train"]
    return [DataLoader(dataset, batch_size=1, shuffle=False, num_workers=0) for dataset in sets]


class Batches:
    """A loader's batches as BasicSR's loop asks for them. Its own class starts the workers twice."""

    def __init__(self, loader: DataLoader[Any]) -> None:
        self.loader = loader
        self.batches: Iterator[Any] = iter(())

    def reset(self) -> None:
        """Begin the epoch."""
        self.batches = iter(self.loader)

    def next(self) -> Any:  # noqa: ANN401
        """Return the next batch, None at the end."""
        return next(self.batches, None)


class Prefetcher:
    """Hands out batches until there are none or the run is asked to end.

    Args:
        batches: `Batches`, or BasicSR's prefetcher of the same methods.
        begin: called before the first batch.
        ended: whether the run was asked to end; called once before every batch.
    """

    def __init__(self, batches: Any, begin: Callable[[], None], ended: Callable[[], bool]) -> None:  # noqa: ANN401
        self.batches, self.begin, self.ended = batches, begin, ended

    def reset(self) -> None:
        """Begin the epoch."""
        self.begin()
        self.batches.reset()

    def next(self) -> Any:  # noqa: ANN401
        """Return the next batch, None at the end."""
        return None if self.ended() else self.batches.next()


def _save_options(opt: dict[str, Any], path: Path) -> None:
    """Write the effective options beside the results."""
    if opt["rank"] == 0:
        text = yaml.safe_dump(opt, sort_keys=False, allow_unicode=True)
        checkpoints.write_atomically(path, lambda part: part.write_text(text, encoding="utf-8"))


def _evaluate(opt: dict[str, Any]) -> None:
    """Measure weights on the validation sets, without training."""
    folder = Path(opt["path"]["log"])
    folder.mkdir(parents=True, exist_ok=True)
    silence_logger()
    try:
        registry.get_root_logger(logger_name=LOGGER, log_level=logging.INFO, log_file=str(folder / "evaluation.log"))
        model = registry.build_model(opt)
        model.validation(validation_loaders(opt), 0, None, opt["val"]["save_img"])
    finally:
        silence_logger()
