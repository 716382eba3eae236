"""Corpora of the Hugging Face hub, or a local folder in its shape, read row by row. The only file that knows `datasets`."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator, Mapping
from importlib import import_module
from itertools import islice
from pathlib import Path
from typing import Any

from freerun.counted import counted
from freerun.errors import BackendError, DataError, UsageError, first_line, nearest
from freerun.text.documents import Document
from freerun.text.readers import numbered
from freerun.text.reading import Reading, columns_of

MOST_DOCUMENTS = 4096
MOST_CHARACTERS = 1 << 25
"""Reading stops after so many rows, or so many characters of text: a hub set may have no end."""

_SPEC = re.compile(r"hf/(?P<path>[^\[\]]+?)(?:\[(?P<split>[^\[\]]+)\])?")


def read_hub(spec: str, reading: Reading) -> tuple[list[Document], str]:
    """Return the first documents of a set, and its name.

    `spec` is `hf/ORG/NAME[split]`, `hf/ORG/NAME/CONFIG[split]` for a set with several configurations, or `hf/./folder[split]`
    for a folder of data files; the split is `train` where none is given. Rows are streamed, in the order of the set, until
    there are `MOST_DOCUMENTS` of them or `MOST_CHARACTERS` characters; no code of the set is run.

    Raises:
        UsageError: not such a spec, or no such split or configuration.
        BackendError: the package `datasets` is not there.
        DataError: no such set, no network, damaged files, or no such text field.
    """
    path, config, split = parse_hub(spec)
    try:
        datasets: Any = import_module("datasets")
    except ImportError:
        raise BackendError(
            f"corpus {spec!r} needs the package datasets, which this Python does not have: pip install 'freerun[corpora]', or "
            "give the set as a .parquet or .jsonl file"
        ) from None
    _be_quiet(datasets)
    rows = _stream(datasets, spec, path, config, split, reading)
    documents: list[Document] = []
    n_characters = 0
    more = False
    for document in reading.documents(numbered(islice(rows, MOST_DOCUMENTS), spec)):
        if n_characters >= MOST_CHARACTERS:
            more = True
            break
        documents.append(document)
        n_characters += len(document.text)
    if not reading.bad.n_rows:
        raise DataError(f"corpus {spec!r} holds no rows; choose another split")
    if more or next(rows, None) is not None:
        reading.counted.append(
            f"the first {counted(len(documents), 'row')} of a streamed set, in its own order: not a random sample of all of it"
        )
    return documents, f"{Path(path).name}-{split}"


def parse_hub(spec: str) -> tuple[str, str | None, str]:
    """Return path, configuration and split.

    Raises:
        UsageError: it is not hf/ORG/NAME[split].

    >>> parse_hub("hf/org/name[test]"), parse_hub("hf/org/name/de"), parse_hub("hf/./data/set[train]")
    (('org/name', None, 'test'), ('org/name', 'de', 'train'), ('./data/set', None, 'train'))
    """
    match = _SPEC.fullmatch(spec)
    path, split = (match["path"].rstrip("/"), match["split"] or "train") if match else ("", "train")
    if path.startswith((".", "/", "~")):
        return path, None, split
    parts = path.split("/")
    if len(parts) not in (2, 3) or not all(re.fullmatch(r"[\w.-]+", part) for part in parts):
        raise UsageError(
            f"corpus {spec!r}: a set of the hub is hf/ORG/NAME[split] or hf/ORG/NAME/CONFIG[split], a folder hf/./folder[split]"
            f"; a file or folder of that name is read as './{spec}'"
        )
    return "/".join(parts[:2]), parts[2] if len(parts) == 3 else None, split


def _stream(
    datasets: Any, spec: str, path: str, config: str | None, split: str, reading: Reading
) -> Iterator[Mapping[str, Any]]:
    local = path.startswith((".", "/", "~"))
    where = str(Path(path).expanduser()) if local else path
    if local and not Path(where).is_dir():
        raise DataError(f"corpus {spec!r}: no such folder {where!r}")
    try:
        rows = datasets.load_dataset(where, name=config, split=split, streaming=True)
        features = getattr(rows, "features", None)
        if features:  # pictures, sound and nested fields are not even decoded
            kept = {*columns_of(list(features), reading), "id", "unit"}
            rows = rows.select_columns([n for n, f in features.items() if n in kept or isinstance(f, datasets.Value)])
        yield from islice(rows, MOST_DOCUMENTS + 1)
    except Exception as error:  # each of four libraries has errors of its own
        raise _refusal(datasets, spec, where, config, split, error) from error


def _refusal(
    datasets: Any, spec: str, path: str, config: str | None, split: str, error: Exception
) -> UsageError | DataError:
    first = first_line(error)
    if splits := re.search(r"[Bb]ad split: .*?Available splits: \[(.*?)\]", str(error), flags=re.DOTALL):
        there = re.findall(r"'([^']+)'", splits[1])
        return UsageError(f"corpus {spec!r} has no split {split!r}; it has {', '.join(there)}{nearest(split, there)}")
    if "onfig" in first and ("missing" in first or "not found" in first):
        there = re.findall(r"'([^']+)'", str(error).split("[", 1)[-1])
        return UsageError(
            f"corpus {spec!r}: name one of its configurations, as hf/ORG/NAME/CONFIG[split]: {', '.join(there[:8]) or first}"
        )
    if "script" in first or "trust_remote_code" in first:
        return DataError(
            f"corpus {spec!r} is made by code of its own, which is not run here; look for its Parquet files, and give those"
        )
    return DataError(
        f"corpus {spec!r} cannot be read: {type(error).__name__}: {first[:200]} (a hub set needs its exact name and the network, "
        "or to have been fetched before)"
    )


def _be_quiet(datasets: Any) -> None:
    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)  # it tells every attempt to reach the hub
    datasets.disable_progress_bars()
    datasets.utils.logging.set_verbosity_error()
