import io
import json
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from mask2iv_ros.training.curves import Curves


def written(folder: Path) -> EventAccumulator:
    events = EventAccumulator(str(folder))
    events.Reload()
    return events


def test_points_and_videos_reach_tensorboard(tmp_path: Path):
    curves = Curves(tmp_path, 0)
    curves.points(10, {"loss": 0.5, "rate": 1e-4})
    frames = np.zeros((3, 8, 16, 3), np.uint8)
    frames[1, :, :8] = 255
    curves.video(10, "true | sampled/0", frames, fps=8)
    curves.close()
    events = written(tmp_path)
    ((loss),) = events.Scalars("loss")
    assert (loss.step, loss.value) == (10, 0.5)
    assert set(events.Tags()["scalars"]) == {"loss", "rate"}
    (video,) = events.Images("true | sampled/0")
    picture = Image.open(io.BytesIO(video.encoded_image_string))
    assert (picture.format, picture.n_frames, picture.size) == ("GIF", 3, (16, 8))
    assert picture.info["duration"] == pytest.approx(125, abs=5)
    picture.seek(1)
    np.testing.assert_array_equal(np.asarray(picture.convert("RGB")), frames[1])


def test_what_a_killed_run_wrote_after_its_state_is_taken_back(tmp_path: Path):
    curves = Curves(tmp_path, 0)
    for step in (10, 20, 30):
        curves.points(step, {"loss": float(step)})
        curves.line(step, {"loss": float(step)})
    curves.close()
    log = tmp_path / "log.jsonl"
    log.write_text(log.read_text() + '{"step": 4')
    time.sleep(1.1)  # TensorBoard orders event files by the second that they began in
    curves = Curves(tmp_path, 20)
    curves.points(30, {"loss": 0.0})
    curves.line(30, {"loss": 0.0})
    curves.close()
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    assert [(line["step"], line["loss"]) for line in lines] == [(10, 10.0), (20, 20.0), (30, 0.0)]
    assert [(point.step, point.value) for point in written(tmp_path).Scalars("loss")] == [(10, 10), (20, 20), (30, 0)]
