"""The losses of code prediction in closed form."""

from __future__ import annotations

import math

import pytest
import torch

from losses.code_loss import CodeLoss


def test_values_of_even_scores_and_a_constant_distance() -> None:
    features, rows = torch.zeros(2, 3, 4, 4, 4), torch.full((2, 3, 4, 4, 4), 3.0, requires_grad=True)
    scores, codes = torch.zeros(2, 3, 16, 10), torch.randint(0, 10, (2, 3, 16))
    distance, entropy = CodeLoss(2.0, 0.5)(features, rows, scores, codes)
    assert distance is not None
    assert entropy is not None
    assert distance.item() == pytest.approx(2.0 * 9.0)
    assert entropy.item() == pytest.approx(0.5 * math.log(10))
    assert not distance.requires_grad  # the rows are fixed


def test_weights_of_zero_leave_a_term_out() -> None:
    given = torch.zeros(1, 2, 2, 2), torch.ones(1, 2, 2, 2), torch.zeros(1, 4, 3), torch.zeros(1, 4, dtype=torch.int64)
    assert CodeLoss(0.0, 0.0)(*given) == (None, None)
