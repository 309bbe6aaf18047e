import json
import os
import resource
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from mask2iv_ros.errors import Refused
from mask2iv_ros.export import DatasetWriter, ExportSettings, exchange, read_provenance, shard


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def two_episodes(tmp_path_factory, make_rollout):
    root = tmp_path_factory.mktemp("two") / "dataset"
    with DatasetWriter(root) as writer:
        assert writer.append([make_rollout(0)]) == [0]
        assert writer.append([make_rollout(1)]) == [1]
    return root


@pytest.fixture
def dataset(tmp_path, two_episodes):
    return Path(shutil.copytree(two_episodes, tmp_path / "dataset"))


def test_episodes_are_counted_over_appends_and_openings(dataset, make_rollout, load):
    with DatasetWriter(dataset) as writer:
        assert writer.episodes == 2
        assert writer.append([make_rollout(2), make_rollout(3)]) == [2, 3]
        assert writer.append([]) == []
        assert writer.episodes == 4
    assert load(dataset).num_episodes == 4
    assert sorted(path.name for path in dataset.parent.iterdir() if path.name != "cache") == [
        ".dataset.lock",
        "dataset",
    ]


def test_appending_leaves_the_videos_that_are_there_alone(dataset, make_rollout):
    before = {path: path.stat().st_ino for path in dataset.rglob("*.mp4")}
    with DatasetWriter(dataset) as writer:
        writer.append([make_rollout(2)])
    assert len(before) == 2
    assert {path: path.stat().st_ino for path in before} == before


def test_last_data_file_stops_growing(dataset, make_rollout, load):
    with DatasetWriter(dataset) as writer:
        writer.append([make_rollout(number) for number in range(2, 9)])
        writer.append([make_rollout(9)])
        assert len(list(dataset.glob("data/*/*.parquet"))) == 2
    loaded = load(dataset)
    assert loaded[9 * 8]["mask2iv.id"] == "rollout-9"
    assert loaded[8 * 8]["mask2iv.id"] == "rollout-8"


def test_the_same_rollout_is_written_once(dataset, make_rollout):
    with DatasetWriter(dataset) as writer:
        assert writer.append([make_rollout(1), make_rollout(2), make_rollout(2)]) == [1, 2, 2]
        assert writer.episodes == 3


def test_an_id_taken_by_another_rollout_is_refused(dataset, make_rollout):
    impostor = make_rollout(5)
    object.__setattr__(impostor, "id", "rollout-1")
    with DatasetWriter(dataset) as writer:
        with pytest.raises(Refused, match="'rollout-1' is taken"):
            writer.append([make_rollout(2), impostor])
        assert writer.episodes == 2


def test_rollouts_that_do_not_fit_are_refused_with_both_values(dataset, tmp_path, make_rollout):
    before = contents(dataset)
    with DatasetWriter(dataset) as writer:
        with pytest.raises(Refused, match=r"has 10 fps; dataset .* has 8"):
            writer.append([make_rollout(7, fps=10.0)])
        with pytest.raises(Refused, match=r"64 x 48 pixels; dataset .* has 96 x 64"):
            writer.append([make_rollout(7, size=(48, 64))])
        with pytest.raises(Refused, match=r"7\.5 fps"):
            writer.append([make_rollout(7, fps=7.5)])
        with pytest.raises(Refused, match="1 frame"):
            writer.append([make_rollout(7, frames=1)])
    assert contents(dataset) == before
    with DatasetWriter(tmp_path / "new") as writer, pytest.raises(Refused, match="10 fps"):
        writer.append([make_rollout(7), make_rollout(8, fps=10.0)])
    assert not (tmp_path / "new").exists()


def test_goal_without_mask_and_odd_size(tmp_path, make_rollout, load):
    with DatasetWriter(tmp_path / "dataset", ExportSettings(camera="wrist")) as writer:
        writer.append([make_rollout(0, size=(65, 97), with_mask=False, instruction="close the drawer")])
    item = load(tmp_path / "dataset")[0]
    assert item["observation.images.wrist"].shape == (3, 65, 97)
    assert item["observation.goal_mask.wrist"].max() == 0
    assert item["task"] == "close the drawer"


def test_a_second_writer_is_refused(dataset, make_rollout):
    with DatasetWriter(dataset) as writer:
        with pytest.raises(Refused, match=f"process {os.getpid()};"):
            DatasetWriter(dataset)
        writer.close()
        with pytest.raises(Refused, match="closed"):
            writer.append([make_rollout(3)])
        DatasetWriter(dataset).close()


