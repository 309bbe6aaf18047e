"""What a training or a sampling began from, hashed to be known again."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from mask2iv_ros.generator.checkpoint import SHARED
from mask2iv_ros.generator.parts import find


def hash_stage(base: str | Path, stage: str | None) -> str:
    """Return a hash of a checkpoint's encoders and, unless it is None, of one of its stages.

    Another stage that is added meanwhile makes no difference.
    """
    told = json.loads((find(base) / "config.json").read_text())
    used = {*SHARED, stage, f"{stage}_projector"} & told["parts"].keys()
    return hashed(({part: told["parts"][part] for part in used}, told["stages"].get(stage)))


def hashed(value: object) -> str:
    """Return a hash of what JSON can hold."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:16]
