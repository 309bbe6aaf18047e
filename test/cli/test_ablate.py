"""`mask2iv ablate` as a user runs it: killed, gone on with, called again."""

from __future__ import annotations

import json
import threading
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import psutil
import pytest
import torch
from safetensors.numpy import load_file

from mask2iv_ros.ablation.measure import held_out_clips, imagine
from mask2iv_ros.cli.main import main
from mask2iv_ros.data.clips import write_clips
from mask2iv_ros.data.splits import SPLITS
from mask2iv_ros.data.tiny import tiny_clip
from mask2iv_ros.evaluation import weights
from mask2iv_ros.evaluation.metrics import psnr
from mask2iv_ros.generator import checkpoint as checkpoints
from mask2iv_ros.generator.coding import Coder
from mask2iv_ros.generator.tiny import write_tiny_checkpoint

SIZE, FRAMES, STEPS = (32, 48), 9, 24
SMALL = (
    f"data.size={list(SIZE)}",
    f"data.windows.frames={FRAMES}",
    "network.widths=[16]",
    "network.head_width=16",
    "sampling.steps=2",
    "optimiser.warm_up=1",
    f"optimiser.steps={STEPS}",
    "log.save=1",
    "log.windows=1",
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dataset and a tiny base."""
    root = tmp_path_factory.mktemp("ablate")
    for split, count in (("train", 3), ("validation", 1), ("test", 3)):
        first = SPLITS[split].seeds.start
        write_clips(
            root / "data" / split,
            [replace(tiny_clip(seed, SIZE, FRAMES), seed=first + seed) for seed in range(count)],
        )
    write_tiny_checkpoint(root / "base", SIZE, FRAMES)
    return root


@pytest.fixture(autouse=True)
def _no_metric_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(weights.FOLDER_VARIABLE, str(tmp_path / "none"))


def command(folder: Path, *more: str) -> list[str]:
    folders = ["--data", folder / "data", "--out", folder / "out", "--base", folder / "base"]
    small = [word for change in SMALL for word in ("--set", change)]
    rows = ["--variants", "interactor", "full", "--seeds", "1", "--workers", "1", "--device", "cpu"]
    return ["ablate", *map(str, folders), *small, *rows, *more]


def written(out: Path) -> dict[str, int]:
    """When what a finished run consists of was written."""
    return {
        str(path.relative_to(out)): path.stat().st_mtime_ns
        for name in ("run.json", "figures.json", "config.json", "state.json")
        for path in out.rglob(name)
    }


def kill_a_worker(work: Path, killed: list[int], seconds: float = 600) -> None:
    """Kill the process that trains, as soon as there is a state to go on from."""
    end = time.monotonic() + seconds
    while not any(path.suffix != ".part" for path in work.glob("step-*")):
        if time.monotonic() > end:
            return
        time.sleep(0.02)
    for child in psutil.Process().children():
        if "spawn_main" in " ".join(child.cmdline()):
            child.kill()
            killed.append(child.pid)


def test_an_ablation_goes_on_where_a_worker_was_killed_and_a_finished_one_only_reports(
    folder: Path, capsys: pytest.CaptureFixture
):
    out, killed = folder / "out", []
    work = out / "interactor" / "seed-0" / "training"
    killer = threading.Thread(target=kill_a_worker, args=(work, killed))
    killer.start()
    assert main(command(folder)) == 2
    killer.join()
    assert len(killed) == 1
    assert "one of 1 workers died; use fewer if memory ran out; what is finished is kept" in capsys.readouterr().err
    (state,) = (path.name for path in work.glob("step-*") if path.suffix != ".part")
    assert 0 < int(state.removeprefix("step-")) < STEPS
    first_events = {path.name for path in work.glob("events.*")}

    assert main(command(folder)) == 0
    shown = capsys.readouterr()
    # Gone on with: another file of curves, whose first point is not the training's first.
    assert first_events < {path.name for path in work.glob("events.*")}
    steps = [json.loads(line)["step"] for line in (work / "log.jsonl").read_text().splitlines()]
    assert steps == list(range(1, STEPS + 1))
    told = json.loads((out / "ablation.json").read_text())
    assert list(told["figures"]) == ["interactor", "full"]
    assert set(told["figures"]["full"]) == {"psnr", "psnr_foreground", "psnr_contact", "ssim", "lpips"} - {"lpips"}
    assert told["not_measured"] == {"lpips": weights.MISSING, "fvd": weights.MISSING}
    low, high = told["figures"]["full"]["psnr"]["mean"][1:]
    assert low <= told["figures"]["full"]["psnr"]["mean"][0] <= high
    assert told["figures"]["full"]["psnr"]["seeds"] == pytest.approx([told["figures"]["full"]["psnr"]["mean"][0]])
    assert "  full             psnr " in shown.out
    assert f"lpips: {weights.MISSING}" in shown.out
    page = (out / "ablation.html").read_text()
    assert "interactor&#39;s mask" in page
    assert "not measured" in page
    assert (out / "sheets" / "00.png").stat().st_size > 1000
    about = {
        name: checkpoints.read_config(out / name / "seed-0" / "checkpoint").stages["video"] for name in told["figures"]
    }
    assert {name: one.masks for name, one in about.items()} == {"interactor": "interactor", "full": "both"}

    run = out / "full" / "seed-0"
    checkpoint = checkpoints.load(run / "checkpoint", torch.device("cpu"), stages=("video",))
    clip = held_out_clips(folder / "data", None, SIZE)[0]
    made = imagine(checkpoint, Coder(checkpoint, torch.device("cpu")), clip, 0, 0, torch.device("cpu"))
    shown = load_file(run / "shown.safetensors")["videos"]
    assert np.abs(shown[0].astype(int) - made).max() <= 1
    assert json.loads((run / "figures.json").read_text())["figures"]["psnr"][0] == pytest.approx(
        psnr(shown[0][1:], clip.video[1:]), abs=1e-3
    )

    before = written(out)
    assert main(command(folder)) == 0
    assert written(out) == before
    assert "training" not in capsys.readouterr().err

    assert main(command(folder, "--set", "optimiser.rate=1e-4")) == 2
    words = capsys.readouterr().err
    assert "was trained with other settings (optimiser.rate was 0.001 and is 0.0001); expected the same" in words
    assert main(command(folder, "--steps", "41")) == 2
    assert "optimiser.steps was 24 and is 41" in capsys.readouterr().err
    assert written(out) == before
    (out / "full" / "seed-0" / "run.json").write_text("{}")
    assert main(command(folder)) == 2
    assert "run.json does not describe a run (KeyError('experiment')); remove" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (("--variants", "half"), "variant 'half' is unknown; accepted are image_only,"),
        (("--seeds", "0"), "seeds is 0; expected at least 1"),
        (("--workers", "0"), "workers is 0; expected at least 1"),
        (("--threads", "0"), "threads is 0; expected at least 1"),
        (("--clips", "0"), "clips is 0; expected at least 1 per task"),
        (("--config", "default_stage1"), "experiment is of stage trajectory"),
        (("--data", "nowhere"), "nowhere/train"),
        (("--base", "nowhere"), "checkpoint 'nowhere' has no config.json"),
        (("--out", "/dev/null/out"), "/dev/null/out/interactor/seed-0 cannot be written (Not a directory)"),
    ],
)
def test_what_cannot_be_ablated_is_refused_in_one_sentence(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture, change: tuple[str, str], words: str
):
    out = ("--out", str(tmp_path / "out"))
    arguments = [*command(folder), *out, *change]
    if change[0] == "--config":
        arguments = [one for one in arguments if one not in ("--set", *SMALL)]
    assert main(arguments) == 2
    *bars, line = capsys.readouterr().err.strip().splitlines()
    assert all(bar.startswith("encoding") for bar in bars)
    assert line.startswith("mask2iv ablate: ")
    assert words in line
    assert not (tmp_path / "out").exists()
