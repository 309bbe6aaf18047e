"""How inputs and actions of small_act are normalised: as those of ACT."""

from __future__ import annotations

from lerobot.policies.act.processor_act import make_act_pre_post_processors

make_small_act_pre_post_processors = make_act_pre_post_processors
