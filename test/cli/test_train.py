"""`mask2iv train` as a user runs it, and `mask2iv evaluate` on what it made."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

import mask2iv_ros
from mask2iv_ros.cli.main import main
from mask2iv_ros.cli.train import experiment_file
from mask2iv_ros.data.clips import Clip, write_clips
from mask2iv_ros.data.splits import SPLITS
from mask2iv_ros.data.tiny import tiny_clip
from mask2iv_ros.errors import Refused
from mask2iv_ros.generator import checkpoint as checkpoints
from mask2iv_ros.generator.autoencoder import decode_video, encode_video, to_bytes, to_unit
from mask2iv_ros.generator.checkpoint import Checkpoint
from mask2iv_ros.generator.conditioning import Condition, beside_first_frame, goal_slots
from mask2iv_ros.generator.paste import paste_and_move
from mask2iv_ros.masks import COLOURS, Role, encode_colours
from mask2iv_ros.training.order import generator_at

SIZE, FRAMES = (16, 24), 4
SEEDS = (0, 1, 3, 4)  # two to the right and two to the left, all at places of their own


def clean_clip(seed: int) -> Clip:
    """A drawn clip without its noise, which no small network could learn by heart."""
    clip = tiny_clip(seed, SIZE, FRAMES)
    video = np.full_like(clip.video, 120)
    for role in (Role.INTERACTOR, Role.OBJECT):
        video[clip.labels == role] = np.array(COLOURS[role]) // 2 + 60
    return replace(clip, video=video)


def setting(**changes: object) -> list[str]:
    return [word for key, value in changes.items() for word in ("--set", f"{key.replace('__', '.')}={value}")]


SMALL = setting(
    data__size=list(SIZE),
    data__windows__frames=FRAMES,
    network__depth=1,
    network__head_width=16,
    optimiser__warm_up=10,
    log__sample=0,
    log__windows=4,
)


# No stage 1 has sampled masks for these clips.
TRUE_MASKS = setting(perturbation__sampled=0)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("data") / "clips"
    write_clips(root, [clean_clip(seed) for seed in SEEDS])
    return root


@pytest.fixture(scope="module")
def begun(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint with a small autoencoder and text encoder, made by the command."""
    folder = tmp_path_factory.mktemp("begun")
    settings = setting(size=list(SIZE), frames=FRAMES, channels=48, width=32, text_width=16, steps=120, rate=2e-3)
    folders = ["--data", str(data), "--out", str(folder / "small"), "--work", str(folder / "work")]
    assert main(["train", "autoencoder", "--config", "default_autoencoder", *folders, *settings, "--threads", "1"]) == 0
    return folder / "small"


def train(part: str, data: Path, base: Path, folder: Path, *settings: str) -> list[str]:
    """Return the command line that trains a part into `folder/out`."""
    folders = ["--data", data, "--validation", data, "--base", base, "--out", folder / "out", "--work", folder / part]
    return [
        *("train", part, "--config", f"default_{part}", *map(str, folders)),
        *("--device", "cpu", "--threads", "1", *SMALL, *settings),
    ]


def psnr(one: np.ndarray, other: np.ndarray) -> float:
    return float(10 * np.log10(255**2 / np.square(one.astype(float) - other).mean()))


def sampled(made: Checkpoint, stage: str, clips: list[Clip], by_text: bool = False) -> list[np.ndarray]:
    """Return what a stage makes of the clips' first frames, as pictures."""

    def latent(pictures: np.ndarray) -> torch.Tensor:
        with torch.no_grad():
            return encode_video(made.autoencoder, to_unit(pictures))

    video, pasted = latent(np.stack([clip.video for clip in clips])), None
    masks = latent(np.stack([encode_colours(clip.labels) for clip in clips]))
    goals = np.stack([np.where(clip.goal_mask, np.uint8(Role.OBJECT), np.uint8(0)) for clip in clips])
    if stage == "trajectory":
        goal = None if by_text else latent(encode_colours(goals)[:, None])[:, :, 0]
        slots, origin = goal_slots(masks[:, :, 0], goal, FRAMES), masks[:, :, :1]
    else:
        slots = masks
        origin = pasted = latent(np.stack([paste_and_move(clip.video[0], clip.labels) for clip in clips]))
    texts = made.text_encoder.encode([clip.instruction if by_text else "" for clip in clips])
    condition = Condition(beside_first_frame(video[:, :, 0], slots, pasted), texts, None, torch.full((len(clips),), 10))
    noise = torch.randn(video.shape, generator=generator_at(0))
    with torch.no_grad():
        made_of = made.stages[stage].sample(origin, condition, noise, made.config.stages[stage].sampling)
        return list(to_bytes(decode_video(made.autoencoder, made_of)))


