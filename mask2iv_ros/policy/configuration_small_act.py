"""What `lerobot-train --policy.type=small_act` takes."""

from __future__ import annotations

from dataclasses import dataclass, field

from lerobot.configs import FeatureType, NormalizationMode, PreTrainedConfig
from lerobot.optim.schedulers import DiffuserSchedulerConfig
from lerobot.policies.act.configuration_act import ACTConfig

from mask2iv_ros.errors import Refused
from mask2iv_ros.export.schema import STATE_KEY, ExportSettings
from mask2iv_ros.policy.remembered import remember_frames


@PreTrainedConfig.register_subclass("small_act")
@dataclass
class SmallActConfig(ACTConfig):
    """ACT that sees one camera's picture and the goal mask, and is small enough to learn from scratch on a CPU core.

    Attributes:
        camera: last part of the names of the picture and of the goal mask; a dataset's other images are not used.
        blind: see neither picture nor goal mask but zeros in their place: what the state alone tells.
        channels: of the backbone's stages, each of half the height and width of the one before.
        shift: pixels by which picture and goal mask are moved together in training, at most.
        dtype: computed in while training: bfloat16, float16 or float32.
        warmup: steps over which the learning rate rises; from there it falls to nothing at the last one.
        remembered: frames of the dataset that are kept in memory once read; LeRobot's own reading takes most of the
            time. 0 reads each anew. Needs `--num_workers=0`.
    """

    camera: str = "front"
    blind: bool = False
    channels: tuple[int, ...] = (16, 32, 64, 96)
    shift: int = 4
    dtype: str = "bfloat16"
    warmup: int = 50
    remembered: int = 6000

    chunk_size: int = 16
    n_action_steps: int = 4
    normalization_mapping: dict[str, NormalizationMode] = field(
        default_factory=lambda: {
            "VISUAL": NormalizationMode.IDENTITY,
            "STATE": NormalizationMode.MEAN_STD,
            "ACTION": NormalizationMode.MEAN_STD,
        }
    )
    pretrained_backbone_weights: str | None = None
    dim_model: int = 128
    n_heads: int = 4
    dim_feedforward: int = 256
    n_encoder_layers: int = 2
    use_vae: bool = False
    dropout: float = 0.1
    optimizer_lr: float = 1e-3
    optimizer_lr_backbone: float = 1e-3

    def __post_init__(self) -> None:
        super().__post_init__()
        ExportSettings(self.camera)
        if not self.channels or any(width < 8 or width % 8 for width in self.channels):
            raise Refused(f"channels is {self.channels}; expected multiples of 8")
        if self.shift < 0:
            raise Refused(f"shift is {self.shift}; expected 0 or more pixels")
        if self.dtype not in ("bfloat16", "float16", "float32"):
            raise Refused(f"dtype is {self.dtype!r}; accepted are bfloat16, float16, float32")
        if self.warmup < 0:
            raise Refused(f"warmup is {self.warmup}; expected 0 or more steps")
        if self.remembered < 0:
            raise Refused(f"remembered is {self.remembered}; expected 0 or more frames")
        remember_frames(self.remembered)

    def get_scheduler_preset(self) -> DiffuserSchedulerConfig:
        """Return a learning rate that rises over the first steps and falls to nothing at the last."""
        return DiffuserSchedulerConfig(name="cosine", num_warmup_steps=self.warmup)

    @property
    def picture_key(self) -> str:
        """Name of the picture among the inputs."""
        return ExportSettings(self.camera).image_key

    @property
    def goal_key(self) -> str:
        """Name of the goal mask among the inputs."""
        return ExportSettings(self.camera).goal_key

    def validate_features(self) -> None:
        """Keep picture, goal mask and state of all inputs that a dataset offers.

        Raises:
            Refused: one of them is missing, or is of another kind.
        """
        found = self.input_features or {}
        wanted = {
            self.picture_key: FeatureType.VISUAL,
            self.goal_key: FeatureType.VISUAL,
            STATE_KEY: FeatureType.STATE,
        }
        for key, kind in wanted.items():
            if key not in found or found[key].type is not kind:
                raise Refused(f"the inputs {', '.join(found) or 'of none'} lack {key}; expected {', '.join(wanted)}")
        self.input_features = {key: found[key] for key in wanted}
