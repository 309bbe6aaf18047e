from pathlib import Path

import pytest

from mask2iv_ros.export import exchange

FILES = ["videos/a.mp4", "data/a.parquet", "meta/episodes/a.parquet", "meta/stats.json", "meta/info.json"]


def fill(folder: Path, text: str, names=FILES) -> Path:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder


def texts(folder: Path) -> dict[str, str]:
    return {str(path.relative_to(folder)): path.read_text() for path in folder.rglob("*") if path.is_file()}


def test_clone_shares_files_but_those_that_are_rewritten(tmp_path):
    old = fill(tmp_path / "old", "old")
    exchange.clone(old, tmp_path / "new", lambda path: path.parent == Path("meta"))
    assert texts(tmp_path / "new") == texts(old)
    assert (tmp_path / "new/data/a.parquet").samefile(old / "data/a.parquet")
    (tmp_path / "new/meta/info.json").write_text("new")
    assert (old / "meta/info.json").read_text() == "old"


def test_publish_puts_the_successor_in_place_and_gives_the_old_one_back(tmp_path):
    root, successor = fill(tmp_path / "root", "old"), fill(tmp_path / "staging/successor", "new")
    exchange.publish(successor, root)
    assert set(texts(root).values()) == {"new"}
    assert set(texts(successor).values()) == {"old"}


@pytest.mark.parametrize("empty_folder_first", [True, False])
def test_publish_makes_a_new_dataset(tmp_path, empty_folder_first):
    successor = fill(tmp_path / "staging/successor", "new")
    if empty_folder_first:
        (tmp_path / "root").mkdir()
    exchange.publish(successor, tmp_path / "root")
    assert set(texts(tmp_path / "root").values()) == {"new"}
    assert not successor.exists()


def test_files_are_replaced_in_the_order_that_keeps_a_dataset_loadable(tmp_path):
    names = [*FILES, "meta/tasks.parquet", "data/b.parquet"]
    successor, root = fill(tmp_path / "successor", "new", names), fill(tmp_path / "root", "old")
    rank = [path.relative_to(successor).as_posix() for path in exchange.changed_files(successor, root)]
    assert rank == [
        "videos/a.mp4",
        "data/a.parquet",
        "data/b.parquet",
        "meta/tasks.parquet",
        "meta/episodes/a.parquet",
        "meta/stats.json",
        "meta/info.json",
    ]


def test_unfinished_replacement_is_finished_and_an_unmarked_successor_is_not(tmp_path):
    root, successor = fill(tmp_path / "root", "old"), fill(tmp_path / "successor", "new")
    exchange.finish(successor, root)
    assert set(texts(root).values()) == {"old"}
    exchange.marker(successor).touch()
    (successor / FILES[0]).replace(root / FILES[0])  # where a kill came
    exchange.finish(successor, root)
    assert set(texts(root).values()) == {"new"}
    assert not exchange.marker(successor).exists()
