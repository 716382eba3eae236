"""From what people type to a corpus: files, folders, standard input and the corpora that come with Python."""

from __future__ import annotations

import os
import re
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import TextIO

from freerun.counted import counted
from freerun.errors import DataError, UsageError, nearest
from freerun.text import builtin
from freerun.text.cutting import cut_documents
from freerun.text.documents import Corpus, Document, assemble
from freerun.text.folders import list_folder, some
from freerun.text.formats import FORMATS, bytes_of, check_is_file, kind_of, read_file, suffixes_in_words
from freerun.text.instructions import instructions
from freerun.text.packing import packing_of, unpack
from freerun.text.readers import NoRows
from freerun.text.reading import Reading
from freerun.text.rows import STRING_FIELD
from freerun.text.saved import arrow_files, folder_of_split, is_saved
from freerun.text.sniffing import sniff

BUILTINS: dict[str, Callable[[], Corpus]] = {
    "builtin/python-docs": builtin.python_docs,
    "builtin/python-code": builtin.python_code,
    "builtin/instructions": instructions,
}
"""Corpora that need no file: name to loader."""


def read_corpus(
    spec: str,
    *,
    text_field: str = "text",
    prompt_field: str | None = None,
    prompts_ok: bool = False,
    split_on: str | None = None,
    chunk_chars: int | None = None,
    stdin: TextIO | None = None,
    single_ok: bool = False,
    format: str | None = None,
    skip_bad_rows: bool = False,
) -> Corpus:
    """Return the corpus that `spec` names.

    `spec` is a file or pipe of one of `FORMATS`, a folder of such files (recursively, in sorted order, hidden ones left out,
    linked folders followed), a data set that the package `datasets` saved (`folder` or `folder[split]`), `-` for standard
    input, a set of the hub (`hf/ORG/NAME[split]`, see `read_hub`), or a name from `BUILTINS`. A row is a document with `id`
    (else file:line), `unit` (else the id), its text in `text_field` (`doc.text` for a field inside a field), and its other
    scalar fields as `meta`. In a folder, ids are prefixed with the file's path so that files may number their rows alike; units
    are not, so that a unit may span files.

    A row may also hold a prompt in `prompt_field`, or a conversation: a list of messages in `text_field`, or in `messages` where
    there is no `text`. Then `Document.before` holds the turns before the response.

    `format` says what standard input, a pipe or one file is, if its name does not. `skip_bad_rows` leaves out rows that hold no
    text, and notes how many. `prompts_ok`: the caller reads `Document.before`. `split_on` is a literal separator (`\\n` and `\\t`
    understood) and `chunk_chars` a number of characters; both cut every document into pieces (see `cut_documents` for what then
    counts as independent). `single_ok` admits a corpus of one document, which can train a reference but has no second unit to be
    compared with.

    Raises:
        UsageError: an unknown builtin, a spec that another part of freerun reads, or a senseless flag value.
        DataError: nothing there, nothing in it, unreadable, damaged, not UTF-8, rows without text, one document, or
            conversations where `prompts_ok` is not said.
    """
    if format is not None and format not in FORMATS:
        raise UsageError(f"--format must be one of {', '.join(FORMATS)}, not {format!r}{nearest(format, FORMATS)}")
    if format is not None and spec.startswith(("builtin/", "hf/")):
        raise UsageError(f"--format {format} has no place with {spec}, which says itself what it is; leave it out")
    cut = split_on is not None or chunk_chars is not None
    if spec.startswith("builtin/") and prompt_field is not None:
        raise UsageError(f"--prompt-field {prompt_field} names a field of rows, and {spec} has none; leave it out")
    if spec in BUILTINS and not cut:
        return _allowed(BUILTINS[spec](), prompts_ok)
    reading = Reading(text_field=text_field, prompt_field=prompt_field, skip_bad_rows=skip_bad_rows)
    documents, name = _read(spec, reading, stdin=stdin, format=format)
    reading.close(spec)
    full = [document for document in documents if document.text.strip()]
    if not documents and reading.n_unanswered:
        raise DataError(
            f"corpus {spec!r}: none of its {reading.n_unanswered} conversations ends with the assistant's turn, which is the "
            "response that real text is made of; give conversations that do"
        )
    if not full:
        raise DataError(f"corpus {spec!r} is empty: there is no text in it; give one with text")
    notes, independent = reading.notes(), True
    if cut:
        if len(full) < len(documents):
            notes.append(f"{counted(len(documents) - len(full), 'empty document')} dropped")
        documents, independent, note = cut_documents(full, split_on=split_on, chunk_chars=chunk_chars, spec=spec)
        notes.append(note)
    corpus = assemble(
        documents,
        name=name,
        spec=spec,
        independent=independent,
        notes=notes,
        named_notes=reading.named,
        n_bad_rows=reading.bad.n_bad,
        n_unanswered=reading.n_unanswered,
    )
    if len(corpus.documents) == 1 and not single_ok:
        if corpus.n_duplicates:
            raise DataError(
                f"corpus {spec!r}: all its {corpus.n_duplicates + 1} documents hold the same text, which counts once; "
                "give documents that differ, or check that --text-field names the field that holds the text"
            )
        raise DataError(_one_document(corpus, reading.taken_for_text))
    return _allowed(corpus, prompts_ok)


