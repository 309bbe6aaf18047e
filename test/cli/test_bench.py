import json

from mask2iv_ros.cli.main import main


def test_it_prints_a_table_and_writes_json(tmp_path, capsys):
    path = tmp_path / "deep" / "figures.json"
    assert (
        main(["bench", "--model", "tiny", "--device", "cpu", "--steps", "1", "--repeats", "1", "--json", str(path)])
        == 0
    )
    printed = capsys.readouterr().out
    assert printed.startswith("tiny in fp32 on ")
    assert "denoiser, guided step" in printed
    assert json.loads(path.read_text())["costs"][-1]["name"] == "a stage of 1 steps"


def test_full_size_needs_a_gpu(capsys):
    assert main(["bench", "--model", "full", "--device", "cpu"]) == 2
    assert capsys.readouterr().err.count("\n") == 1
