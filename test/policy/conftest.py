import os
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest
from lerobot.configs import FeatureType, PolicyFeature

from mask2iv_ros.data.demonstrations import Demonstrations, demonstrate

SIZE = (48, 64)


@pytest.fixture(autouse=True, scope="session")
def offline() -> Iterator[None]:
    # LeRobot asks the hub about datasets that it does not know.
    before = os.environ.get("HF_HUB_OFFLINE")
    os.environ["HF_HUB_OFFLINE"] = "1"
    yield
    if before is None:
        del os.environ["HF_HUB_OFFLINE"]
    else:
        os.environ["HF_HUB_OFFLINE"] = before


@pytest.fixture(scope="session")
def shown(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two demonstrations of coffee-push."""
    if find_spec("metaworld") is None:
        pytest.skip("demonstrations need the extra 'demo'")
    out = tmp_path_factory.mktemp("shown") / "coffee-push"
    demonstrate(Demonstrations(out, "coffee-push", 2, size=SIZE))
    return out


@pytest.fixture
def offered() -> dict[str, PolicyFeature]:
    """What a dataset of ours offers to a policy."""
    image = PolicyFeature(FeatureType.VISUAL, (3, *SIZE))
    return {
        "observation.images.front": image,
        "observation.labels.front": image,
        "observation.goal_mask.front": image,
        "observation.state": PolicyFeature(FeatureType.STATE, (4,)),
    }