def _allowed(corpus: Corpus, prompts_ok: bool) -> Corpus:
    """The corpus, refused where it holds prompts that the caller would not read."""
    if corpus.n_prompted and not prompts_ok:
        raise DataError(
            f"corpus {corpus.spec!r} holds conversations, and plain texts are wanted here; `freerun audit` takes it, or name a "
            "field of text with --text-field"
        )
    return corpus


def _read(spec: str, reading: Reading, *, stdin: TextIO | None, format: str | None) -> tuple[list[Document], str]:
    """Return documents and the corpus name; the notes are in `reading`."""
    if spec in ("-", "/dev/stdin"):
        stream = sys.stdin if stdin is None else stdin
        raw = getattr(stream, "buffer", None)
        data = stream.read().encode("utf-8", "surrogatepass") if raw is None else raw.read()
        return _read_unnamed(data, "stdin", reading, format), "stdin"
    if spec.startswith("hf/"):
        return _read_hub(spec, reading)
    if spec.startswith("builtin/"):
        if spec not in BUILTINS:
            raise UsageError(f"no corpus {spec!r}; there are {', '.join(BUILTINS)}{nearest(spec, BUILTINS)}")
        corpus = BUILTINS[spec]()
        reading.counted += corpus.notes
        return list(corpus.documents), corpus.name
    if not spec or spec.startswith("world/"):
        raise UsageError(
            f"corpus {spec!r} is not a file, folder, - or one of {', '.join(BUILTINS)}"
            f"; a file or folder of that name is read as './{spec}'"
        )
    path, split = _path_and_split(spec)
    if path is None:
        raise DataError(_missing(spec, Path(spec).expanduser()))
    if path.is_dir():
        if format is not None:
            raise UsageError(
                f"--format {format} is about one file or standard input, and {spec!r} is a folder; leave it out"
            )
        if split is not None or is_saved(path):
            return _read_saved(spec, path, split, reading)
        return _read_folder(spec, path, reading)
    check_is_file(path, spec)
    kind = kind_of(path.name)
    if (path.is_fifo() and kind is None) or path.as_posix().startswith(("/dev/fd/", "/proc/self/fd/")):
        return _read_unnamed(bytes_of(path, spec), "pipe", reading, format), "pipe"
    if format is None and kind is not None and kind.format.read is None and reading.text_field != STRING_FIELD:
        raise DataError(
            f"--text-field {reading.text_field} needs rows with fields, and {path.name} is one text; leave it out, or say what "
            f"the file is with --format ({', '.join(FORMATS)})"
        )
    documents = list(read_file(path, path.name, reading, format=format))
    return documents, (path.name[: -len(kind.suffix)] if kind else "") or path.name


