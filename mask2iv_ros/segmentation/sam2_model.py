"""SAM 2's own network, built from the sam2 package, and its video predictor on frames from memory."""

from __future__ import annotations

from collections import OrderedDict
from functools import partial
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import numpy as np
import sam2
import sam2.sam2_video_predictor as package
import torch
from huggingface_hub import hf_hub_download
from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError
from hydra.utils import instantiate
from jaxtyping import Float, UInt8
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from PIL import Image
from sam2.build_sam import HF_MODEL_ID_TO_FILENAMES
from torch import Tensor
from tqdm import tqdm

from mask2iv_ros.errors import Refused
from mask2iv_ros.segmentation.loading import local, missing, or_unusable

package.tqdm = partial(tqdm, disable=True)  # it draws a bar for every track, and a node's log is no place for it

_MEAN = torch.tensor([0.485, 0.456, 0.406])[:, None, None]
_DEVIATION = torch.tensor([0.229, 0.224, 0.225])[:, None, None]
_HF = {name: config for config, name in HF_MODEL_ID_TO_FILENAMES.values()}
# What sam2.build_sam sets for video, beside the configuration file.
_POSTPROCESSING = {
    "sam_mask_decoder_extra_args": {
        "dynamic_multimask_via_stability": True,
        "dynamic_multimask_stability_delta": 0.05,
        "dynamic_multimask_stability_thresh": 0.98,
    },
    "binarize_mask_from_pts_for_mem_enc": True,
}


class FrameReader:
    """A video as the predictor wants it, resized and normalised one frame at a time: float32 at 1024² is 12 MB each."""

    def __init__(self, video: UInt8[np.ndarray, "t h w 3"], side: int) -> None:
        self._video, self._side = video, side

    def __len__(self) -> int:
        return len(self._video)

    def __getitem__(self, index: int) -> Float[Tensor, "3 s s"]:
        picture = Image.fromarray(self._video[index]).resize((self._side, self._side))
        return (torch.from_numpy(np.array(picture)).permute(2, 0, 1) / 255 - _MEAN) / _DEVIATION


class MemoryVideoPredictor(package.SAM2VideoPredictor):
    """SAM 2's video predictor without its detour over a folder of JPEG files."""

    @torch.inference_mode()
    def init_state(self, video: UInt8[np.ndarray, "t h w 3"]) -> dict[str, Any]:
        """Begin a track; frames and states wait in main memory, as `init_state` of the package does it (1.1.0)."""
        state: dict[str, Any] = {
            "images": FrameReader(video, self.image_size),
            "num_frames": len(video),
            "offload_video_to_cpu": True,
            "offload_state_to_cpu": True,
            "video_height": video.shape[1],
            "video_width": video.shape[2],
            "device": self.device,
            "storage_device": torch.device("cpu"),
            "obj_id_to_idx": OrderedDict(),
            "obj_idx_to_id": OrderedDict(),
            "obj_ids": [],
        }
        kept = ("point_inputs", "mask_inputs", "output_dict", "temp_output_dict", "frames_tracked")
        state |= {f"{name}_per_obj": {} for name in kept} | {"cached_features": {}, "constants": {}}
        self._get_image_feature(state, frame_idx=0, batch_size=1)
        return state

    def forget(self, state: dict[str, Any], before: int) -> None:
        """Drop what frames before this one have left in memory: the network looks back only so far."""
        for outputs in state["output_dict_per_obj"].values():
            for frame in [index for index in outputs["non_cond_frame_outputs"] if index < before]:
                del outputs["non_cond_frame_outputs"][frame]

    @property
    def lookback(self) -> int:
        """How many frames it looks back."""
        return max(self.num_maskmem, self.max_obj_ptrs_in_encoder) + 1


@or_unusable
def load(weights: str, config: str, device: torch.device) -> MemoryVideoPredictor:
    """Build SAM 2 and fill it.

    Args:
        weights: a .pt file of the sam2 package, a folder with one, or one of its hub ids.
        config: a YAML file, or one of the package's ("configs/sam2.1/sam2.1_hiera_t.yaml"); "" goes
            by the weights' file name.
        device: where it goes.

    Raises:
        Refused: weights that are not there, are no checkpoint of SAM 2 or do not fit the configuration.
    """
    path = _find(weights)
    name = config or _HF.get(path.name, "")
    if not name:
        raise Refused(
            f"which SAM 2 the file {path.name!r} holds is unknown; expected a name among {', '.join(_HF)}, "
            "or the setting config with its YAML file"
        )
    model = _build(name)
    try:
        # weights_only: a checkpoint from elsewhere must not run code.
        state = torch.load(path, map_location="cpu", weights_only=True)["model"]
        model.load_state_dict(state)
    except (UnpicklingError, RuntimeError, KeyError, TypeError, EOFError, OSError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise Refused(f"weights {weights!r} are no SAM 2 checkpoint for {name}: {reason}") from error
    return model.to(device).eval()


def _find(weights: str) -> Path:
    path = local(weights)
    if path is None:
        if weights not in HF_MODEL_ID_TO_FILENAMES:
            raise Refused(
                f"weights are {weights!r}; accepted are a path and the hub ids {', '.join(HF_MODEL_ID_TO_FILENAMES)}"
            )
        try:
            return Path(hf_hub_download(weights, HF_MODEL_ID_TO_FILENAMES[weights][1]))
        except (LocalEntryNotFoundError, HfHubHTTPError, OSError) as error:
            raise missing("segmentation back end 'sam2'", weights) from error
    if path.is_dir():
        found = sorted(path.glob("*.pt"))
        if len(found) != 1:
            raise Refused(f"the folder {weights!r} has {len(found)} .pt files; expected one, or its path")
        return found[0]
    return path


def _build(name: str) -> MemoryVideoPredictor:
    path = Path(name).expanduser()
    if not path.is_file():
        path = Path(sam2.__file__).parent / name
    if not path.is_file():
        raise Refused(
            f"config is {name!r}; expected a YAML file or one of the sam2 package's, such as {next(iter(_HF.values()))}"
        )
    try:
        config = OmegaConf.to_container(OmegaConf.load(path).model, resolve=True)
    except (OmegaConfBaseException, AttributeError, OSError, ValueError) as error:
        raise Refused(f"config {name!r} is no configuration of SAM 2: {type(error).__name__}") from error
    _check_targets(config)
    config |= _POSTPROCESSING | {"_target_": f"{__name__}.{MemoryVideoPredictor.__name__}"}
    return instantiate(config, _recursive_=True)


def _check_targets(config: object) -> None:
    """Raise `Refused` if a configuration would build anything but parts of SAM 2: it may come from elsewhere."""
    if isinstance(config, dict):
        target = config.get("_target_", "sam2.")
        if not str(target).startswith("sam2."):
            raise Refused(f"config wants to build {target!r}; expected classes of the sam2 package only")
        for value in config.values():
            _check_targets(value)
    elif isinstance(config, list):
        for value in config:
            _check_targets(value)
