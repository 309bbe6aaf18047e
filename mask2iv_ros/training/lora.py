"""Low-rank adapters for cards of 24 GB: of 1.4 billion weights some millions are trained.

Adapters sit on the projections of every attention (Hu et al. 2021, arXiv 2106.09685). The base
has no weights for mask latents at all, and no low rank can stand in for them: the input
convolution's new columns are trained in full beside the adapters.
"""

from __future__ import annotations

import json
from pathlib import Path

import torch
from peft import LoraConfig, get_peft_model_state_dict, inject_adapter_in_model
from peft.tuners.tuners_utils import BaseTunerLayer
from safetensors.torch import save_file
from torch import Tensor, nn

# diffusers' names and the small default's.
_PROJECTIONS = {"to_q", "to_k", "to_v", "to_out", "to_k_ip", "to_v_ip", "qkv", "q", "kv", "out"}


class Adapters:
    """Adapters in a denoiser.

    Args:
        denoiser: none of its weights are trained; it is changed in place.
        rank: of the adapters; their scale is 1.
        new_columns: of the input convolution, the last ones, that begin at zero and are trained.
        freeze_time: leave the temporal attention without adapters.
        dtype: of the weights that are not trained.
    """

    def __init__(
        self,
        denoiser: nn.Module,
        rank: int,
        new_columns: int,
        freeze_time: bool = False,
        dtype: torch.dtype = torch.float32,
    ):
        self.denoiser, self.new_columns = denoiser, new_columns
        kept = {name.rsplit(".", 1)[0] for name, _ in denoiser.temporal_layers()} if freeze_time else set()
        targets = [
            name
            for name, module in denoiser.named_modules()
            if isinstance(module, nn.Linear) and name.removesuffix(".0").split(".")[-1] in _PROJECTIONS
            if name not in kept
        ]
        nn.Module.to(denoiser, dtype)  # diffusers' own warns of an empty list of exceptions
        self.config = LoraConfig(r=rank, lora_alpha=rank, target_modules=targets)
        inject_adapter_in_model(self.config, denoiser)
        for parameter in denoiser.parameters():
            if parameter.requires_grad:
                parameter.data = parameter.data.float()  # small steps vanish in less
        self.entry = denoiser.get_submodule("conv_in" if hasattr(denoiser, "conv_in") else "entry")
        if new_columns:
            self.entry.float().requires_grad_(True)
            self.entry.bias.requires_grad_(False)
            self.entry.weight.register_hook(self._new_columns_only)

    @property
    def undecayed(self) -> set[nn.Parameter]:
        """Weights that must not decay: the input convolution's old columns would shrink with its new ones."""
        return {self.entry.weight} if self.new_columns else set()

    def merge(self) -> None:
        """Add the adapters to the weights and take them out, which leaves the plain denoiser, in single precision."""
        nn.Module.float(self.denoiser)
        layers = {name: one for name, one in self.denoiser.named_modules() if isinstance(one, BaseTunerLayer)}
        for name, layer in layers.items():
            layer.merge()
            self.denoiser.set_submodule(name, layer.get_base_layer())

    def save(self, folder: Path) -> None:
        """Write the adapters as peft does, and the new columns beside them."""
        folder.mkdir(parents=True, exist_ok=True)
        state = get_peft_model_state_dict(self.denoiser, state_dict=self.denoiser.state_dict())
        adapters = {f"base_model.model.{name}": value.detach().cpu().contiguous() for name, value in state.items()}
        save_file(adapters, folder / "adapter_model.safetensors")
        about = {name: list(one) if isinstance(one, set) else one for name, one in self.config.to_dict().items()}
        (folder / "adapter_config.json").write_text(json.dumps(about, indent=1, default=str) + "\n")
        if self.new_columns:
            columns = self.entry.weight.detach()[:, -self.new_columns :].cpu().contiguous()
            save_file({"weight": columns}, folder / "input_columns.safetensors")

    def _new_columns_only(self, gradient: Tensor) -> Tensor:
        gradient = gradient.clone()
        gradient[:, : -self.new_columns] = 0
        return gradient
