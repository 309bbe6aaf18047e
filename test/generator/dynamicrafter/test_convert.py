import json
import re
import struct
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from mask2iv_ros.errors import Refused
from mask2iv_ros.generator.checkpoint import load, read_config
from mask2iv_ros.generator.conditioning import Condition
from mask2iv_ros.generator.dynamicrafter.architecture import RELEASED, build
from mask2iv_ros.generator.dynamicrafter.convert import FOLDERS, Conversion, check_keys, convert
from mask2iv_ros.generator.dynamicrafter.keys import SCHEDULE_BUFFERS, places
from mask2iv_ros.generator.dynamicrafter.layouts import LAYOUTS
from mask2iv_ros.generator.dynamicrafter.source import Source
from mask2iv_ros.generator.parts import load_part
from mask2iv_ros.generator.schedule import NoiseSchedule

CPU = torch.device("cpu")


def write_sparse(path: Path, shapes: dict[str, tuple[int, ...]]) -> Path:
    """Write a safetensors file of half-precision zeros, which take no room on the disk."""
    header, end = {}, 0
    for name, shape in shapes.items():
        begin, end = end, end + 2 * torch.Size(shape).numel()
        header[name] = {"dtype": "F16", "shape": list(shape), "data_offsets": [begin, end]}
    text = json.dumps(header).encode()
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        file.truncate(8 + len(text) + end)
    return path


@pytest.fixture(scope="module")
def released(reference) -> dict[str, dict[str, tuple[int, ...]]]:
    """The names and shapes of every released checkpoint, by layout."""
    keys = reference("dynamicrafter_512_unet_keys.json")["keys"]
    large = {name: tuple(about["shape"]) for name, about in keys.items()}
    diff = reference("dynamicrafter_256_unet_keys_diff.json")
    small = {name: shape for name, shape in large.items() if name not in diff["absent_here"]}
    small |= {name: tuple(about["shape"]) for name, about in diff["extra_here"].items()}
    small = {name.replace("fps_embedding", "framestride_embed"): shape for name, shape in small.items()}
    return {"256": small, "512": large, "1024": large}


@pytest.mark.parametrize(("layout", "keys", "used"), [("256", 2535, 2502), ("512", 2520, 2486), ("1024", 2520, 2486)])
def test_every_key_of_the_released_layouts_is_placed(layout: str, keys: int, used: int, released, tmp_path: Path):
    source = Source(write_sparse(tmp_path / "full.safetensors", released[layout]))
    models = build(RELEASED, LAYOUTS[layout])
    placed = places(models)
    unused = check_keys(source, placed, models)
    assert len(source.shapes) == keys
    assert len(placed) == used
    assert source.shapes.keys() == placed.keys() | unused.keys()
    assert {name for name in SCHEDULE_BUFFERS if name in source.shapes} <= unused.keys()
    # No place of ours stays empty, and none is filled twice.
    filled = [(place.part, place.key) for ours in placed.values() for place in ours]
    assert sorted(filled) == sorted((part, key) for part, model in models.items() for key in model.state_dict())


def test_missing_surplus_and_wrongly_shaped_keys_are_all_listed(released, tmp_path: Path):
    prefix = "model.diffusion_model."
    shapes = dict(released["512"])
    missing = [name for name in shapes if name.startswith(f"{prefix}input_blocks.4.")]
    for name in missing:
        del shapes[name]
    shapes |= {"model_ema.decay": (), "control.weight": (3, 3)}
    wrong = {
        f"{prefix}init_attn.0.proj_in.weight": (512, 320, 3),
        f"{prefix}out.2.bias": (5,),
        "cond_stage_model.model.transformer.resblocks.0.attn.in_proj_weight": (3073, 1024),
        "image_proj_model.latents": (256, 1024),
    }
    shapes |= wrong
    source = Source(write_sparse(tmp_path / "full.safetensors", shapes))
    models = build(RELEASED, LAYOUTS["512"])
    with pytest.raises(Refused) as refusal:
        check_keys(source, places(models), models)
    message = str(refusal.value)
    assert f"{len(missing)} missing" in message
    assert all(name in message for name in missing)
    assert re.search(r"2 surplus: (model_ema\.decay, control\.weight|control\.weight, model_ema\.decay);", message)
    assert "4 wrongly shaped" in message
    for name, shape in wrong.items():
        assert f"{name} is {list(shape)}, not " in message
    assert "in_proj_weight is [3073, 1024], not [3072, 1024]" in message
    assert "\n" not in message


