import torch

from mask2iv_ros.generator.small_text import small_text_encoder

TEXTS = ["push the puck to the left", "push the puck to the right", "pull the mug towards the robot"]


def test_texts_and_their_order_are_told_apart():
    encoder = small_text_encoder(TEXTS, width=16, vocabulary=300)
    left, right, turned = encoder.encode([TEXTS[0], TEXTS[1], "left the to puck the push"])
    assert left.shape == (32, 16)
    for other in (right, turned):
        assert (left - other).abs().max() > 0.1


def test_the_same_texts_and_seed_make_the_same_encoder():
    one, again, other = (small_text_encoder(TEXTS, width=16, vocabulary=300, seed=seed) for seed in (0, 0, 1))
    assert torch.equal(one.encode(TEXTS), again.encode(TEXTS))
    assert not torch.equal(one.encode(TEXTS), other.encode(TEXTS))


def test_words_never_seen_are_taken_too():
    strange = small_text_encoder(TEXTS, width=16, vocabulary=300).encode(["schiebe den Würfel 🤖"])
    assert strange.isfinite().all()


def test_a_text_too_long_keeps_its_beginning():
    encoder = small_text_encoder(TEXTS, width=16, vocabulary=300, longest=8)
    long = "push the puck " * 8
    assert torch.equal(encoder.ids([long + "left"]), encoder.ids([long + "right"]))