def test_a_dataset_that_vanishes_is_said_so_and_begun_anew(dataset, make_rollout):
    with DatasetWriter(dataset) as writer:
        shutil.rmtree(dataset)
        with pytest.raises(Refused, match=r"No such file .* holds 0 episodes"):
            writer.append([make_rollout(2)])
        assert writer.append([make_rollout(2)]) == [0]


def test_foreign_folders_are_refused_and_unchanged(tmp_path, dataset):
    (tmp_path / "other").mkdir()
    (tmp_path / "other/thesis.tex").write_text("precious")
    with pytest.raises(Refused, match=r"thesis\.tex"):
        DatasetWriter(tmp_path / "other")
    assert contents(tmp_path / "other") == {"thesis.tex": b"precious"}

    (tmp_path / "file").write_text("precious")
    with pytest.raises(Refused, match="is a file"):
        DatasetWriter(tmp_path / "file")

    before = contents(dataset)
    with pytest.raises(Refused, match="front"):
        DatasetWriter(dataset, ExportSettings(camera="wrist"))
    (dataset / "meta/info.json").write_text("[]")
    with pytest.raises(Refused, match="cannot be read"):
        DatasetWriter(dataset)
    assert contents(dataset) == before | {"meta/info.json": b"[]"}
    assert not list(tmp_path.glob(".*"))


@pytest.fixture
def nobody(tmp_path):
    """Be a user who owns nothing, where the tests run as root."""
    if os.geteuid():
        yield
        return
    open_to_all = [folder for folder in tmp_path.parents if folder.stat().st_uid == 0 and not folder.stat().st_mode & 1]
    for folder in open_to_all:
        folder.chmod(folder.stat().st_mode | 0o11)
    os.seteuid(65534)
    yield
    os.seteuid(0)
    for folder in open_to_all:
        folder.chmod(folder.stat().st_mode & ~0o11)


def test_folders_that_cannot_be_written_are_refused(tmp_path, dataset, request):
    (tmp_path / "closed").mkdir()
    (tmp_path / "open").mkdir()
    for folder, mode in ((tmp_path, 0o755), (tmp_path / "closed", 0o555), (tmp_path / "open", 0o777), (dataset, 0o555)):
        folder.chmod(mode)
    request.getfixturevalue("nobody")
    with pytest.raises(Refused, match=r"Permission denied.*expected a folder"):
        DatasetWriter(tmp_path / "closed/dataset")
    with pytest.raises(Refused, match=r"Permission denied.*expected a path"):
        DatasetWriter(tmp_path / "closed/deeper/dataset")
    with pytest.raises(Refused, match="write permission"):
        DatasetWriter(dataset)
    DatasetWriter(tmp_path / "open/dataset").close()


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 1 MiB, and what makes it full."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", disk], capture_output=True, check=False)
    if mounted.returncode:
        pytest.skip(f"mounting a small file system needs root: {mounted.stderr.decode().strip()}")
    yield disk
    subprocess.run(["umount", "--lazy", disk], check=True)


