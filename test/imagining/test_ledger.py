from pathlib import Path

import pytest

from mask2iv_ros.errors import Refused
from mask2iv_ros.imagining.ledger import require_begun_with


def test_a_difference_far_into_a_fact_is_refused(tmp_path: Path):
    names = [f"joint_number_{number}" for number in range(14)]
    require_begun_with(tmp_path / "settings.json", {"columns": names}, tmp_path)
    require_begun_with(tmp_path / "settings.json", {"columns": names}, tmp_path)
    with pytest.raises(Refused, match="was begun with columns"):
        require_begun_with(tmp_path / "settings.json", {"columns": [*names[:-1], "another"]}, tmp_path)
