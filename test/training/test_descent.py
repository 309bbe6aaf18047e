from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

from mask2iv_ros.errors import Refused
from mask2iv_ros.training.descent import descend


@dataclass(frozen=True)
class Settings:
    steps: int = 60
    rate: float = 0.1
    every: int = 10


def test_a_line_is_found_and_its_curve_is_kept(tmp_path: Path):
    torch.manual_seed(0)
    model, x = torch.nn.Linear(1, 1), torch.linspace(-1, 1, 16)[:, None]
    seen = []

    def loss_at(step: int) -> torch.Tensor:
        seen.append(step)
        return ((model(x) - 3 * x) ** 2).mean()

    losses = descend(model, loss_at, Settings(), 0.0, 3, tmp_path, "line")
    assert seen == list(range(60))
    assert losses[-1] < 0.05 * losses[0]
    assert len((tmp_path / "log.jsonl").read_text().splitlines()) == 6


def test_a_loss_that_is_no_longer_finite_is_refused(tmp_path: Path):
    model = torch.nn.Linear(1, 1)
    with pytest.raises(Refused, match="the loss of step 1 is nan; expected a rate below"):
        descend(model, lambda _: model.weight.sum() * torch.nan, Settings(), 0.0, 3, tmp_path, "line")
