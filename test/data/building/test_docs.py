"""What docs/fine_tuning.md says of the builders is what they do."""

from __future__ import annotations

import argparse
import re
import shlex
from dataclasses import fields
from pathlib import Path

import pytest

from mask2iv_ros.cli import data
from mask2iv_ros.data.building.prompts import read_prompts
from mask2iv_ros.data.building.quality import Quality

PAGE = (Path(__file__).parents[3] / "docs/fine_tuning.md").read_text()
BLOCKS = re.findall(r"```(\w*)\n(.*?)```", PAGE, re.DOTALL)
COMMANDS = [
    line
    for kind, text in BLOCKS
    if kind == "sh"
    for line in text.replace("\\\n", " ").splitlines()
    if line.startswith("mask2iv data")
]


def test_the_thresholds_are_the_defaults():
    told = dict(re.findall(r"\| `--quality-(\w+)` \| ([\d.]+) \|", PAGE))
    assert told == {field.name: f"{field.default:g}" for field in fields(Quality)}


def test_the_prompts_are_read(tmp_path: Path):
    (text,) = [text for kind, text in BLOCKS if kind == "yaml"]
    path = tmp_path / "prompts.yaml"
    path.write_text(text)
    assert len(read_prompts(path).of("000004", "front")) == 2
    sample = read_prompts(Path(__file__).parents[3] / "docs/bridge_sample_objects.yaml")
    sample.require_interactors(said=False)
    assert len(sample.episodes) == 25


@pytest.mark.parametrize("command", COMMANDS)
def test_the_commands_are_understood(command: str):
    parser = argparse.ArgumentParser()
    data.add_arguments(parser)
    assert parser.parse_args(shlex.split(command, comments=True)[2:]).make


def test_there_are_commands():
    assert len(COMMANDS) == 4