def test_both_stages_learn_four_clips_by_heart(data: Path, begun: Path, tmp_path: Path):
    settings = setting(optimiser__average="null", optimiser__precision="fp32", log__save=1000)
    one = setting(optimiser__steps=350, optimiser__rate=6e-3, network__widths=[64], dropout=0.0)
    two = setting(optimiser__steps=150, optimiser__rate=5e-3, network__widths=[48], perturbation="null")
    assert main(train("stage1", data, begun, tmp_path, *settings, *one)) == 0
    assert main(train("stage2", data, begun, tmp_path, *settings, *two)) == 0
    made = checkpoints.load(tmp_path / "out", torch.device("cpu"))
    clips = [clean_clip(seed) for seed in SEEDS]
    masks, videos = [encode_colours(clip.labels) for clip in clips], [clip.video for clip in clips]
    figures = {
        "PT-Gen": list(map(psnr, masks, sampled(made, "trajectory", clips))),
        "TT-Gen": list(map(psnr, masks, sampled(made, "trajectory", clips, by_text=True))),
        "stage 2": list(map(psnr, videos, sampled(made, "video", clips))),
    }
    print({name: [round(one, 1) for one in values] for name, values in figures.items()})
    assert all(one >= 30 for values in figures.values() for one in values), figures


def states(work: Path) -> list[str]:
    return sorted(path.name for path in work.glob("step-*") if path.suffix != ".part")


def wait_for_state(work: Path, process: subprocess.Popen, seconds: float = 120) -> None:
    end = time.monotonic() + seconds
    # Any: the first one goes when the next is there.
    while not states(work):
        assert process.poll() is None, "the training ended by itself"
        assert time.monotonic() < end, f"no state appeared in {work}"
        time.sleep(0.005)


def test_a_training_killed_in_the_middle_goes_on_to_the_same_weights(data: Path, begun: Path, tmp_path: Path):
    # As many steps after the first state as no machine does between two looks at the folder.
    settings = setting(optimiser__steps=150, log__save=10, network__widths=[16], dropout=0.05, optimiser__micro=2)
    settings += TRUE_MASKS
    whole, broken = (train("stage2", data, begun, tmp_path / name, *settings) for name in ("whole", "broken"))
    assert main(whole) == 0
    with (tmp_path / "output").open("w") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "mask2iv_ros.cli.main", *broken],
            stdout=output,
            stderr=output,
            env=os.environ | {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"},
        )
        wait_for_state(tmp_path / "broken" / "stage2", process)
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
    assert states(tmp_path / "broken" / "stage2")[-1] < "step-00000150"
    assert not checkpoints.read_config(tmp_path / "broken" / "out").stages
    assert main(broken) == 0
    one, other = (tmp_path / name / "stage2" / "step-00000150" for name in ("whole", "broken"))
    for name in ("weights.safetensors", "average.safetensors"):
        tensors, again = load_file(one / name), load_file(other / name)
        assert len(tensors) > 20
        assert tensors.keys() == again.keys()
        assert all(torch.equal(tensors[key], again[key]) for key in tensors)
    moments, resumed = (torch.load(path / "optimiser.pt", weights_only=True)["state"] for path in (one, other))
    for index, values in moments.items():
        assert all(torch.equal(values[key], resumed[index][key]) for key in values)
    logs = [(tmp_path / name / "stage2" / "log.jsonl").read_text() for name in ("whole", "broken")]
    assert logs[0] == logs[1]
    hashes = [
        json.loads((tmp_path / name / "out" / "config.json").read_text())["parts"] for name in ("whole", "broken")
    ]
    assert hashes[0] == hashes[1]


