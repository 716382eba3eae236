"""Sets of the hub, by a stand-in for the package `datasets`: what is asked of it, and every way it can refuse."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from freerun.errors import BackendError, DataError, FreerunError, UsageError
from freerun.text import hub
from freerun.text.corpora import read_corpus


class Value:
    """The feature of a plain column."""


class Picture:
    """A feature that must not be decoded."""


class Rows:
    """A streamed split."""

    def __init__(self, rows: list[dict[str, Any]], features: dict[str, Any] | None) -> None:
        self.rows, self.features = rows, features
        self.taken = 0

    def select_columns(self, names: list[str]) -> Rows:
        return Rows([{k: r[k] for k in names} for r in self.rows], None)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        for row in self.rows:
            self.taken += 1
            yield row


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """A stand-in that remembers what it was asked; `rows`, `features` and `error` say what it answers."""
    memory: dict[str, Any] = {
        "rows": [{"id": i, "text": f"text number {i}", "likes": i, "picture": object()} for i in range(5)],
        "features": {"id": Value(), "text": Value(), "likes": Value(), "picture": Picture()},
    }

    def load_dataset(path: str, **options: Any) -> Rows:
        memory["path"], memory["options"] = path, options
        if "error" in memory:
            raise memory["error"]
        return Rows(memory["rows"], memory["features"])

    module = ModuleType("datasets")
    module.__dict__.update(
        load_dataset=load_dataset,
        Value=Value,
        disable_progress_bars=lambda: None,
        utils=ModuleType("utils"),
    )
    module.utils.logging = ModuleType("logging")  # type: ignore[attr-defined]
    module.utils.logging.set_verbosity_error = lambda: None  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "datasets", module)
    return memory


def test_rows_become_documents_and_nothing_is_downloaded_whole(asked: dict[str, Any]) -> None:
    corpus = read_corpus("hf/org/name[test]")
    assert asked["path"] == "org/name"
    assert asked["options"] == {
        "name": None,
        "split": "test",
        "streaming": True,
    }  # no code of the set is allowed to run
    assert [d.text for d in corpus.documents] == [f"text number {i}" for i in range(5)]
    assert corpus.documents[3].id == "3"
    assert corpus.documents[3].meta == {"likes": "3"}  # the picture was not even read
    assert (corpus.name, corpus.spec) == ("name-test", "hf/org/name[test]")


@pytest.mark.parametrize(
    ("spec", "path", "name", "split"),
    [
        ("hf/org/name", "org/name", None, "train"),
        ("hf/org/name/de-en[validation]", "org/name", "de-en", "validation"),
        ("hf/org/name[train[:10%]", None, None, None),
        ("hf/org", None, None, None),
        ("hf/org/na me[x]", None, None, None),
        ("hf/a/b/c/d", None, None, None),
        ("hf/", None, None, None),
        ("hf/../secrets[x]", "../secrets", None, "x"),
    ],
)
def test_how_a_set_is_named(spec: str, path: str | None, name: str | None, split: str | None) -> None:
    if path is None:
        with pytest.raises(UsageError, match=r"hf/ORG/NAME\[split\]"):
            hub.parse_hub(spec)
    else:
        assert hub.parse_hub(spec) == (path, name, split)


def test_reading_stops(asked: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub, "MOST_DOCUMENTS", 3)
    corpus = read_corpus("hf/org/name")
    assert len(corpus.documents) == 3
    assert "the first 3 rows of a streamed set" in corpus.notes[0]
    monkeypatch.setattr(hub, "MOST_DOCUMENTS", 100)
    monkeypatch.setattr(hub, "MOST_CHARACTERS", 20)
    assert len(read_corpus("hf/org/name").documents) == 2
    monkeypatch.setattr(hub, "MOST_CHARACTERS", 1 << 20)
    assert read_corpus("hf/org/name").notes == ()


@pytest.mark.parametrize(
    ("error", "kind", "said"),
    [
        (
            ValueError("Bad split: tset. Available splits: ['train', 'test']"),
            UsageError,
            r"has no split 'tset'; it has train, test; did you mean 'test'\?",
        ),
        (
            ValueError("Config name is missing.\nPlease pick one among the available configs: ['de', 'fr']\nExample"),
            UsageError,
            r"name one of its configurations, as hf/ORG/NAME/CONFIG\[split\]: de, fr",
        ),
        (
            RuntimeError("Dataset scripts are no longer supported, but found name.py"),
            DataError,
            "made by code of its own, which is not run here",
        ),
        (
            ConnectionError("Couldn't reach 'org/name' on the Hub (LocalEntryNotFoundError)"),
            DataError,
            "cannot be read: ConnectionError: Couldn't reach .* needs its exact name and the network",
        ),
        (OSError(), DataError, "cannot be read: OSError: OSError"),
    ],
)
def test_refusals_are_one_line(asked: dict[str, Any], error: Exception, kind: type[FreerunError], said: str) -> None:
    asked["error"] = error
    with pytest.raises(kind, match=said) as caught:
        read_corpus("hf/org/name[tset]")
    assert "\n" not in str(caught.value)


def test_no_such_field_and_no_rows(asked: dict[str, Any]) -> None:
    with pytest.raises(
        DataError, match=r"lack the field 'txt' \(hf/org/name\[test\]:1, .*--text-field; did you mean 'text'"
    ):
        read_corpus("hf/org/name[test]", text_field="txt")
    asked["rows"] = []
    with pytest.raises(DataError, match=r"holds no rows; choose another split"):
        read_corpus("hf/org/name[test]")


def test_without_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(BackendError, match=r"needs the package datasets.*pip install 'freerun\[corpora\]'"):
        read_corpus("hf/org/name")


def test_a_folder_that_is_not_there(asked: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such folder"):
        read_corpus(f"hf/{tmp_path}/none")
    assert "path" not in asked
    read_corpus(f"hf/{tmp_path}[test]")
    assert asked["path"] == str(tmp_path)
