"""The three released layouts of DynamiCrafter: what the shapes of their weights do not say."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from torch import Tensor

from mask2iv_ros.errors import Refused
from mask2iv_ros.generator.sampler import Sampling
from mask2iv_ros.generator.schedule import NoiseSchedule


@dataclass(frozen=True)
class Layout:
    """A released layout (reference sections 4 and 5).

    Attributes:
        name: as it is asked for.
        size: (height, width) of its videos in pixels.
        fps: what its frame rate embedding is told by default. The 256 layout was trained with the
            frame stride in its place.
        learnable_image_scale: whether every cross-attention has an alpha.
        schedule: of its training.
        sampling: as published.
    """

    name: str
    size: tuple[int, int]
    fps: int
    learnable_image_scale: bool = False
    schedule: NoiseSchedule = field(default_factory=NoiseSchedule)
    sampling: Sampling = field(default_factory=Sampling)


LAYOUTS = {
    layout.name: layout
    for layout in (
        Layout(
            "256",
            (256, 256),
            fps=3,
            learnable_image_scale=True,
            schedule=NoiseSchedule(prediction="epsilon", zero_terminal_snr=False, rescale=None),
            sampling=Sampling(spacing="uniform", guidance_rescale=0.0),
        ),
        Layout("512", (320, 512), fps=24),
        Layout("1024", (576, 1024), fps=10, schedule=NoiseSchedule(rescale=0.3)),
    )
}


def recognise(names: Mapping[str, object], buffers: Mapping[str, Tensor]) -> Layout:
    """Return the layout of a checkpoint.

    Args:
        names: of its tensors; only the 256 layout has alphas.
        buffers: of its noise schedule; the floor of the dynamic rescale tells 512 from 1024.

    Raises:
        Refused: neither tells.
    """
    if any(name.endswith(".attn2.alpha") for name in names):
        return LAYOUTS["256"]
    if "scale_arr" not in buffers:
        raise Refused(
            "the checkpoint has no scale_arr, which would tell the layout 512 from 1024; "
            f"name it with --layout: {', '.join(LAYOUTS)}"
        )
    floor = float(buffers["scale_arr"].flatten()[-1])
    for layout in LAYOUTS.values():
        if layout.schedule.rescale is not None and abs(layout.schedule.rescale - floor) < 1e-2:
            return layout
    raise Refused(
        f"the checkpoint's scale_arr falls to {floor:.4g}, which is no layout's; name the layout with --layout: "
        f"{', '.join(LAYOUTS)}"
    )


def schedule_of(layout: Layout, buffers: Mapping[str, Tensor]) -> tuple[NoiseSchedule, list[str]]:
    """Return the noise schedule of a checkpoint, and in words where it is not its layout's.

    The checkpoint decides: the reference loads these buffers over those that it computes, and
    samples with them.

    Args:
        layout: of the checkpoint.
        buffers: those of the noise schedule that the checkpoint has.

    Raises:
        Refused: they belong to no schedule that `NoiseSchedule` makes.
    """
    schedule, said = layout.schedule, []
    if "betas" in buffers:
        last = float(buffers["betas"].flatten()[-1])
        zero = last > 0.5  # rescaled to zero terminal SNR it is 1, else beta_end
        if zero != schedule.zero_terminal_snr:
            said.append(
                f"its betas end at {last:.4g}, so its schedule is {'' if zero else 'not '}rescaled to zero terminal "
                f"SNR, unlike that of layout {layout.name}; taken as it is"
            )
        schedule = replace(schedule, zero_terminal_snr=zero)
    if "scale_arr" in buffers:
        floor = float(buffers["scale_arr"].flatten()[-1])
        known = schedule.rescale
        # Half precision stores 0.7 as 0.6992.
        floor = known if known is not None and abs(floor - known) < 1e-3 else round(floor, 3)
        if floor != schedule.rescale:
            said.append(
                f"its scale_arr falls to {floor}, that of layout {layout.name} to {schedule.rescale}; taken as it is"
            )
        schedule = replace(schedule, rescale=floor)
    tables = {"alphas_cumprod": schedule.alphas_cumprod, "scale_arr": schedule.scale}
    for name in tables.keys() & buffers.keys():
        stored = buffers[name].double().numpy()
        # scale_arr is longer than the process; its last entries are never used.
        found, wanted = stored[: schedule.steps], tables[name]
        tolerance = max(1e-4, 4 * torch.finfo(buffers[name].dtype).eps)
        # Negated, so that what is not a number is refused.
        if found.shape != wanted.shape or not np.abs(found - wanted).max() <= tolerance:
            raise Refused(
                f"{name} of the checkpoint is not that of {schedule}; expected the noise schedule of a released layout"
            )
    return schedule, said