def test_a_layer_less_is_noticed(released, tmp_path: Path):
    """Without the last layer but one the text encoder would still be a text encoder."""
    shapes = {name: shape for name, shape in released["512"].items() if ".resblocks.22." not in name}
    source = Source(write_sparse(tmp_path / "full.safetensors", shapes))
    models = build(RELEASED, LAYOUTS["512"])
    with pytest.raises(Refused, match=r"12 missing: cond_stage_model\.model\.transformer\.resblocks\.22\.|24 missing"):
        check_keys(source, places(models), models)


def test_whole_numbers_are_no_weights(checkpoint: dict[str, Tensor], tmp_path: Path):
    name = "first_stage_model.quant_conv.bias"
    save_file(checkpoint | {name: checkpoint[name].to(torch.int8)}, tmp_path / "quantised.safetensors")
    with pytest.raises(Refused, match=r"no floating-point numbers: first_stage_model\.quant_conv\.bias"):
        convert(tmp_path / "quantised.safetensors", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def save_lightning(weights: dict[str, Tensor], path: Path) -> None:
    torch.save({"state_dict": weights, "global_step": 100}, path)


def save_deepspeed(weights: dict[str, Tensor], path: Path) -> None:
    torch.save({"module": {f"_forward_module.{name}": tensor for name, tensor in weights.items()}}, path)


@pytest.fixture(scope="module", params=["model.ckpt", "model.safetensors", "mp_rank_00_model_states.pt"])
def converted(request, checkpoint: dict[str, Tensor], tmp_path_factory: pytest.TempPathFactory) -> Conversion:
    """The tiny reference model, out of every kind of file."""
    writers = {".ckpt": save_lightning, ".safetensors": save_file, ".pt": save_deepspeed}
    folder = tmp_path_factory.mktemp("convert")
    writers[Path(request.param).suffix](checkpoint, folder / request.param)
    return convert(folder / request.param, folder / "tiny", dtype=torch.float32, shard_bytes=10**6)


def test_the_tiny_reference_model_is_converted_to_the_bit(converted: Conversion, parts: dict[str, nn.Module]):
    assert converted.layout.name == "512"
    assert converted.said == ("its text encoder knows 128 tokens and CLIP's tokenizer makes 49408: they do not fit",)
    assert len(converted.placed) + len(converted.unused) == 954
    assert len(list((converted.folder / "base").glob("*.safetensors"))) > 1
    for part, expected in parts.items():
        model = load_part(type(expected), converted.folder / FOLDERS.get(part, part))
        assert model.state_dict().keys() == expected.state_dict().keys()
        assert all(torch.equal(tensor, model.state_dict()[name]) for name, tensor in expected.state_dict().items())


def test_a_converted_checkpoint_computes_what_the_reference_computes(converted: Conversion, reference, largest):
    loaded = load(converted.folder, CPU, stages=("base",))
    stage = loaded.stages["base"]
    assert (loaded.config.name, loaded.config.frames, loaded.config.size, loaded.config.fps) == (
        "tiny",
        4,
        (320, 512),
        24,
    )
    assert stage.schedule == NoiseSchedule()
    io = reference("unet_tiny_a_io.safetensors")
    condition = Condition(io["x"][:, 4:], io["context"][:, :77], io["context"][:, 77:], io["fs"])
    out = stage.denoiser(io["x"][:, :4], io["timesteps"], condition)
    assert largest("UNet after conversion", out, io["out"]) <= 2e-5
    io = reference("vae_clip_tiny_io.safetensors")
    latent = loaded.autoencoder.encode(io["vae.x"], io["vae.noise"])
    assert largest("VAE encode after conversion", latent, io["vae.z_scaled_sample"]) <= 2e-5
    image = loaded.autoencoder.decode(io["vae.z_scaled_sample"])
    assert largest("VAE decode after conversion", image, io["vae.decode_of_z_scaled_sample"]) <= 2e-5
    text = loaded.text_encoder.encode_ids(io["text.ids_prompt"].long())
    assert largest("CLIP text after conversion", text, io["text.emb_prompt"]) <= 1e-5
    tokens = loaded.image_encoder.model(io["clip.preprocessed"]).last_hidden_state
    assert largest("CLIP image after conversion", tokens, io["clip.tokens"]) <= 1e-5
    assert largest("Resampler after conversion", stage.projector(tokens), io["proj.tokens"]) <= 1e-5


@pytest.mark.parametrize(
    ("layout", "floor", "alphas"), [("256", None, True), ("512", 0.7, False), ("1024", 0.3, False)]
)
def test_layouts_are_recognised_and_keep_their_schedule(
    layout: str, floor: float | None, alphas: bool, checkpoint: dict[str, Tensor], tmp_path: Path
):
    weights = {name: tensor for name, tensor in checkpoint.items() if name not in SCHEDULE_BUFFERS}
    schedule = LAYOUTS[layout].schedule
    weights["alphas_cumprod"] = torch.from_numpy(schedule.alphas_cumprod).float()
    if floor is not None:
        weights["scale_arr"] = torch.from_numpy(schedule.scale).float()
    if alphas:
        for name in list(weights):
            if name.endswith("attn2.to_k_ip.weight"):
                weights[name.replace("to_k_ip.weight", "alpha")] = torch.tensor(0.25)
        weights = {name.replace("fps_embedding", "framestride_embed"): one for name, one in weights.items()}
    save_file(weights, tmp_path / "model.safetensors")
    done = convert(tmp_path / "model.safetensors", tmp_path / layout, dtype=torch.float32)
    config = read_config(tmp_path / layout)
    assert done.layout.name == layout
    assert config.stages["base"].schedule == schedule
    assert config.stages["base"].sampling == LAYOUTS[layout].sampling
    assert (config.size, config.fps) == (LAYOUTS[layout].size, LAYOUTS[layout].fps)
    denoiser = load(tmp_path / layout, CPU, stages=("base",)).stages["base"].denoiser
    found = {float(tensor) for name, tensor in denoiser.state_dict().items() if name.endswith("alpha")}
    assert found == ({0.25} if alphas else set())
    assert denoiser.config.default_fps == config.fps


def unwritten(tmp_path: Path) -> bool:
    return sorted(path.name for path in tmp_path.iterdir()) == ["model.safetensors"]


@pytest.mark.parametrize("asked", ["256", "512"])
def test_keys_of_another_layout_are_refused_and_leave_nothing(asked: str, checkpoint, tmp_path: Path):
    alpha = "model.diffusion_model.input_blocks.1.1.transformer_blocks.0.attn2.alpha"
    weights = checkpoint if asked == "256" else checkpoint | {alpha: torch.tensor(0.0)}
    save_file(weights, tmp_path / "model.safetensors")
    with pytest.raises(Refused, match="missing" if asked == "256" else "1 surplus") as refusal:
        convert(tmp_path / "model.safetensors", tmp_path / "out", asked)
    assert alpha in str(refusal.value)
    assert unwritten(tmp_path)


def test_weights_that_are_not_finite_leave_nothing(checkpoint: dict[str, Tensor], tmp_path: Path):
    name = "image_proj_model.norm_out.bias"
    save_file(checkpoint | {name: checkpoint[name] / 0}, tmp_path / "model.safetensors")
    with pytest.raises(Refused, match="is not finite in float16"):
        convert(tmp_path / "model.safetensors", tmp_path / "out")
    assert unwritten(tmp_path)


def test_an_interrupted_conversion_leaves_nothing_and_can_be_repeated(checkpoint: dict[str, Tensor], tmp_path: Path):
    save_file(checkpoint, tmp_path / "model.safetensors")

    def interrupt(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        convert(tmp_path / "model.safetensors", tmp_path / "out", on_written=interrupt)
    assert unwritten(tmp_path)
    (tmp_path / "out.part").mkdir()
    (tmp_path / "out.part" / "left by a kill").touch()
    told: list[tuple[int, int]] = []
    convert(tmp_path / "model.safetensors", tmp_path / "out", on_written=lambda *counts: told.append(counts))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model.safetensors", "out"]
    assert not (tmp_path / "out" / "left by a kill").exists()
    assert told[-1][0] == told[-1][1]


def test_an_occupied_folder_is_refused(checkpoint: dict[str, Tensor], tmp_path: Path):
    save_file(checkpoint, tmp_path / "model.safetensors")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine").touch()
    with pytest.raises(Refused, match="out exists; expected the name of a new folder"):
        convert(tmp_path / "model.safetensors", tmp_path / "out")
    assert (tmp_path / "out" / "mine").exists()


def test_a_folder_that_cannot_be_written_is_refused(checkpoint: dict[str, Tensor], tmp_path: Path):
    save_file(checkpoint, tmp_path / "model.safetensors")
    with pytest.raises(Refused, match="cannot be written"):
        convert(tmp_path / "model.safetensors", tmp_path / "model.safetensors" / "out")


MEASURE = """
import gc, sys
from pathlib import Path
from mask2iv_ros.generator.dynamicrafter.architecture import RELEASED, build
from mask2iv_ros.generator.dynamicrafter.convert import convert
from mask2iv_ros.generator.dynamicrafter.layouts import LAYOUTS
from mask2iv_ros.generator.dynamicrafter.tokenizer import clip_tokenizer

def status(name):
    return next(int(line.split()[1]) for line in Path("/proc/self/status").open() if line.startswith(name)) * 1024

build(RELEASED, LAYOUTS["512"]), clip_tokenizer()  # what is imported late is in memory now
for path in map(Path, sys.argv[1:]):
    gc.collect()
    before = status("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # the peak counts from here
    convert(path, path.with_suffix(""), "512", shard_bytes=20_000_000)
    print(status("VmHWM") - before)
"""


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="only Linux tells the peak of memory")
def test_never_two_copies_are_in_memory(tmp_path: Path):
    settings = RELEASED | {
        "denoiser": RELEASED["denoiser"] | {"block_out_channels": (64, 96, 128), "cross_attention_dim": 64},
        "projector": RELEASED["projector"] | {"width": 128, "output_width": 64, "image_width": 160, "heads": 2},
        "autoencoder": RELEASED["autoencoder"] | {"block_out_channels": (96, 192, 384, 384)},
        "text_encoder": RELEASED["text_encoder"]
        | {"hidden_size": 128, "intermediate_size": 256, "num_attention_heads": 2},
        "image_encoder": RELEASED["image_encoder"]
        | {"hidden_size": 160, "intermediate_size": 320, "num_attention_heads": 2},
    }
    models = build(settings, LAYOUTS["512"])
    targets = {part: model.state_dict() for part, model in models.items()}
    weights = {}
    for name, (place, *_) in places(models).items():
        shape = list(targets[place.part][place.key].shape)
        shape[:1] = [shape[0] * place.slice[1]] if shape else []
        weights[name] = torch.full(shape, 0.5)
    files = [tmp_path / "pickled.ckpt", tmp_path / "flat.safetensors"]
    save_lightning(weights, files[0])
    save_file(weights, files[1])
    run = subprocess.run(
        [sys.executable, "-c", MEASURE, *map(str, files)],
        cwd=Path(__file__).parents[3],
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    for path, peak in zip(files, map(int, run.stdout.split()), strict=True):
        size = path.stat().st_size
        print(f"{path.name}: {size / 1e6:.0f} MB, peak {peak / 1e6:.0f} MB above the start")
        assert size > 300e6
        # A shard of 20 MB is 40 MB in the checkpoint; the rest is room for the models' own objects.
        assert peak < size / 2
