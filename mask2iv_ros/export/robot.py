"""What a robot measured and was told while a camera watched it, or would have been."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float32

from mask2iv_ros.errors import Refused
from mask2iv_ros.export.estimate import Estimate
from mask2iv_ros.export.schema import ACTION_KEY, STATE_KEY, ExportSettings


@dataclass(frozen=True)
class RobotColumns:
    """State and action of an episode, a row a frame; written and read back to the bit.

    Attributes:
        state: None where it was not recorded.
        action: None where it was not recorded.
        estimate: of actions that no robot was told; None where they were recorded.
    """

    state: Float32[np.ndarray, "t n"] | None = None
    action: Float32[np.ndarray, "t m"] | None = None
    estimate: Estimate | None = None

    def frames(self, count: int, settings: ExportSettings) -> list[dict[str, Any]]:
        """Return the features of each of an episode's `count` frames, as LeRobot's writer takes them.

        Raises:
            Refused: they are not what the settings name.
        """
        values = {key: one for key, one in ((STATE_KEY, self.state), (ACTION_KEY, self.action)) if one is not None}
        for key in sorted(values.keys() ^ settings.columns.keys()):
            raise Refused(f"an episode {'has' if key in values else 'lacks'} {key}; expected the same of all episodes")
        for key, names in settings.columns.items():
            found = values[key]
            if found.dtype != np.float32 or found.shape != (count, len(names)):
                raise Refused(f"{key} is {found.dtype} {found.shape}; expected float32 {(count, len(names))}")
        return [{key: one[frame] for key, one in values.items()} for frame in range(count)]
