from pathlib import Path

import open_clip
import pytest
from transformers import AutoTokenizer

from mask2iv_ros.generator.dynamicrafter.tokenizer import clip_tokenizer


def padded(ids: list[int]) -> list[int]:
    return ids + [0] * (77 - len(ids))


def test_ids_are_those_of_the_reference(reference, tmp_path: Path):
    clip_tokenizer().save_pretrained(tmp_path)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path, local_files_only=True)
    prompts = reference("clip_token_ids.json")["prompts"]
    assert len(prompts) == 5
    for prompt, ids in prompts.items():
        assert padded(tokenizer(prompt).input_ids) == ids


@pytest.mark.parametrize(
    "text",
    [
        "push it!",
        "wow!!",
        "  Two   spaces\nand a line",
        "café naïve",
        "it's 10cm, 3.5 kg; don't",
        "R2-D2 & co. <b>",
        "日本語 robot 🙂",
        'a_b_c (quoted: "so")',
        "word " * 100,
    ],
)
def test_ids_are_those_of_openclip(text: str):
    ids = clip_tokenizer()(text, truncation=True).input_ids
    assert padded(ids) == open_clip.tokenize([text])[0].tolist()


def test_the_length_is_the_encoders():
    assert len(clip_tokenizer(32)("word " * 100, truncation=True).input_ids) == 32
