import os

import numpy as np
import pytest

os.environ.setdefault("HF_HUB_OFFLINE", "1")


@pytest.fixture(scope="session")
def tiny_sam2(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Return settings of a SAM 2 with random weights."""
    pytest.importorskip("sam2", reason="needs the extra sam2")
    from mask2iv_ros.segmentation.tiny import write_tiny_sam2

    return write_tiny_sam2(tmp_path_factory.mktemp("sam2"))


@pytest.fixture(scope="session")
def tiny_detector(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Return the folder of a GroundingDINO with random weights."""
    from mask2iv_ros.segmentation.tiny import write_tiny_detector

    return write_tiny_detector(tmp_path_factory.mktemp("detector"))


@pytest.fixture(scope="session")
def tiny_sam3(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Return the folder of a SAM 3 with random weights."""
    from mask2iv_ros.segmentation.tiny import write_tiny_sam3

    return write_tiny_sam3(tmp_path_factory.mktemp("sam3"))


@pytest.fixture(scope="session")
def clip() -> np.ndarray:
    """Return four RGB frames of 40 x 64 pixels in which a red disc moves over noise."""
    rng = np.random.default_rng(0)
    video = rng.integers(90, 120, (4, 40, 64, 3)).astype(np.uint8)
    y, x = np.mgrid[:40, :64]
    for index, frame in enumerate(video):
        frame[(x - 20 - 3 * index) ** 2 + (y - 20) ** 2 < 64] = (200, 30, 40)
    return video
