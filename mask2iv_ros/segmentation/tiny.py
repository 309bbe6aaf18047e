"""Tiny networks of the true classes with random weights, saved as the real ones are: what tests need."""

from __future__ import annotations

from pathlib import Path

_SIDE = 128  # pixels that the tiny SAM 2 looks at, a multiple of 64


def write_tiny_sam2(folder: Path) -> dict[str, str]:
    """Write a SAM 2.1 as its YAML has it, made small; return settings that load it."""
    import sam2
    import torch
    from hydra.utils import instantiate
    from omegaconf import OmegaConf

    config = OmegaConf.load(Path(sam2.__file__).parent / "configs/sam2.1/sam2.1_hiera_t.yaml")
    model = config.model
    model.image_size = _SIDE
    model.image_encoder.trunk.embed_dim = 8
    model.image_encoder.trunk.stages = [1, 1, 2, 1]
    model.image_encoder.trunk.global_att_blocks = [3]
    model.image_encoder.neck.backbone_channel_list = [64, 32, 16, 8]
    for attention in (model.memory_attention.layer.self_attention, model.memory_attention.layer.cross_attention):
        attention.feat_sizes = [_SIDE // 16, _SIDE // 16]
    model.memory_attention.layer.dim_feedforward = 32
    model.memory_attention.num_layers = 1
    OmegaConf.save(config, folder / "tiny.yaml")
    torch.manual_seed(0)
    network = instantiate(model, _recursive_=True)
    torch.save({"model": network.state_dict()}, folder / "tiny.pt")
    return {"weights": str(folder / "tiny.pt"), "config": str(folder / "tiny.yaml"), "device": "cpu"}


def write_tiny_detector(folder: Path) -> str:
    """Write a GroundingDINO with its processor, which knows the words "the a red cup robot arm"; return its folder."""
    import torch
    from transformers import (
        BertConfig,
        BertTokenizerFast,
        GroundingDinoConfig,
        GroundingDinoForObjectDetection,
        GroundingDinoImageProcessor,
        GroundingDinoProcessor,
        SwinConfig,
    )

    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", ".", "?", "the", "red", "cup", "a", "robot", "arm"]
    (folder / "vocab.txt").write_text("\n".join(words))
    tokenizer = BertTokenizerFast(str(folder / "vocab.txt"))
    text = BertConfig(
        vocab_size=len(words), hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16
    )
    backbone = SwinConfig(
        image_size=64, embed_dim=8, depths=[1, 1, 1, 1], num_heads=[1, 1, 1, 1], window_size=2, out_indices=[2, 3, 4]
    )
    config = GroundingDinoConfig(
        backbone_config=backbone, text_config=text, d_model=32, num_queries=10, encoder_layers=1, decoder_layers=2,
        encoder_ffn_dim=16, decoder_ffn_dim=16, encoder_attention_heads=2, decoder_attention_heads=2,
    )  # fmt: skip
    torch.manual_seed(0)
    GroundingDinoForObjectDetection(config).save_pretrained(folder)
    images = GroundingDinoImageProcessor(size={"shortest_edge": 64, "longest_edge": 96})
    GroundingDinoProcessor(images, tokenizer).save_pretrained(folder)
    return str(folder)


def write_tiny_sam3(folder: Path) -> str:
    """Write a SAM 3 as its hub page has it, one video model from which each part is loaded; return its folder."""
    import torch
    from transformers import (
        CLIPTokenizer,
        Sam2VideoVideoProcessor,
        Sam3ImageProcessor,
        Sam3Processor,
        Sam3TrackerVideoConfig,
        Sam3VideoConfig,
        Sam3VideoModel,
    )

    side, patch, hidden = 112, 14, 128  # the tracker splits its pointers into 64s
    grid = side // patch
    vision = {
        "backbone_config": {
            "model_type": "sam3_vit_model", "hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 2,
            "num_attention_heads": 2, "image_size": side, "patch_size": patch, "window_size": 4,
            "global_attn_indexes": [1], "pretrain_image_size": 56,
        },
        "fpn_hidden_size": hidden,
        "backbone_feature_sizes": [[4 * grid, 4 * grid], [2 * grid, 2 * grid], [grid, grid]],
    }  # fmt: skip
    part = {"hidden_size": hidden, "num_attention_heads": 2}
    layers = part | {"num_layers": 1, "intermediate_size": 32}
    text = {
        "model_type": "clip_text_model", "vocab_size": 9, "hidden_size": 16, "intermediate_size": 16,
        "projection_dim": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "max_position_embeddings": 32,
        "bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 1,
    }  # fmt: skip
    detector = {
        "model_type": "sam3", "vision_config": vision, "text_config": text, "geometry_encoder_config": layers,
        "detr_encoder_config": layers, "detr_decoder_config": layers | {"num_queries": 6},
        "mask_decoder_config": part | {"num_upsampling_stages": 3},
    }  # fmt: skip
    tracker = Sam3TrackerVideoConfig(
        vision_config=vision | {"model_type": "sam3_vision_model"},
        prompt_encoder_config={"hidden_size": hidden, "image_size": side},
        mask_decoder_config={
            "hidden_size": hidden, "mlp_dim": 32, "num_attention_heads": 2, "iou_head_hidden_dim": 16,
        },
        memory_attention_hidden_size=hidden, memory_attention_num_layers=1, memory_attention_num_attention_heads=1,
        memory_attention_feed_forward_hidden_size=32, memory_attention_rope_feat_sizes=[grid, grid],
        memory_encoder_hidden_size=hidden, memory_encoder_output_channels=64, mask_downsampler_embed_dim=hidden,
        memory_fuser_embed_dim=hidden, memory_fuser_intermediate_dim=32, memory_fuser_num_layers=1,
        image_size=side,
    )  # fmt: skip
    torch.manual_seed(0)
    config = Sam3VideoConfig(detector_config=detector, tracker_config=tracker.to_dict())
    Sam3VideoModel(config).save_pretrained(folder)
    vocabulary = {"<|startoftext|>": 0, "<|endoftext|>": 1, "the</w>": 2, "red</w>": 3, "cup</w>": 4, "t": 5, "h": 6,
                  "e</w>": 7, "r": 8}  # fmt: skip
    tokenizer = CLIPTokenizer(vocab=vocabulary, merges=[], model_max_length=32)
    images = Sam3ImageProcessor(size={"height": side, "width": side})
    Sam3Processor(images, tokenizer, target_size=side).save_pretrained(folder)
    Sam2VideoVideoProcessor(size={"height": side, "width": side}).save_pretrained(folder)
    return str(folder)
