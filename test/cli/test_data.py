from pathlib import Path

import pytest

from mask2iv_ros.cli.main import main
from mask2iv_ros.data.tiny import write_tiny_dataset

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
