from pathlib import Path

import pytest

from mask2iv_ros.actions.labeller import Labeller
from mask2iv_ros.actions.tiny import TINY, write_moving
from mask2iv_ros.actions.train import train_labeller


@pytest.fixture(scope="session")
def demonstrations(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_moving(tmp_path_factory.mktemp("actions") / "demonstrations", range(40))


@pytest.fixture(scope="session")
def trained(demonstrations: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a labeller that estimates states, too."""
    out = tmp_path_factory.mktemp("labeller") / "labeller"
    train_labeller(TINY, demonstrations, out, state=True)
    return out


@pytest.fixture(scope="session")
def labeller(trained: Path) -> Labeller:
    return Labeller.load(trained, "cpu")