def _path_and_split(spec: str) -> tuple[Path | None, str | None]:
    """Return what there is under that name, and the split if the name ends in one."""
    path = Path(spec).expanduser()
    if os.path.lexists(path):
        return path, None
    named = re.fullmatch(r"(.+)\[([^\[\]]+)\]", spec, flags=re.DOTALL)
    if named and is_saved(folder := Path(named[1]).expanduser()):
        return folder, named[2]
    return None, None


def _read_unnamed(data: bytes, label: str, reading: Reading, format: str | None) -> list[Document]:
    """The documents of bytes that have no name to say what they are."""
    packing = packing_of(data)
    if packing is not None:
        data = unpack(data, packing, label)
    if format is not None:
        return list(FORMATS[format].documents(data, label, reading))
    shown, by = sniff(data, label, text_field=reading.text_field)
    if data.strip():
        reading.named.append(f"{label} is read as {shown.name}, by {by} (--format says otherwise)")
    reading.taken_for_text = shown.read is None
    if shown.packed and not reading.taken_for_text:
        reading.hint = "read it as one text with --format text"
    return list(shown.documents(data, label, reading))


def _read_hub(spec: str, reading: Reading) -> tuple[list[Document], str]:
    """A set of the hub, or a local folder under its name, which may be one that was saved."""
    from freerun.text.hub import parse_hub, read_hub

    path, _, split = parse_hub(spec)
    if path.startswith((".", "/", "~")) and is_saved(folder := Path(path).expanduser()):
        return _read_saved(spec, folder, split if spec.endswith("]") else None, reading)
    return read_hub(spec, reading)


def _read_saved(spec: str, folder: Path, split: str | None, reading: Reading) -> tuple[list[Document], str]:
    chosen = folder_of_split(folder, split, spec)
    documents = [document for path in arrow_files(chosen) for document in read_file(path, path.name, reading)]
    name = folder.resolve().name or "root"
    return documents, name if chosen == folder else f"{name}-{chosen.name}"


def _read_folder(spec: str, folder: Path, reading: Reading) -> tuple[list[Document], str]:
    listing = list_folder(folder)
    left_out, named = listing.notes()
    if not listing.files:
        nothing = f"nothing that is read ({'; '.join(left_out)})" if left_out else "nothing"
        raise DataError(f"folder {spec!r} holds {nothing}; it needs files that end in {suffixes_in_words()}")
    documents: list[Document] = []
    aside: list[str] = []
    n_read: Counter[str] = Counter()
    for label in listing.files:
        kind = kind_of(label)
        assert kind is not None
        if kind.format.name == "json" and _is_no_corpus(folder / label, label, reading):
            aside.append(label)
        else:
            n_read[kind.suffix] += 1
            documents += read_file(folder / label, label, reading, id_prefix=f"{label}:")
    if aside:
        reading.counted.append(f"{counted(len(aside), '.json file')} without rows of text left out")
        reading.named.append(f".json files without rows of text: {some(aside)}")
    reading.counted += left_out
    reading.named += named
    if len(n_read) > 1:
        reading.counted.append("files read: " + ", ".join(f"{n} {suffix}" for suffix, n in sorted(n_read.items())))
    if not n_read:
        raise DataError(
            f"folder {spec!r} holds no rows of text: {some(aside)} lack the field {reading.text_field!r}; choose with --text-field"
        )
    return documents, folder.resolve().name or "root"


def _is_no_corpus(path: Path, label: str, reading: Reading) -> bool:
    """Whether a .json file in a folder holds no rows of text, such as settings."""
    alone = Reading(text_field=reading.text_field, prompt_field=reading.prompt_field, skip_bad_rows=True)
    try:
        return next(read_file(path, label, alone, id_prefix=f"{label}:"), None) is None
    except NoRows:
        return True


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


def _one_document(corpus: Corpus, taken_for_text: bool) -> str:
    length = len(corpus.documents[0].text)
    return (
        f"corpus {corpus.spec!r} is one document of {length} characters, and documents are compared with one another; "
        "cut it with --split-on TEXT (what stands between its parts, for example '\\n\\n\\n') or --chunk CHARACTERS "
        "(for example 4000), or give a folder"
        + (f", or say with --format what it is ({', '.join(FORMATS)})" if taken_for_text else "")
    )
