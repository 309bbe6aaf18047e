"""Which seeds train, which choose settings, and which are only ever measured on."""

from __future__ import annotations

SPLITS: dict[str, range] = {
    "train": range(0, 1_000_000),
    "validation": range(1_000_000, 2_000_000),
    "test": range(2_000_000, 3_000_000),
}


def split_of(seed: int) -> str:
    """Return the split that a Meta-World seed belongs to; seeds of no split are "other"."""
    return next((name for name, seeds in SPLITS.items() if seed in seeds), "other")
