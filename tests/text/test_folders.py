"""What a folder may hold besides good files: links, circles, pipes, sockets, settings. It is read to its end, and all is said."""

from __future__ import annotations

import json
import os
import socket
import threading
from pathlib import Path

import pytest

from freerun.errors import DataError
from freerun.text.corpora import read_corpus

linking = pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes and links here")
pytestmark = linking


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two texts of its own, and two in another folder."""
    for name in ("corpus/a.txt", "corpus/sub/b.txt", "elsewhere/c.txt", "elsewhere/deep/d.txt"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"text of {name}")
    return tmp_path / "corpus"


def ids(folder: Path) -> list[str]:
    return [d.id for d in read_corpus(str(folder)).documents]


def test_linked_folders_are_followed(folder: Path) -> None:
    (folder / "linked").symlink_to("../elsewhere")
    corpus = read_corpus(str(folder))
    assert [d.id for d in corpus.documents] == ["a.txt", "linked/c.txt", "linked/deep/d.txt", "sub/b.txt"]
    assert "1 linked folder followed" in corpus.notes
    assert "linked folders that were followed: linked" in corpus.named_notes


def test_no_folder_and_no_file_is_read_twice(folder: Path) -> None:
    (folder / "0-up").symlink_to("..")  # holds the folder itself, and elsewhere
    (folder / "again").symlink_to("sub")
    (folder / "sub" / "circle").symlink_to(folder)
    (folder / "also.txt").symlink_to("a.txt")
    (folder / "twice").symlink_to("../elsewhere")
    corpus = read_corpus(str(folder))
    assert [d.id for d in corpus.documents] == [
        "0-up/elsewhere/c.txt",
        "0-up/elsewhere/deep/d.txt",
        "a.txt",
        "sub/b.txt",
    ]
    assert corpus.n_duplicates == 0
    assert corpus.named_notes[-1] == "links to what is read already: 0-up/corpus, again, twice, sub/circle, also.txt"


def test_a_file_that_is_linked_from_outside_is_read(folder: Path) -> None:
    """As in a cache of the hub, where every file is a link."""
    (folder / "c.txt").symlink_to("../elsewhere/c.txt")
    assert ids(folder) == ["a.txt", "c.txt", "sub/b.txt"]


def test_links_that_lead_nowhere_pipes_and_sockets_are_left_out_and_said(folder: Path) -> None:
    (folder / "gone.txt").symlink_to("nowhere.txt")
    (folder / "self.txt").symlink_to("self.txt")
    os.mkfifo(folder / "pipe.jsonl")
    os.mkfifo(folder / "pipe")
    (folder / "device.txt").symlink_to("/dev/null")
    with socket.socket(socket.AF_UNIX) as one:
        here = os.getcwd()
        os.chdir(folder)  # the name of a socket must be short
        try:
            one.bind("socket.txt")
        finally:
            os.chdir(here)
        corpus = read_corpus(str(folder))
    assert [d.id for d in corpus.documents] == ["a.txt", "sub/b.txt"]
    assert corpus.notes == ("2 links to nowhere left out", "4 special files (pipes, sockets, devices) left out")
    assert corpus.named_notes == (
        "links that lead nowhere: gone.txt, self.txt",
        "not files: device.txt (a device), pipe (a pipe), pipe.jsonl (a pipe), socket.txt (a socket)",
    )


def test_settings_in_json_do_not_stop_a_folder_of_texts(folder: Path) -> None:
    (folder / "package.json").write_text(json.dumps({"name": "x", "files": ["a", 1]}))
    (folder / "list.json").write_text(json.dumps([{"n": 1}]))
    (folder / "rows.json").write_text(json.dumps([{"text": "a row"}]))
    corpus = read_corpus(str(folder))
    assert [d.id for d in corpus.documents] == ["a.txt", "rows.json:1", "sub/b.txt"]
    assert "2 .json files without rows of text left out" in corpus.notes
    assert ".json files without rows of text: list.json, package.json" in corpus.named_notes
    for name in ("a.txt", "sub/b.txt", "rows.json"):
        (folder / name).unlink()
    with pytest.raises(DataError, match=r"holds no rows of text: list\.json, package\.json lack the field 'text'"):
        read_corpus(str(folder))


def test_what_may_not_be_read_is_refused_for_that_reason(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.scandir

    def refuse(path: str) -> object:
        if str(path).endswith("sub"):
            raise PermissionError(13, "Permission denied", path)
        return real(path)

    monkeypatch.setattr(os, "scandir", refuse)  # root may read everything, so chmod shows nothing
    with pytest.raises(DataError, match=r"sub' cannot be read: Permission denied; check its permissions"):
        read_corpus(str(folder))


def test_what_is_given_alone(folder: Path) -> None:
    (folder / "gone.txt").symlink_to("nowhere.txt")
    with pytest.raises(DataError, match=r"gone\.txt is a link to 'nowhere\.txt', which leads nowhere"):
        read_corpus(str(folder / "gone.txt"))
    for name in ("/dev/null", "/dev/zero"):
        with pytest.raises(DataError, match=rf"{name} is a device, not a file"):
            read_corpus(name)


@pytest.mark.parametrize("name", ["pipe", "pipe.jsonl"])
def test_a_pipe_is_read(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    os.mkfifo(path)
    writer = threading.Thread(target=path.write_text, args=('{"text": "a"}\n{"text": "b"}\n',))
    writer.start()
    assert [d.text for d in read_corpus(str(path)).documents] == ["a", "b"]
    writer.join()


def test_an_open_descriptor_is_read_as_the_shell_gives_it() -> None:
    """`<(command)` gives /dev/fd/63."""
    reads, writes = os.pipe()
    os.write(writes, b'{"text": "a"}\n{"text": "b"}\n')
    os.close(writes)
    corpus = read_corpus(f"/dev/fd/{reads}")
    os.close(reads)
    assert [d.text for d in corpus.documents] == ["a", "b"]
    assert "pipe is read as jsonl, by its first line" in corpus.named_notes[0]
