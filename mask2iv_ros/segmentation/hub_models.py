"""transformers' models and processors from a folder or the hub, or one sentence that says how to get them."""

from __future__ import annotations

from typing import Any

import torch
from safetensors import SafetensorError

from mask2iv_ros.errors import Refused
from mask2iv_ros.segmentation.loading import local, missing, or_unusable


@or_unusable
def from_hub(kind: Any, weights: str, what: str, note: str = "") -> Any:
    """Return `kind.from_pretrained(weights)`: safetensors only, and no code from the weights' folder.

    Args:
        kind: a transformers class of a model or a processor.
        weights: a folder or a hub id.
        what: for the refusal, such as "segmentation back end 'sam3'".
        note: for the refusal, what is needed beside fetching.

    Raises:
        Refused: weights that are not there or are of another kind.
    """
    path = local(weights)
    options: dict[str, Any] = {"trust_remote_code": False}
    if issubclass(kind, torch.nn.Module) or hasattr(kind, "from_config"):
        options["use_safetensors"] = True
    try:
        return kind.from_pretrained(path or weights, **options)
    except (OSError, ValueError, RuntimeError, KeyError, TypeError, SafetensorError) as error:
        if path is None:
            raise missing(what, weights, note) from error
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise Refused(f"{what} cannot use the weights in {weights!r}: {reason}") from error
