"""Folders that the package `datasets` saved (`save_to_disk`): which Arrow files hold the rows, by what the folder says itself."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from freerun.errors import DataError, UsageError, nearest

STATE, INFO, SPLITS = "state.json", "dataset_info.json", "dataset_dict.json"


def is_saved(folder: Path) -> bool:
    """Return whether a folder holds one saved data set, or several splits of one."""
    return is_saved_set(folder) or is_saved_dict(folder)


def is_saved_set(folder: Path) -> bool:
    """Return whether a folder holds one saved data set."""
    return (folder / STATE).is_file() and (folder / INFO).is_file()


def is_saved_dict(folder: Path) -> bool:
    """Return whether a folder holds the splits of a saved data set."""
    return (folder / SPLITS).is_file()


def folder_of_split(folder: Path, split: str | None, spec: str) -> Path:
    """Return the folder of one split; `split` may be left out where there is one only.

    Raises:
        UsageError: no such split, or none named where there are several.
        DataError: the folder does not say its splits.
    """
    if not is_saved_dict(folder):
        own = _read(folder / STATE).get("_split")
        if split is not None and split != own:
            there = f"the split {own!r} alone" if own else "rows without a split"
            raise UsageError(f"corpus {spec!r}: {str(folder)!r} holds {there}; leave [{split}] out")
        return folder
    splits = _read(folder / SPLITS).get("splits")
    if not isinstance(splits, list) or not splits or not all(_is_name(name) for name in splits):
        raise DataError(f"{folder / SPLITS} names no splits; save the data set again")
    if split is None and len(splits) > 1:
        raise UsageError(f"corpus {spec!r} holds the splits {', '.join(splits)}: name one, as '{folder}[{splits[0]}]'")
    chosen = splits[0] if split is None else split
    if chosen not in splits:
        raise UsageError(
            f"corpus {spec!r} has no split {chosen!r}; it has {', '.join(splits)}{nearest(chosen, splits)}"
        )
    if not is_saved_set(folder / chosen):
        raise DataError(f"{folder / chosen} is not there or holds no saved data set; copy it again")
    return Path(folder / chosen)


def arrow_files(folder: Path) -> list[Path]:
    """Return the files that hold the rows, in their order.

    Raises:
        DataError: the folder names none, a file elsewhere, or one that is not there, or its rows are chosen by a list beside them.
    """
    state = _read(folder / STATE)
    if state.get("_indices_data_files") or state.get("_indices_files"):
        raise DataError(f"{folder} chooses its rows by a list of numbers; flatten_indices() and save it again")
    entries = state.get("_data_files")
    names = [e.get("filename") if isinstance(e, dict) else None for e in entries] if isinstance(entries, list) else []
    if not names or not all(_is_name(name) for name in names):
        raise DataError(f"{folder / STATE} names no data files of its folder; save the data set again")
    files = [folder / str(name) for name in names]
    gone = next((file for file in files if not file.is_file()), None)
    if gone is not None:
        raise DataError(f"{gone} is not there, which {STATE} names; copy the whole folder again")
    return files


def _is_name(value: object) -> bool:
    """Whether it names something in its own folder."""
    return (
        isinstance(value, str)
        and value not in ("", ".", "..")
        and not set(value) & set("/\\\0")
        and value.isprintable()
    )


def _read(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(f"{path} cannot be read ({type(error).__name__}); save the data set again") from None
    if not isinstance(content, dict):
        raise DataError(f"{path} is not a valid JSON object; save the data set again")
    return content
