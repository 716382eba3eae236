"""Folders as `datasets.save_to_disk` writes them, made here by hand."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from freerun.errors import DataError, FreerunError, UsageError
from freerun.text.corpora import read_corpus


def save(folder: Path, texts: list[str], *, split: str | None = None, shards: int = 2, **state: Any) -> Path:
    folder.mkdir(parents=True)
    names = [f"data-{i:05d}-of-{shards:05d}.arrow" for i in range(shards)]
    for i, name in enumerate(names):
        table = pa.table({"text": texts[i::shards], "tags": [[1]] * len(texts[i::shards])})
        with pa.OSFile(str(folder / name), "wb") as sink, pa.ipc.new_stream(sink, table.schema) as writer:
            writer.write_table(table)
    whole = {"_data_files": [{"filename": name} for name in names], "_fingerprint": "f", "_split": split, **state}
    (folder / "state.json").write_text(json.dumps(whole))
    (folder / "dataset_info.json").write_text("{}")
    (folder / "cache-0123.arrow").write_bytes(b"something else")
    return folder


@pytest.fixture
def splits(tmp_path: Path) -> Path:
    save(tmp_path / "set" / "train", [f"train {i}" for i in range(4)], split="train")
    save(tmp_path / "set" / "test", [f"test {i}" for i in range(3)], split="test")
    (tmp_path / "set" / "dataset_dict.json").write_text('{"splits": ["train", "test"]}')
    return tmp_path / "set"


def test_a_saved_set(tmp_path: Path) -> None:
    folder = save(tmp_path / "one", ["a", "b", "c"])
    for spec in (str(folder), f"hf/{folder}"):
        corpus = read_corpus(spec)
        assert [d.text for d in corpus.documents] == ["a", "c", "b"]
        assert corpus.documents[2].id == "data-00001-of-00002.arrow:1"
        assert corpus.name == "one"
    inside = read_corpus(str(tmp_path))
    assert [d.text for d in inside.documents] == ["a", "c", "b"]  # its other files are not a corpus
    with pytest.raises(UsageError, match=r"holds rows without a split; leave \[train\] out"):
        read_corpus(f"{folder}[train]")


def test_a_split_of_a_saved_set(splits: Path) -> None:
    for spec in (f"{splits}[test]", f"hf/{splits}[test]"):
        corpus = read_corpus(spec)
        assert [d.text for d in corpus.documents] == ["test 0", "test 2", "test 1"]
        assert corpus.name == "set-test"
    assert len(read_corpus(str(splits / "train")).documents) == 4
    with pytest.raises(UsageError, match=r"holds the splits train, test: name one, as '.*set\[train\]'"):
        read_corpus(str(splits))
    with pytest.raises(UsageError, match=r"has no split 'tset'; it has train, test; did you mean 'test'"):
        read_corpus(f"{splits}[tset]")
    with pytest.raises(DataError, match=r"holds the splits of a saved data set; give one alone"):
        read_corpus(str(splits.parent))


def test_a_folder_whose_own_name_ends_in_brackets_wins(splits: Path) -> None:
    own = Path(f"{splits}[test]")
    own.mkdir()
    (own / "a.txt").write_text("own text")
    assert read_corpus(str(own), single_ok=True).documents[0].text == "own text"


@pytest.mark.parametrize(
    ("state", "said"),
    [
        ({"_data_files": [{"filename": "../secret.arrow"}]}, "names no data files of its folder"),
        ({"_data_files": []}, "names no data files of its folder"),
        ({"_data_files": [{"filename": "none.arrow"}]}, r"none\.arrow is not there, which state\.json names"),
        (
            {"_indices_data_files": [{"filename": "indices.arrow"}]},
            "chooses its rows by a list of numbers; flatten_indices",
        ),
    ],
)
def test_what_is_wrong_with_a_saved_set(tmp_path: Path, state: dict[str, Any], said: str) -> None:
    folder = save(tmp_path / "one", ["a", "b"], **state)
    with pytest.raises(DataError, match=said) as refused:
        read_corpus(str(folder))
    assert "\n" not in str(refused.value)


def test_a_state_that_cannot_be_read(tmp_path: Path) -> None:
    folder = save(tmp_path / "one", ["a", "b"])
    (folder / "state.json").write_text("{")
    with pytest.raises(FreerunError, match=r"state\.json cannot be read"):
        read_corpus(str(folder))
