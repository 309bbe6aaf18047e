"""What BridgeData V2 is, whichever way it was packed."""

from __future__ import annotations

# "The control frequency is 5 Hz": https://rail-berkeley.github.io/bridgedata/ and section 3.1 of arXiv 2308.12952.
RATE = 5.0

# "Robot end effector state, consists of [3x XYZ, 3x roll-pitch-yaw, 1x gripper]", "Robot action, consists of [3x XYZ
# delta, 3x roll-pitch-yaw delta, 1x gripper absolute]", says the builder of the authors' TFDS release. The sample's own
# features.json keeps the joint velocities of the template that it was made from.
STATE_NAMES = ("x", "y", "z", "roll", "pitch", "yaw", "gripper")
ACTION_NAMES = ("delta_x", "delta_y", "delta_z", "delta_roll", "delta_pitch", "delta_yaw", "gripper")


def names_for(names: tuple[str, ...], columns: int) -> tuple[str, ...] | None:
    """Return the names if there are as many as columns: some early data has fewer degrees of freedom."""
    return names if len(names) == columns else None
