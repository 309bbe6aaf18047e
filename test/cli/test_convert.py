from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from mask2iv_ros.cli.convert import describe, parse_size
from mask2iv_ros.cli.main import main
from mask2iv_ros.errors import Refused
from mask2iv_ros.generator.dynamicrafter.convert import Conversion
from mask2iv_ros.generator.dynamicrafter.layouts import LAYOUTS

REFERENCE = Path(__file__).parents[2] / "../shared/reference/dynamicrafter"


@pytest.mark.parametrize(("text", "size"), [("500MB", 5 * 10**8), ("1.5GB", 15 * 10**8), ("2 gb", 2 * 10**9)])
def test_sizes_are_read_with_their_unit(text: str, size: int):
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "5", "0MB", "-1GB", "1TB", "lots"])
def test_sizes_that_are_none_are_refused(text: str):
    with pytest.raises(Refused, match="expected a number with its unit, such as 500MB or 2GB"):
        parse_size(text)


def test_a_refused_checkpoint_is_one_sentence(tmp_path: Path, capsys: pytest.CaptureFixture):
    torch.save({"state_dict": {"conv.weight": torch.ones(2)}}, tmp_path / "other.ckpt")
    assert main(["convert", str(tmp_path / "other.ckpt"), "--out", str(tmp_path / "out")]) == 2
    said = capsys.readouterr().err.strip().splitlines()[-1]
    assert said.startswith("mask2iv convert: ")
    assert "this is no DynamiCrafter: none of its 1 keys begins with 'model.diffusion_model.'" in said
    assert not (tmp_path / "out").exists()


def test_what_was_left_out_is_named_with_its_reason():
    unused = {"betas": "it is computed", "a.proj": "nobody reads it", "scale_arr": "it is computed"}
    said = describe(Conversion(Path("out"), LAYOUTS["1024"], ("a", "b"), unused, ("odd",))).splitlines()
    assert said == [
        "checkpoint in out: layout 1024, 2 tensors placed",
        "note: odd",
        "2 left out, as it is computed: betas, scale_arr",
        "1 left out, as nobody reads it: a.proj",
    ]


@pytest.mark.skipif(not REFERENCE.is_dir(), reason="the reference's weights are not beside this checkout")
def test_a_checkpoint_is_converted_in_the_precision_and_shards_asked_for(tmp_path: Path, capsys: pytest.CaptureFixture):
    unet = load_file(REFERENCE / "unet_tiny_a_weights.safetensors")
    weights = load_file(REFERENCE / "lvd_tiny_rest_weights.safetensors")
    save_file(
        weights | {f"model.diffusion_model.{name}": one for name, one in unet.items()}, tmp_path / "m.safetensors"
    )
    asked = ["--out", str(tmp_path / "out"), "--dtype", "bf16", "--shard-size", "2MB"]
    assert main(["convert", str(tmp_path / "m.safetensors"), *asked]) == 0
    said = capsys.readouterr().out.splitlines()
    assert said[0] == f"checkpoint in {tmp_path / 'out'}: layout 512, 920 tensors placed"
    shards = list((tmp_path / "out" / "base").glob("*.safetensors"))
    assert len(shards) == 3
    assert max(shard.stat().st_size for shard in shards) < 2.1e6
    assert {tensor.dtype for shard in shards for tensor in load_file(shard).values()} == {torch.bfloat16}
