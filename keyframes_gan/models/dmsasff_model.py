"""The recipe for reference-guided restoration: pixel loss, and on request perceptual, style and adversarial losses.

Follows Keyframes-GAN (Agnolucci et al., IEEE TMM 2023) where the options ask for it; its published weights of the terms stand in
`options/train/keyframes.yml`. Trains `DMSASFFNet` and `DMSASFFNetLite` alike.
"""

from __future__ import annotations

import contextlib
import inspect
import json
from collections.abc import Iterable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader

from archs.vgg_arch import VGG19Features, rename_torchvision
from keyframes_gan import weights
from keyframes_gan.models import checkpoints
from keyframes_gan.models.base import EngineModel
from keyframes_gan.registry import build_loss, calculate_metric, get_root_logger
from losses.perceptual_loss import PerceptualLoss

RESULTS = "validation.jsonl"
INPUTS = ("lq", "gt", "reference", "landmark", "valid")
Batch = dict[str, Tensor]
Scores = dict[str, float]


class DMSASFFNetModel(EngineModel):
    """Trains a generator on (compressed, reference, landmark) -> original, and validates its averaged weights."""

    def __init__(self, opt: dict[str, Any]) -> None:
        super().__init__(opt)
        train = opt.get("train") or {}
        self.ema_decay = float(train.get("ema_decay", 0.0))
        self.net_g = self.add_network("g", average=self.is_train and self.ema_decay > 0)
        self.takes_valid = "valid" in inspect.signature(self.get_bare_model(self.net_g).forward).parameters
        self.batch: Batch = {}
        self.untouched: dict[str, Scores] = {}
        self.validated: set[tuple[str, int]] = set()
        if self.is_train:
            self._prepare_training(train)

    def _prepare_training(self, train: dict[str, Any]) -> None:
        self.net_g.train()
        self.cri_pix = self._loss(train.get("pixel_opt"))
        self.cri_perceptual = self._loss(train.get("perceptual_opt"))
        if isinstance(self.cri_perceptual, PerceptualLoss):
            self.cri_perceptual.load_vgg(self._vgg19())
        self.cri_gan = self._loss(train.get("gan_opt"))
        self.optimizer_g = self.add_optimizer(self.net_g.parameters(), train["optim_g"])
        if self.cri_gan is not None:
            self.net_d = self.add_network("d")
            self.net_d.train()
            self.optimizer_d = self.add_optimizer(self.net_d.parameters(), train["optim_d"])

    def _vgg19(self) -> dict[str, Tensor]:
        """Return torchvision's VGG19 weights."""
        return weights.load_state(self.opt["path"]["pretrain_network_vgg19"])

    def initialise(self, label: str, net: nn.Module) -> None:
        """Give a new DMSASFFNet its frozen VGG19."""
        extractor = getattr(net, "vgg_extractor", None)
        if label == "g" and isinstance(extractor, VGG19Features):
            own = extractor.state_dict()
            given = {key: value for key, value in rename_torchvision(self._vgg19()).items() if key in own}
            buffers = {key: value for key, value in own.items() if not key.startswith("vgg_net.")}
            weights.load_into(extractor, {**buffers, **given}, name=str(self.opt["path"]["pretrain_network_vgg19"]))

    def _loss(self, options: dict[str, Any] | None) -> nn.Module | None:
        if options is None:
            return None
        loss: nn.Module = build_loss(options)
        return loss.to(self.device)

    def feed_data(self, data: dict[str, Any]) -> None:
        """Move a batch to the device; pictures (N, C, H, W) in channels-last memory."""
        self.batch = {}
        for name in INPUTS:
            tensor: Tensor = data[name]
            layout = torch.channels_last if tensor.ndim == 4 else torch.preserve_format  # noqa: PLR2004
            self.batch[name] = tensor.to(self.device, memory_format=layout, non_blocking=True)

    def restore(self, net: nn.Module, batch: Batch) -> Tensor:
        """Run a generator on a batch: float32 (N, 3, H, W), not clamped.

        A network that takes no `valid` mask gets the compressed picture as reference where there is none, as at inference.
        """
        if self.takes_valid:
            output: Tensor = net(batch["lq"], batch["reference"], batch["landmark"], batch["valid"])
        else:
            absent = 1.0 - batch["valid"].reshape(-1, 1, 1, 1)
            output = net(batch["lq"], batch["reference"] + absent * batch["lq"], batch["landmark"])
        return output.float()

    def _autocast(self) -> AbstractContextManager[Any]:
        enabled = self.opt["train"].get("precision", "fp32") == "bf16"
        return torch.autocast(self.device.type, torch.bfloat16, enabled=enabled)

    def optimize_parameters(self, current_iter: int) -> None:
        """Make one step of the generator and, with an adversarial loss, one of the discriminator.

        The batch is cut into `accumulate` chunks whose gradients add up to those of the whole batch.
        """
        train = self.opt["train"]
        count = int(train.get("accumulate", 1))
        chunks = [dict(zip(INPUTS, parts, strict=True)) for parts in zip(*(self.batch[name].chunk(count) for name in INPUTS), strict=True)]
        adversarial = self.cri_gan is not None
        turn = not adversarial or (current_iter % train.get("net_d_iters", 1) == 0 and current_iter > train.get("net_d_init_iters", 0))
        self.losses = {}
        outputs = self._generator_step(chunks, update=turn)
        if adversarial:
            self._discriminator_step(chunks, outputs)
        if turn and self.ema_decay > 0:
            self.model_ema(self.ema_decay)

    def _generator_step(self, chunks: list[Batch], *, update: bool) -> list[Tensor]:
        """Update the generator; return its (detached) outputs."""
        if self.cri_gan is not None:
            self.net_d.requires_grad_(requires_grad=False)
        self.optimizer_g.zero_grad(set_to_none=True)
        outputs = []
        for number, chunk in enumerate(chunks, start=1):
            with self._synchronised(self.net_g, last=number == len(chunks)), torch.set_grad_enabled(update):
                with self._autocast():
                    output = self.restore(self.net_g, chunk)
                if update:
                    terms = self._generator_losses(output, chunk["gt"])
                    torch.stack(list(terms.values())).sum().div(len(chunks)).backward()
                    self._note(terms, len(chunks))
            outputs.append(output.detach())
        if update:
            self.clip(self.net_g)
            self.optimizer_g.step()
        return outputs

    def _generator_losses(self, output: Tensor, truth: Tensor) -> dict[str, Tensor]:
        terms: dict[str, Tensor] = {}
        if self.cri_pix is not None:
            terms["l_pix"] = self.cri_pix(output, truth)
        if self.cri_perceptual is not None:
            with self._autocast():
                perceptual, style = self.cri_perceptual(output, truth)
            terms |= {name: term for name, term in (("l_percep", perceptual), ("l_style", style)) if term is not None}
        if self.cri_gan is not None:
            with self._autocast():
                scores = self.get_bare_model(self.net_d)(output)
            terms["l_g_gan"] = self.cri_gan(_float(scores), target_is_real=True, is_disc=False)
        return terms

    def _discriminator_step(self, chunks: list[Batch], outputs: list[Tensor]) -> None:
        """Update the discriminator on originals and outputs, one after the other, as its batch statistics are their own."""
        if self.cri_gan is None:
            return
        self.net_d.requires_grad_(requires_grad=True)
        self.optimizer_d.zero_grad(set_to_none=True)
        for number, (chunk, output) in enumerate(zip(chunks, outputs, strict=True), start=1):
            for name, picture in (("real", chunk["gt"]), ("fake", output)):
                last = number == len(chunks) and name == "fake"
                with self._synchronised(self.net_d, last=last):
                    with self._autocast():
                        scores = self.net_d(picture)
                    term = self.cri_gan(_float(scores), target_is_real=name == "real", is_disc=True)
                    term.div(len(chunks)).backward()
                self._note({f"l_d_{name}": term}, len(chunks))
        self.clip(self.net_d)
        self.optimizer_d.step()

    def _note(self, terms: dict[str, Tensor], count: int) -> None:
        for name, term in terms.items():
            part = term.detach() / count
            self.losses[name] = self.losses[name] + part if name in self.losses else part

    @staticmethod
    def _synchronised(net: nn.Module, *, last: bool) -> AbstractContextManager[Any]:
        """Exchange gradients between processes in the last backward pass only."""
        return net.no_sync() if isinstance(net, DistributedDataParallel) and not last else contextlib.nullcontext()

    # Validation
    def validation(self, dataloader: Iterable[DataLoader[Any]], current_iter: int, tb_logger: Any, save_img: bool = False) -> None:  # noqa: ANN401
        """Measure on every validation set; process 0 only. The name and order of the arguments are those of BasicSR's loop."""
        if self.opt["rank"] != 0:
            return
        for loader in dataloader:
            self._validate(loader, current_iter, tb_logger, save_img=save_img)

    def _validate(self, loader: DataLoader[Any], current_iter: int, tb_logger: Any, *, save_img: bool) -> None:  # noqa: ANN401
        """Measure the averaged weights (else the raw ones) on whole crops, next to the compressed input."""
        dataset: Any = loader.dataset
        name = str(dataset.opt["name"])
        if (name, current_iter) in self.validated:
            return
        self.validated.add((name, current_iter))
        net = self.averages.get("g", self.get_bare_model(self.net_g))
        restored: list[Scores] = []
        compressed: list[Scores] = []
        for data in loader:
            self.feed_data(data)
            picture = self._restored_picture(net)
            truth = _picture(self.batch["gt"])
            restored.append(self._score(picture, truth))
            if name not in self.untouched:
                compressed.append(self._score(_picture(self.batch["lq"]), truth))
            if save_img:
                folder = Path(self.opt["path"]["visualization"]) / name
                folder.mkdir(parents=True, exist_ok=True)
                cv2.imwrite(str(folder / f"{Path(data['lq_path'][0]).stem}_{current_iter}.png"), picture[:, :, ::-1])
        self.batch = {}
        if compressed:
            self.untouched[name] = _mean(compressed)
        self._report(name, _mean(restored), current_iter, tb_logger)

    def _restored_picture(self, net: nn.Module) -> npt.NDArray[np.uint8]:
        training = net.training
        net.eval()
        with torch.inference_mode():
            picture = _picture(self.restore(net, self.batch))
        net.train(training)
        return picture

    def _score(self, picture: npt.NDArray[np.uint8], truth: npt.NDArray[np.uint8]) -> Scores:
        """Return every metric of the options, on BGR pictures as BasicSR's metrics expect them."""
        pair = {"img": picture[:, :, ::-1], "img2": truth[:, :, ::-1]}
        return {name: float(calculate_metric(pair, _metric(options))) for name, options in self.opt["val"]["metrics"].items()}

    def _report(self, name: str, scores: Scores, current_iter: int, tb_logger: Any) -> None:  # noqa: ANN401
        """Log the scores, keep them in `validation.jsonl`, and save the best weights (by the first data set's first metric)."""
        before = self.untouched[name]
        parts = [
            f"{metric} {value:.4f} (compressed {before[metric]:.4f}, {value - before[metric]:+.4f})" for metric, value in scores.items()
        ]
        get_root_logger().info("validation %s at %d: %s", name, current_iter, ", ".join(parts))
        row = {"iteration": current_iter, "data": name, "restored": scores, "compressed": before}
        with (Path(self.opt["path"]["log"]) / RESULTS).open("a", encoding="utf-8") as stream:
            stream.write(json.dumps(row) + "\n")
        if tb_logger:
            for metric, value in scores.items():
                tb_logger.add_scalar(f"metrics/{name}/{metric}", value, current_iter)
        if self.is_train and self._is_best(name, scores, current_iter):
            self.save_final("best")

    def resume_training(self, resume_state: dict[str, Any]) -> None:
        """Continue from a state; what `validation.jsonl` says of the time after it is forgotten, and the best results are read from it."""
        super().resume_training(resume_state)
        source = Path(resume_state["folder"]) / RESULTS
        rows = [json.loads(line) for line in source.read_text(encoding="utf-8").splitlines()] if source.is_file() else []
        rows = [row for row in rows if row["iteration"] <= self.iteration]
        for row in rows:
            self._is_best(row["data"], row["restored"], row["iteration"])
            if row["iteration"] == self.iteration:
                self.validated.add((row["data"], self.iteration))
        if self.opt["rank"] == 0:
            text = "".join(json.dumps(row) + "\n" for row in rows)
            checkpoints.write_atomically(Path(self.opt["path"]["log"]) / RESULTS, lambda part: part.write_text(text, encoding="utf-8"))

    def _is_best(self, name: str, scores: Scores, current_iter: int) -> bool:
        """Note the scores that are the best so far; return whether the first data set's first metric is one of them."""
        best = False
        for metric, value in scores.items():
            sign = 1.0 if self.opt["val"]["metrics"][metric].get("better", "higher") == "higher" else -1.0
            key = f"{name}/{metric}"
            if key in self.best and sign * value <= sign * self.best[key]["value"]:
                continue
            best = best or key == next(iter(self.best), key)
            self.best[key] = {"value": value, "iteration": float(current_iter)}
        return best


def _metric(options: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in options.items() if key != "better"}


def _mean(scores: list[Scores]) -> Scores:
    return {name: float(np.mean([each[name] for each in scores])) for name in scores[0]}


def _float(scores: Any) -> Any:  # noqa: ANN401
    """Turn one score map or a list of them into float32, for the loss."""
    return [score.float() for score in scores] if isinstance(scores, list) else scores.float()


def _picture(batch: Tensor) -> npt.NDArray[np.uint8]:
    """Turn the first picture of a batch (N, 3, H, W) in [0, 1] into uint8 RGB (H, W, 3)."""
    levels = batch[0].float().clamp(0.0, 1.0).mul(255.0).round().to(torch.uint8)
    return np.ascontiguousarray(levels.permute(1, 2, 0).cpu().numpy())
