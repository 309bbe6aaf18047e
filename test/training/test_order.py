import pytest
import torch

from mask2iv_ros.training.order import Order, generator_at, seed_at


def test_every_epoch_goes_through_all_windows_in_another_order():
    steps = list(Order(windows=7, batch=2, steps=range(14), seed=3))
    flat = [window for step in steps for window in step]
    epochs = [flat[begin : begin + 7] for begin in range(0, 28, 7)]
    assert all(sorted(epoch) == list(range(7)) for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) == 4


def test_a_later_step_has_the_same_windows_wherever_one_begins():
    order = list(Order(windows=5, batch=3, steps=range(20), seed=0))
    assert list(Order(windows=5, batch=3, steps=range(13, 20), seed=0)) == order[13:]
    assert len(Order(windows=5, batch=3, steps=range(13, 20), seed=0)) == 7
    assert list(Order(windows=5, batch=3, steps=range(20), seed=1)) != order


def test_gpus_share_what_one_would_take():
    alone = list(Order(windows=5, batch=4, steps=range(6), seed=0))
    shares = [list(Order(windows=5, batch=4, steps=range(6), seed=0, rank=rank, world=2)) for rank in (0, 1)]
    assert [one + other for one, other in zip(*shares, strict=True)] == alone


@pytest.mark.parametrize("other", [(0, 1, 3), (1, 1, 2), (0, 2, 2), (0, 1), (0, 2, 1), (0, 1, 2, 0)])
def test_places_have_draws_of_their_own(other: tuple[int, ...]):
    place = (0, 1, 2)
    assert seed_at(*place) != seed_at(*other)
    one, again, elsewhere = (torch.rand(8, generator=generator_at(*where)) for where in (place, place, other))
    assert torch.equal(one, again)
    assert not torch.equal(one, elsewhere)
