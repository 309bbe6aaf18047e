"""How alike two videos are, and how well one fits its text, by CLIP's embeddings.

Text to video: mean over the frames of the cosine of frame and text, CLIPSIM without its factor of 100
(Wu et al. 2021, GODIVA, https://arxiv.org/abs/2104.14806). Video to video: mean over corresponding
frames of the cosine of both frames. The method's paper names both and gives no code for them.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor
from torch.nn import functional as F

from mask2iv_ros.errors import Refused


class ClipSimilarity:
    """A CLIP model of the user's."""

    def __init__(self, folder: Path, device: torch.device | str = "cpu"):
        """Load model, tokenizer and image preparation, as transformers saves them; nothing is downloaded.

        Args:
            folder: with `config.json`, `model.safetensors`, the tokenizer's files and `preprocessor_config.json`.
            device: where to compute.

        Raises:
            Refused: something of that is missing, or the weights are not all of the model's.
        """
        from transformers import CLIPModel, CLIPProcessor

        wanted = "expected a CLIP model, its tokenizer and its image processor, as transformers saves them"
        if not (folder / "config.json").is_file():
            raise Refused(f"{folder} has no config.json; {wanted}")
        try:
            model, info = CLIPModel.from_pretrained(
                folder, local_files_only=True, use_safetensors=True, output_loading_info=True, dtype=torch.float32
            )
            self._processor = CLIPProcessor.from_pretrained(folder, local_files_only=True)
        # transformers raises what its parts raise: safetensors' own error among them.
        except Exception as error:
            raise Refused(f"{folder} cannot be loaded ({' '.join(str(error).split())[:200]}); {wanted}") from error
        # transformers would draw them at random and warn.
        if missing := sorted(info["missing_keys"]):
            raise Refused(f"{folder} has no weights for {missing[0]}; {wanted}")
        self._model, self._device = model.eval().to(device), device
        self._text = lru_cache(1024)(self._embed_text)

    @torch.inference_mode()
    def frames(self, video: UInt8[np.ndarray, "t h w 3"]) -> Float[Tensor, "t d"]:
        """Return the frames' embeddings, of length 1, prepared as the folder says."""
        inputs = self._processor(images=list(video), return_tensors="pt")
        return self._unit(self._model.get_image_features(inputs["pixel_values"].to(self._device)))

    def to_video(self, made: Float[Tensor, "t d"], true: Float[Tensor, "t d"]) -> float:
        """Return the mean cosine of corresponding frames."""
        return float((made * true).sum(-1).mean())

    def to_text(self, made: Float[Tensor, "t d"], text: str) -> float:
        """Return the mean cosine of frames and text."""
        return float((made @ self._text(text)).mean())

    @torch.inference_mode()
    def _embed_text(self, text: str) -> Float[Tensor, "d"]:
        inputs = self._processor(text=[text], return_tensors="pt", truncation=True).to(self._device)
        return self._unit(self._model.get_text_features(**inputs))[0]

    @staticmethod
    def _unit(outputs: Any) -> Tensor:
        return F.normalize(outputs.pooler_output, dim=-1)