def test_full_disk_is_refused_and_loses_nothing(small_disk, make_rollout, load):
    root, filler = small_disk / "dataset", small_disk / "filler"
    with DatasetWriter(root) as writer:
        writer.append([make_rollout(0), make_rollout(1)])
        before = contents(root)
        for free in (0, 8, 24, 64):  # KiB: the disk fills up at another step of an append each time
            filler.write_bytes(bytes((shutil.disk_usage(small_disk).free // 1024 - free) * 1024))
            with pytest.raises(Refused, match=r"its disk is full; 1 rollouts .* holds 2 episodes"):
                writer.append([make_rollout(2)])
            filler.unlink()
            assert contents(root) == before
            assert sorted(path.name for path in small_disk.iterdir()) == [".dataset.lock", "dataset"]
        assert writer.append([make_rollout(2)]) == [2]
    assert load(root).num_episodes == 3


def test_file_size_limit_is_refused_like_a_full_disk(dataset, make_rollout):
    before = contents(dataset)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    with DatasetWriter(dataset) as writer:
        resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))
        try:
            with pytest.raises(Refused, match="its disk is full"):
                writer.append([make_rollout(2)])
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        assert contents(dataset) == before
        assert writer.append([make_rollout(2)]) == [2]


def test_rests_of_a_killed_writer_are_thrown_away(dataset, make_rollout):
    staging = dataset.with_name(".dataset.staging")
    shutil.copytree(dataset, staging / "successor")
    (staging / "successor/meta/info.json").write_text("half of i")
    with DatasetWriter(dataset) as writer:
        assert not staging.exists()
        assert writer.append([make_rollout(2)]) == [2]


def test_dataset_loads_at_every_step_where_folders_cannot_be_exchanged(dataset, tmp_path, make_rollout, load):
    """File by file, as on NFS: each state in between loads as the old dataset, and the next writer finishes."""
    longer = Path(shutil.copytree(dataset, tmp_path / "longer"))
    with DatasetWriter(longer) as writer:
        writer.append([make_rollout(2, instruction="a new task")])
    successor = dataset.with_name(".dataset.staging") / "successor"
    successor.parent.mkdir()
    longer.rename(successor)
    exchange.marker(successor).touch()
    for path in exchange.changed_files(successor, dataset):
        if path.name == "info.json":
            break
        path.replace(dataset / path.relative_to(successor))
        loaded = load(dataset)
        assert (loaded.num_episodes, len(loaded), loaded[15]["mask2iv.id"]) == (2, 16, "rollout-1")
        assert len(read_provenance(dataset)) == 2
    with DatasetWriter(dataset) as writer:
        assert writer.episodes == 3
        assert writer.append([make_rollout(2), make_rollout(3)]) == [2, 3]
    assert load(dataset)[16]["task"] == "a new task"


def test_nothing_goes_over_the_network_or_into_the_users_cache(dataset, make_rollout, tmp_path, monkeypatch):
    import datasets

    def refuse(*_):
        raise AssertionError("a connection was tried")

    monkeypatch.setattr("socket.socket.connect", refuse)
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "users-cache")
    with DatasetWriter(dataset) as writer:
        writer.append([make_rollout(2)])
    assert not (tmp_path / "users-cache").exists()
    assert tmp_path / "users-cache" == datasets.config.HF_DATASETS_CACHE


def test_importing_is_light():
    loaded = (
        "import sys, mask2iv_ros.export; print(sorted({'torch', 'lerobot', 'datasets', 'pandas'} & sys.modules.keys()))"
    )
    assert subprocess.check_output([sys.executable, "-c", loaded], text=True) == "[]\n"


def test_kills_at_random_moments_lose_nothing(bench_script, tmp_path):
    command = [sys.executable, bench_script, "--kills", "6", "--seed", "0"]
    done = subprocess.run([*command, "--root", tmp_path / "dataset"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr[-2000:]
    result = json.loads(done.stdout)
    assert result["wrong"] == []
    assert result["kills"] == 6
    assert result["rollouts accepted"] > 0
    assert result["rollouts accepted"] == result["episodes in the dataset"]
    assert len(read_provenance(tmp_path / "dataset")) == result["episodes in the dataset"]


def test_a_finished_dataset_is_adopted_once_and_only_if_it_fits(dataset, tmp_path, make_rollout, load):
    for name, rollout in (
        ("more", make_rollout(2)),
        ("again", make_rollout(1)),
        ("larger", make_rollout(3, size=(96, 96))),
        ("slower", make_rollout(3, fps=4.0)),
    ):
        shard.write_shard([rollout], tmp_path / name, ExportSettings(), imagined=False)
    with DatasetWriter(dataset) as writer:
        writer.adopt(tmp_path / "more")
        with pytest.raises(Refused, match=r"'rollout-1' of .*again is taken"):
            writer.adopt(tmp_path / "again")
        with pytest.raises(Refused, match=r"larger has frames of \(96, 96\) at 8 fps; dataset .* has \(64, 96\) at 8"):
            writer.adopt(tmp_path / "larger")
        with pytest.raises(Refused, match=r"slower has frames of \(64, 96\) at 4 fps"):
            writer.adopt(tmp_path / "slower")
        assert writer.episodes == 3
        assert [(one.episode, one.imagined) for one in writer.written.values()] == [(0, True), (1, True), (2, False)]
    with pytest.raises(Refused, match="is closed"):
        writer.adopt(tmp_path / "slower")
    assert [one.id for one in read_provenance(dataset)] == ["rollout-0", "rollout-1"]
    assert [one.id for one in read_provenance(dataset, imagined_only=False)] == ["rollout-0", "rollout-1", "rollout-2"]
    assert load(dataset)[2 * 8 + 1]["mask2iv.id"] == "rollout-2"


def test_the_first_finished_dataset_becomes_the_dataset(tmp_path, make_rollout, load):
    shard.write_shard([make_rollout(0)], tmp_path / "first", ExportSettings())
    with DatasetWriter(tmp_path / "dataset") as writer:
        writer.adopt(tmp_path / "first")
        assert writer.append([make_rollout(1)]) == [1]
    assert load(tmp_path / "dataset").num_episodes == 2
