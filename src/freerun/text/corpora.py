"""From what people type to a corpus: files, folders, standard input and the corpora that come with Python."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TextIO

from freerun.errors import DataError, UsageError, nearest
from freerun.text.cleaning import Cleaning
from freerun.text.cutting import cut_documents
from freerun.text.documents import Corpus, Document, assemble
from freerun.text.readers import SUPPORTED, read_file, read_text, suffix_of


def _python_docs() -> Corpus:
    from freerun.text.builtin import python_docs

    return python_docs()


def _python_code() -> Corpus:
    from freerun.text.builtin import python_code

    return python_code()


BUILTINS: dict[str, Callable[[], Corpus]] = {
    "builtin/python-docs": _python_docs,
    "builtin/python-code": _python_code,
}
"""Corpora that need no file: name to loader."""


def read_corpus(
    spec: str,
    *,
    text_field: str = "text",
    split_on: str | None = None,
    chunk_chars: int | None = None,
    stdin: TextIO | None = None,
    single_ok: bool = False,
) -> Corpus:
    """Return the corpus that `spec` names.

    `spec` is a file (`.txt`, `.jsonl`, `.jsonl.gz`, `.parquet`), a folder of such files (recursively, in sorted order,
    hidden ones left out), `-` for standard input, a set of the hub (`hf/ORG/NAME[split]`, see `read_hub`), or a name from
    `BUILTINS`. A `.txt` file is one document; a row is a document with `id` (else file:line), `unit` (else the id), its
    text in `text_field`, and its other scalar fields as `meta`. In a folder, ids are prefixed with the file's path so that
    files may number their rows alike; units are not, so that a unit may span files.

    `split_on` is a literal separator (`\\n` and `\\t` understood) and `chunk_chars` a number of characters; both cut
    every document into pieces (see `cut_documents` for what then counts as independent). `single_ok` admits a corpus of
    one document, which can train a reference but has no second unit to be compared with.

    Raises:
        UsageError: an unknown builtin, a spec that another part of freerun reads, or a senseless flag value.
        DataError: nothing there, nothing in it, unreadable, damaged, not UTF-8, no such text field, or one document.
    """
    if spec.startswith("builtin/"):
        corpus = _read_builtin(spec)
        if split_on is None and chunk_chars is None:
            return corpus
        documents, name, notes = list(corpus.documents), corpus.name, list(corpus.notes)
    else:
        cleaning = Cleaning()
        documents, name, notes = _read(spec, text_field=text_field, stdin=stdin, cleaning=cleaning)
        notes += cleaning.notes()
    if not any(document.text.strip() for document in documents):
        raise DataError(f"corpus {spec!r} is empty: there is no text in it; give one with text")
    independent = True
    if split_on is not None or chunk_chars is not None:
        full = [document for document in documents if document.text.strip()]
        if len(full) < len(documents):
            notes.append(f"{len(documents) - len(full)} empty document(s) dropped")
        documents, independent, note = cut_documents(full, split_on=split_on, chunk_chars=chunk_chars, spec=spec)
        notes.append(note)
    corpus = assemble(documents, name=name, spec=spec, independent=independent, notes=notes)
    if len(corpus.documents) == 1 and not single_ok:
        raise DataError(_one_document(corpus))
    return corpus


def _read_builtin(spec: str) -> Corpus:
    if spec not in BUILTINS:
        raise UsageError(f"no corpus {spec!r}; there are {', '.join(BUILTINS)}{nearest(spec, BUILTINS)}")
    return BUILTINS[spec]()


def _read(
    spec: str, *, text_field: str, stdin: TextIO | None, cleaning: Cleaning
) -> tuple[list[Document], str, list[str]]:
    """Return documents, the corpus name and notes."""
    if spec == "-":
        return [_read_stdin(sys.stdin if stdin is None else stdin, cleaning)], "stdin", []
    if spec.startswith("hf/"):
        from freerun.text.hub import read_hub

        return read_hub(spec, text_field=text_field, cleaning=cleaning)
    if not spec or spec.startswith("world/"):
        raise UsageError(
            f"corpus {spec!r} is not a file, folder, - or one of {', '.join(BUILTINS)}"
            f"; a file or folder of that name is read as './{spec}'"
        )
    path = Path(spec).expanduser()
    if not os.path.exists(path):
        raise DataError(_missing(spec, path))
    if path.is_dir():
        return _read_folder(spec, path, text_field, cleaning)
    if not path.is_file():
        raise DataError(f"corpus {spec!r} is not a regular file; give a file or folder, or - to read standard input")
    documents = read_file(path, path.name, text_field=text_field, cleaning=cleaning)
    suffix = suffix_of(path) or ""
    return documents, path.name[: -len(suffix)] or path.name, []


def _read_stdin(stream: TextIO, cleaning: Cleaning) -> Document:
    raw = getattr(stream, "buffer", None)
    if raw is None:
        return Document(id="stdin", text=cleaning.clean(stream.read().removeprefix("\ufeff")), unit="stdin")
    return read_text(raw.read(), "stdin", cleaning)


def _read_folder(spec: str, folder: Path, text_field: str, cleaning: Cleaning) -> tuple[list[Document], str, list[str]]:
    files, n_others = _files_in(folder)
    if not files:
        what = f"only {n_others} other file(s)" if n_others else "nothing"
        raise DataError(f"folder {spec!r} holds {what}; it needs files that end in {', '.join(SUPPORTED)}")
    documents: list[Document] = []
    for path in files:
        label = path.relative_to(folder).as_posix()
        documents += read_file(path, label, text_field=text_field, cleaning=cleaning, id_prefix=f"{label}:")
    notes = [f"{n_others} file(s) of other kinds left out"] if n_others else []
    return documents, folder.resolve().name or "root", notes


def _files_in(folder: Path) -> tuple[list[Path], int]:
    """Return the supported files below `folder`, sorted by path, and how many others there are, hidden ones apart."""

    def refuse(error: OSError) -> None:
        raise DataError(f"folder {error.filename!r} cannot be read: {error.strerror}; check its permissions") from None

    found: list[Path] = []
    n_others = 0
    for root, folders, names in os.walk(folder, onerror=refuse):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in names:
            path = Path(root, name)
            if name.startswith("."):
                continue
            if suffix_of(path) is None:
                n_others += 1
            else:
                found.append(path)
    return sorted(found, key=lambda path: path.relative_to(folder).as_posix()), n_others


def _missing(spec: str, path: Path) -> str:
    folder = path.parent
    if not folder.is_dir():
        return f"corpus {spec!r} does not exist, nor does its folder {str(folder)!r}; check it{nearest(spec, BUILTINS)}"
    try:
        names = os.listdir(folder)
    except OSError:
        names = []
    guess = nearest(path.name, names) or nearest(spec, BUILTINS)
    return f"corpus {spec!r} does not exist{guess or f'; give a file or folder, -, or {next(iter(BUILTINS))}'}"


def _one_document(corpus: Corpus) -> str:
    length = len(corpus.documents[0].text)
    return (
        f"corpus {corpus.spec!r} is one document of {length} characters, and documents are compared with one another; "
        "cut it with --split-on TEXT (what stands between its parts, for example '\\n\\n\\n') or --chunk CHARACTERS "
        "(for example 4000), or give a folder"
    )
