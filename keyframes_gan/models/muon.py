"""Muon (Jordan et al., 2024) for networks of convolutions: steps for whole weight matrices, made orthogonal before they are taken.

`torch.optim.Muon` takes matrices only, and leaves it to its users what else there is. Here a convolution's weight (O, I, H, W) counts as
the matrix (O, I H W), and what is none (biases, and the first and the last convolution, as its authors advise) goes by AdamW (Loshchilov
and Hutter, ICLR 2019). A step has the size that AdamW's would have (Liu et al., "Muon is scalable for LLM training", 2025), so that AdamW's
learning rates do.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn

LEAST_AXES = 2
LIKE_ADAMW = 0.2
"""Root mean square of AdamW's steps in units of the learning rate."""
POLYNOMIAL = (3.4445, -4.7750, 2.0315)
"""Of the Newton-Schulz iteration: singular values near 0 grow fast, all end between about 0.7 and 1.2."""
ITERATIONS = 5


class Muon(torch.optim.Optimizer):
    """Muon for the convolutions and matrices between the first and the last, AdamW for everything else.

    Args:
        params: of one network, in its own order.
        lr: step size, in AdamW's sense.
        weight_decay: decoupled from the gradient.
        momentum: of the matrices' gradients (Nesterov's).
        betas: AdamW's.
        eps: AdamW's.
    """

    def __init__(
        self,
        params: Iterable[nn.Parameter],
        lr: float,
        *,
        weight_decay: float = 0.0,
        momentum: float = 0.95,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
    ) -> None:
        every = list(params)
        inner = {id(one) for one in [one for one in every if one.ndim >= LEAST_AXES][1:-1]}
        groups = [{"params": [one for one in every if (id(one) in inner) == matrices], "matrices": matrices} for matrices in (True, False)]
        defaults = {"lr": lr, "weight_decay": weight_decay, "momentum": momentum, "betas": tuple(betas), "eps": eps}
        super().__init__([group for group in groups if group["params"]], defaults)

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """Move all parameters that have gradients; return what `closure` does."""
        with torch.enable_grad():
            loss = None if closure is None else closure()
        for group in self.param_groups:
            move = self._muon if group["matrices"] else self._adamw
            for parameter in group["params"]:
                if parameter.grad is not None:
                    parameter.mul_(1 - group["lr"] * group["weight_decay"])
                    move(parameter, parameter.grad, group)
        return loss

    def _muon(self, parameter: nn.Parameter, gradient: Tensor, group: dict[str, Any]) -> None:
        state = self.state[parameter]
        if not state:
            state["momentum"] = torch.zeros_like(gradient)
        state["momentum"].lerp_(gradient, 1 - group["momentum"])
        ahead = gradient.lerp(state["momentum"], group["momentum"]).flatten(1)
        size = LIKE_ADAMW * max(ahead.shape) ** 0.5
        parameter.sub_(orthogonal(ahead).view_as(parameter), alpha=group["lr"] * size)

    def _adamw(self, parameter: nn.Parameter, gradient: Tensor, group: dict[str, Any]) -> None:
        state = self.state[parameter]
        if not state:
            state.update(step=torch.zeros(()), mean=torch.zeros_like(gradient), square=torch.zeros_like(gradient))
        first, second = group["betas"]
        state["step"] += 1
        steps = state["step"].item()
        state["mean"].lerp_(gradient, 1 - first)
        state["square"].mul_(second).addcmul_(gradient, gradient, value=1 - second)
        scale = state["square"].sqrt().div_((1 - second**steps) ** 0.5).add_(group["eps"])
        parameter.addcdiv_(state["mean"], scale, value=-group["lr"] / (1 - first**steps))


def orthogonal(matrix: Tensor) -> Tensor:
    """Return about U V' of `matrix` = U S V', (M, N), by Newton-Schulz iterations in bfloat16; of its type."""
    tall = matrix.shape[0] > matrix.shape[1]
    made = (matrix.mT if tall else matrix).to(torch.bfloat16)
    made = made / made.norm().clamp_min(torch.finfo(torch.float32).tiny)
    first, third, fifth = POLYNOMIAL
    for _ in range(ITERATIONS):
        square = made @ made.mT
        made = first * made + (third * square + fifth * square @ square) @ made
    return (made.mT if tall else made).to(matrix.dtype)
