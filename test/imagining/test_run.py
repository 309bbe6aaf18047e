"""Bulk imagination, with tiny drawn demonstrations and a tiny untrained generator."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from mask2iv_ros.data.clips import task_of
from mask2iv_ros.data.labelled import LabelledDataset
from mask2iv_ros.errors import Refused
from mask2iv_ros.export import read_provenance
from mask2iv_ros.generator.tiny import write_tiny_checkpoint
from mask2iv_ros.imagining import run
from mask2iv_ros.imagining.ground import centroid
from mask2iv_ros.imagining.plan import plan
from mask2iv_ros.imagining.report import write_report
from mask2iv_ros.imagining.run import imagine_dataset
from mask2iv_ros.imagining.settings import ImaginingSettings
from mask2iv_ros.imagining.source import Source
from mask2iv_ros.imagining.wording import text_for
from mask2iv_ros.masks import Role

JOB = 4  # rollouts; no multiple of what a frame has, so that one is cut in the middle


@pytest.fixture(scope="module")
def wanted(source: Path, checkpoint: Path) -> ImaginingSettings:
    return ImaginingSettings(
        source, Path(), goals=("moves", "places", "episodes"), rollouts=3, keep="all", checkpoint=str(checkpoint)
    )


@pytest.fixture(scope="module")
def made(wanted: ImaginingSettings, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two episodes' rollouts, made without a break."""
    out = tmp_path_factory.mktemp("made") / "out"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(run, "ROLLOUTS_PER_JOB", JOB)
        imagine_dataset(replace(wanted, out=out, episodes="0-1"))
    return out


def contents(out: Path) -> list[tuple]:
    """What is known of every rollout of a dataset, and what notes say."""
    there = [(one.id, one.seed, one.digest, one.task, one.verdict) for one in read_provenance(out / "train")]
    notes = sorted((out / ".imagine/done").glob("*.json"))
    return there + [(path.name, *json.loads(path.read_text())["outcomes"]) for path in notes]


def test_rollouts_are_named_after_what_they_are_made_of(made: Path, source: Path, wanted: ImaginingSettings):
    dataset, known = LabelledDataset.open(source), Source.open(source)
    found = read_provenance(made / "train")
    kinds = ("moves0", "places0", "episodes0")
    assert [one.id for one in found] == [f"slide-{seed}.0.{kind}" for seed in range(2) for kind in kinds]
    assert {task_of(one.id) for one in found} == {"slide"}
    assert len({one.seed for one in found}) == 6
    imagined = LabelledDataset.open(made / "train")
    for one in found:
        assert one.imagined
        scene, _ = known.scene(one.episode // 3, 0)
        video, labels, goal = imagined.read(one.episode)
        np.testing.assert_array_equal(labels[0], scene.labels)
        start = scene.mask(Role.OBJECT)
        assert one.task == text_for(dataset.episodes[one.episode // 3].task, start, goal)
        assert np.hypot(*(centroid(goal) - centroid(start))) > 3
        assert len(video) == 4


def test_more_rollouts_and_episodes_go_on(made: Path, wanted: ImaginingSettings, tmp_path: Path, source: Path):
    out = Path(shutil.copytree(made, tmp_path / "out"))
    before = contents(out)[:6]
    fewer = imagine_dataset(replace(wanted, out=out, episodes="0-1", rollouts=2))
    assert len(fewer.kept) == 6, "nothing is taken away"
    summary = imagine_dataset(replace(wanted, out=out, episodes="0-2", rollouts=4, batch=3))
    assert len(summary.outcomes) == 12
    assert contents(out)[:6] == before
    ids = [unit.id for unit in plan(Source.open(source), replace(wanted, episodes="0-2", rollouts=4))]
    assert [one.id for one in summary.outcomes] == ids
    assert {one.id for one in read_provenance(out / "train")} == set(ids)
    assert "moves1" in summary.outcomes[3].id


def test_a_killed_run_goes_on_in_workers_to_the_same_dataset(
    made: Path, wanted: ImaginingSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    here = replace(wanted, out=tmp_path / "out", episodes="0-1")
    told = [here.source, here.out, here.checkpoint, str(JOB)]
    environment = os.environ | {"PYTHONPATH": str(Path(run.__file__).parents[2])}
    command = [sys.executable, Path(__file__).with_name("killed.py"), *told]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    assert 0 < len(read_provenance(here.dataset)) < 6
    monkeypatch.setattr(run, "ROLLOUTS_PER_JOB", JOB)
    summary = imagine_dataset(here, workers=2)
    assert contents(here.out) == contents(made)
    assert [one.id for one in summary.kept] == [one.id for one in read_provenance(made / "train")]
    assert sorted(path.name for path in here.out.iterdir()) == sorted(path.name for path in made.iterdir())


def test_only_good_ones_are_kept_and_the_rest_is_noted(wanted: ImaginingSettings, tmp_path: Path):
    here = replace(wanted, out=tmp_path / "out", keep="good", best_of=2, episodes="0,1", rollouts=3)
    summary = imagine_dataset(here)
    kept = read_provenance(here.dataset) if here.dataset.exists() else []
    assert [one.id for one in summary.kept] == [one.id for one in kept]
    assert {one.verdict for one in kept} <= {"good"}
    assert summary.left
    assert len(summary.outcomes) == 6
    assert all(one.kind.startswith("video: ") and "doubtful: " in one.words for one in summary.left)
    assert sum(summary.reasons.values()) == len(summary.left)
    page = write_report(summary, here).read_text()
    assert summary.left[0].id in page
    assert {path.name for path in (here.out / "report").iterdir()} >= {"left.png", "left.mp4"}


def test_frames_in_the_middle_and_a_list(wanted: ImaginingSettings, tmp_path: Path):
    (tmp_path / "goals.jsonl").write_text(
        '{"episode": 1, "frame": 2, "dx": -4, "dy": 9, "instruction": "there"}\n'
        '{"episode": 0, "dx": 24}\n{"episode": 0, "dx": 300}\n'
    )
    goals = ("moves", f"list:{tmp_path / 'goals.jsonl'}")
    here = replace(wanted, out=tmp_path / "out", goals=goals, every=2, rollouts=1, episodes="0,1")
    summary = imagine_dataset(here)
    names = [one.id.rpartition(".")[0] for one in summary.outcomes]
    assert names == ["slide-0.0", "slide-0.2", "slide-1.0", "slide-1.2", "slide-1.2", "slide-0.0", "slide-0.0"]
    assert [one.kind for one in summary.left] == ["no plausible goal", "no scene or goal"]
    assert "leaves the 48 x 32 image" in summary.left[1].words
    listed = [one for one in read_provenance(here.dataset) if one.task == "there"]
    labels = LabelledDataset.open(here.source).read(1).labels[2]
    assert len(listed) == 1
    np.testing.assert_array_equal(LabelledDataset.open(here.dataset).read(listed[0].episode).labels[0], labels)
    assert listed[0].source_stamp_ns == 250_000_000


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"best_of": 2}, "was begun with best_of 1 and 2 is wanted"),
        ({"keep": "good"}, 'was begun with keep "all" and "good" is wanted'),
        ({"seed": 1}, "was begun with seed 0 and 1"),
        ({"frames": (1,)}, "was begun with frames"),
        ({"goals": ("moves",)}, "was begun with kinds of goals"),
        ({"steps": 2}, "was begun with steps null and 2"),
    ],
)
def test_other_settings_are_refused_where_a_run_began(made: Path, wanted: ImaginingSettings, change: dict, said: str):
    before = contents(made)
    with pytest.raises(Refused) as refusal:
        imagine_dataset(replace(wanted, out=made, episodes="0-1", **change))
    assert said in str(refusal.value)
    assert contents(made) == before


