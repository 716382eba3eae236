"""Which files of a folder are read: regular ones of a supported kind, below it and below the folders it links to, each once."""

from __future__ import annotations

import os
import stat
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from freerun.errors import DataError
from freerun.text.formats import kind_of, special
from freerun.text.saved import arrow_files, is_saved_dict, is_saved_set

NAMES_SHOWN = 5


@dataclass
class Listing:
    """What a folder holds, by path relative to it. `files` are read; everything else is left out, and said."""

    files: list[str] = field(default_factory=list)
    others: list[str] = field(default_factory=list)
    dangling: list[str] = field(default_factory=list)
    special: list[str] = field(default_factory=list)
    followed: list[str] = field(default_factory=list)
    repeated: list[str] = field(default_factory=list)

    def notes(self) -> tuple[list[str], list[str]]:
        """Return what was left out, counted, and the same by name."""
        said = (
            (self.others, "{} file(s) of other kinds left out", ""),
            (self.dangling, "{} link(s) that lead nowhere left out", "links that lead nowhere"),
            (self.special, "{} pipe(s), socket(s) or device(s) left out", "not files"),
            (self.followed, "{} linked folder(s) followed", "linked folders that were followed"),
            (self.repeated, "{} link(s) to what is read already left out", "links to what is read already"),
        )
        counted = [sentence.format(len(names)) for names, sentence, _ in said if names]
        named = [f"{what}: {some(names)}" for names, _, what in said if names and what]
        return counted, named


def some(names: Sequence[str]) -> str:
    """Return the first few of some names.

    >>> some(["a", "b"]), some(list("abcdefgh"))
    ('a, b', 'a, b, c, d, e and 3 more')
    """
    more = len(names) - NAMES_SHOWN
    return ", ".join(names[:NAMES_SHOWN]) + (f" and {more} more" if more > 0 else "")


def list_folder(folder: Path) -> Listing:
    """Return what is below a folder, in sorted order, hidden things apart.

    Links to folders are followed, after everything that stands below the folder itself, so that a file is called by its own path
    where it has one. No folder is read twice, and no file that a link leads to.

    Raises:
        DataError: a folder that may not be read, or the splits of a saved data set inside the folder.
    """
    listing = Listing()
    folders: set[tuple[int, int]] = set()
    files: set[tuple[int, int]] = set()
    linked_files: list[tuple[str, tuple[int, int]]] = []
    waiting, linked = deque([""]), deque[str]()
    while waiting or linked:
        by_link = not waiting
        here = (waiting or linked).popleft()
        path = folder / here
        key = _key(_stat(path))
        if key in folders:
            listing.repeated.append(here)
            continue
        folders.add(key)
        if by_link:
            listing.followed.append(here)
        if here and is_saved_dict(path):
            raise DataError(f"{path} holds the splits of a saved data set; give one alone, as '{path}[SPLIT]'")
        if is_saved_set(path):
            listing.files += [f"{here}/{file.name}".lstrip("/") for file in arrow_files(path)]
            continue
        for entry in _entries(path):
            if entry.name.startswith("."):
                continue
            name = f"{here}/{entry.name}".lstrip("/")
            try:
                found = os.stat(entry.path)
            except OSError as error:
                if isinstance(error, PermissionError):
                    raise DataError(f"{name} cannot be read: {error.strerror}; check its permissions") from None
                listing.dangling.append(name)
                continue
            if stat.S_ISDIR(found.st_mode):
                (linked if entry.is_symlink() else waiting).append(name)
            elif not stat.S_ISREG(found.st_mode):
                listing.special.append(f"{name} ({special(found.st_mode)})")
            elif kind_of(entry.name) is None:
                listing.others.append(name)
            elif entry.is_symlink():
                linked_files.append((name, _key(found)))
            else:
                files.add(_key(found))
                listing.files.append(name)
    for name, key in sorted(linked_files):
        (listing.repeated if key in files else listing.files).append(name)
        files.add(key)
    listing.files.sort()
    return listing


def _entries(path: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(path) as entries:
            return sorted(entries, key=lambda entry: entry.name)
    except OSError as error:
        raise DataError(f"folder {str(path)!r} cannot be read: {error.strerror}; check its permissions") from None


def _stat(path: Path) -> os.stat_result:
    try:
        return os.stat(path)
    except OSError as error:
        raise DataError(f"folder {str(path)!r} cannot be read: {error.strerror}; check its permissions") from None


def _key(found: os.stat_result) -> tuple[int, int]:
    return found.st_dev, found.st_ino