def test_two_processes_train_what_one_does_in_two_pieces(data: Path, begun: Path, tmp_path: Path):
    settings = setting(optimiser__steps=4, log__save=2, log__sample=2, network__widths=[16], optimiser__micro=2)
    settings += setting(optimiser__precision="fp32", optimiser__average="null", optimiser__warm_up=1)
    settings += TRUE_MASKS
    assert main(train("stage2", data, begun, tmp_path / "one", *settings)) == 0
    run = subprocess.run(
        [
            *(sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--standalone"),
            *("-m", "mask2iv_ros.cli.main", *train("stage2", data, begun, tmp_path / "two", *settings)),
        ],
        capture_output=True,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"},
        timeout=300,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    assert run.stdout.count("stage2 in") == 1
    one, two = (load_file(tmp_path / name / "stage2/step-00000004/weights.safetensors") for name in ("one", "two"))
    assert all(torch.allclose(one[name], two[name], rtol=1e-3, atol=1e-5) for name in one)
    logs = [
        [json.loads(line)["validation"] for line in (tmp_path / name / "stage2" / "log.jsonl").read_text().splitlines()]
        for name in ("one", "two")
    ]
    assert logs[0] == pytest.approx(logs[1], rel=1e-4)


def test_evaluate_measures_what_was_trained(begun: Path, data: Path, tmp_path: Path, capsys):
    settings = setting(optimiser__steps=1, network__widths=[16], sampling__steps=1)
    assert main(train("stage1", data, begun, tmp_path, *settings)) == 0
    assert main(train("stage2", data, begun, tmp_path, *settings, *TRUE_MASKS)) == 0
    for split in ("train", "test"):
        clips = [replace(clean_clip(seed), seed=SPLITS[split].seeds.start + seed) for seed in SEEDS[:2]]
        write_clips(tmp_path / "clips" / split, clips)
    arguments = ["--clips", tmp_path / "clips", "--out", tmp_path / "report", "--checkpoint", tmp_path / "out"]
    assert main(["evaluate", *map(str, arguments), "--device", "cpu"]) == 0
    figures = json.loads((tmp_path / "report" / "figures.json").read_text())
    assert figures["clips"] == 2
    assert figures["figures"]["all"]["static masks"]["iou_object_last"][0] < 1
    # Training and test clips are drawn alike here, so the nearest one is the same clip.
    assert figures["figures"]["all"]["nearest training clip, by goal"]["iou_object"][0] == 1
    assert "slide" in (tmp_path / "report" / "report.html").read_text()
    assert "repeat first frame" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            {"--config": "nowhere"},
            "experiment 'nowhere' is no YAML file; accepted are ablation_stage2, default_actions",
        ),
        ({"--config": "default_stage1"}, "trains stage trajectory; expected video for stage2"),
        ({"--set": "optimiser.speed=1"}, "optimiser.speed is unknown"),
        ({"--data": "nowhere"}, "nowhere"),
        ({"--base": "nowhere"}, "checkpoint 'nowhere' has no config.json"),
        ({"--threads": "0"}, "threads is 0; expected at least 1"),
        ({"--dtype": "fp8"}, "dtype is 'fp8'; accepted are fp32, fp16, bf16"),
    ],
)
def test_what_cannot_be_trained_is_refused_in_one_line(
    begun: Path, data: Path, tmp_path: Path, capsys, change: dict, words: str
):
    # Of an option given twice the last one counts; --set is a list.
    command = [*train("stage2", data, begun, tmp_path), *next(iter(change.items()))]
    capsys.readouterr()
    assert main(command) == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1
    assert lines[0].startswith("mask2iv train: ")
    assert words in lines[0]


def test_an_experiment_by_name_needs_installed_ones(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(mask2iv_ros, "__file__", str(tmp_path / "mask2iv_ros" / "__init__.py"))
    with pytest.raises(Refused, match="experiment 'default' is no YAML file; accepted are paths, as no experiments"):
        experiment_file("default")


def test_a_folder_without_clips_is_refused_with_the_command_that_makes_them(tmp_path: Path, capsys):
    arguments = ["--clips", tmp_path, "--out", tmp_path / "out", "--checkpoint"]
    assert main(["evaluate", *map(str, arguments), "nowhere"]) == 2
    assert "checkpoint 'nowhere'" in capsys.readouterr().err