def test_what_does_not_fit_the_source_is_refused(
    wanted: ImaginingSettings, robot_source: Path, made: Path, tmp_path: Path, checkpoint: Path
):
    larger = write_tiny_checkpoint(tmp_path / "larger", (48, 64))
    teller = write_tiny_checkpoint(tmp_path / "teller", conditions=("text",))
    about = json.loads((checkpoint / "config.json").read_text())
    slower = Path(shutil.copytree(checkpoint, tmp_path / "slower"))
    (slower / "config.json").write_text(json.dumps(about | {"fps": 5.0}))
    (tmp_path / "far.jsonl").write_text('{"episode": 0, "frame": 4, "dx": 1}')
    (tmp_path / "none.jsonl").write_text('{"episode": 77, "dx": 1}')
    for change, said in (
        ({"source": robot_source}, "has observation.state and action and there is no labeller"),
        ({"source": made / "train"}, "all 6 episodes of .* are imagined"),
        ({"source": tmp_path}, "expected a LeRobot v3 dataset"),
        ({"checkpoint": str(larger)}, "imagines 64 x 48 pixels and .* has 48 x 32"),
        ({"checkpoint": str(slower)}, "imagines 5 frames per second and .* has 8"),
        ({"checkpoint": str(teller)}, "takes no goal masks"),
        ({"frames": (4,)}, "frame is 4 and episode 0 has 4 frames"),
        ({"episodes": "9"}, "9 is not one to begin from"),
        ({"goals": (f"list:{tmp_path / 'far.jsonl'}",)}, "asks for frame 4 of 4"),
        ({"goals": (f"list:{tmp_path / 'none.jsonl'}",)}, "asks for episode 77"),
    ):
        with pytest.raises(Refused, match=said):
            imagine_dataset(replace(wanted, out=tmp_path / "out", **change))
    with pytest.raises(Refused, match="workers is 0"):
        imagine_dataset(replace(wanted, out=tmp_path / "out"), workers=0)
    assert not (tmp_path / "out").exists()


def test_folders_of_others_and_damaged_notes_are_refused(made: Path, wanted: ImaginingSettings, tmp_path: Path):
    shutil.copytree(made / "train", tmp_path / "other/train")
    with pytest.raises(Refused, match="was not imagined here"):
        imagine_dataset(replace(wanted, out=tmp_path / "other"))
    out = Path(shutil.copytree(made, tmp_path / "out"))
    shutil.rmtree(out / "train")
    with pytest.raises(Refused, match=r"lacks slide-0\.0\.moves0, which was kept"):
        imagine_dataset(replace(wanted, out=out, episodes="0-1"))
    (out / ".imagine/settings.json").write_text("{")
    with pytest.raises(Refused, match=r"settings\.json cannot be read"):
        imagine_dataset(replace(wanted, out=out, episodes="0-1"))
