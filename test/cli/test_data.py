from pathlib import Path

import pytest

from mask2iv_ros.cli.main import main
from mask2iv_ros.data.tiny import write_tiny_dataset
from mask2iv_ros.generator.tiny import write_tiny_checkpoint

NOTHING = [f"--{name}=0" for name in ("validation", "test", "unseen-tasks", "unseen-camera")]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--size", "33", "48"], "size (33, 48) cannot be rendered; expected multiples of 8 from 32 to 536"),
        (["--tasks", "juggle"], "task 'juggle' is unknown; accepted are plate-slide, push, coffee-push"),
        (["--train", "-1"], "-1 clips of 'train'"),
        (["--workers", "0"], "workers is 0; expected at least 1"),
    ],
)
def test_what_cannot_be_rendered_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], said: str
):
    assert main(["data", "metaworld", "--out", str(tmp_path / "clips"), *NOTHING, *arguments]) == 2
    assert said in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_a_dataset_of_other_clips_is_left_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    write_tiny_dataset(tmp_path / "train", 2)
    assert main(["data", "metaworld", "--out", str(tmp_path), *NOTHING, "--train", "1"]) == 2
    assert "are (4, 32, 48, 10) (t, h, w, fps) and (16, 96, 128, 16) are wanted" in capsys.readouterr().err


def test_nothing_to_do_is_done(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert main(["data", "metaworld", "--out", str(tmp_path), *NOTHING, "--train", "0"]) == 0
    assert f"0 clips rendered into {tmp_path}" in capsys.readouterr().out


def test_trajectories_are_sampled_beside_the_dataset(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    data = write_tiny_dataset(tmp_path / "train", 3, (16, 24))
    base = write_tiny_checkpoint(tmp_path / "tiny", (16, 24))
    command = ["data", "trajectories", "--data", str(data), "--checkpoint", str(base), "--steps", "1"]
    alone = ["--device", "cpu", "--threads", "1"]
    assert main([*command, *alone, "--episodes", "2", "--draws", "2", "--strength", "0.8"]) == 0
    assert f"trajectories of 2 episodes sampled into {tmp_path / 'train.trajectories'}" in capsys.readouterr().out
    assert len(list((tmp_path / "train.trajectories").glob("*.safetensors"))) == 2
    assert main([*command, *alone, "--draws", "2"]) == 2
    assert "whose strength is 0.8, not 0.9" in capsys.readouterr().err
    for change, said in (
        (["--steps", "0"], "steps is 0"),
        (["--steps", "60", "--strength", "0.05"], "steps is 60; expected at most the 50 timesteps"),
        (["--batch", "0"], "batch is 0; expected at least 1"),
        (["--episodes", "0"], "episodes is 0; expected at least 1"),
        (["--threads", "0"], "threads is 0; expected at least 1"),
        (["--checkpoint", "nowhere"], "checkpoint 'nowhere' has no config.json"),
    ):
        assert main([*command, *change]) == 2
        assert said in capsys.readouterr().err
