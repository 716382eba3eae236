"""Which files of a folder are read: regular ones of a supported kind, below it and below the folders it links to, each once."""

from __future__ import annotations

import os
import stat
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from freerun.counted import counted
from freerun.errors import DataError
from freerun.text.formats import kind_of, special
from freerun.text.saved import arrow_files, is_saved_dict, is_saved_set

NAMES_SHOWN = 5


_NOTES = {
    "others": ("file", "of other kinds left out", ""),
    "dangling": ("link", "to nowhere left out", "links that lead nowhere"),
    "special": ("special file", "(pipes, sockets, devices) left out", "not files"),
    "followed": ("linked folder", "followed", "linked folders that were followed"),
    "repeated": ("link", "to what is read already left out", "links to what is read already"),
}
"""What is said of everything that is not read, counted, and by name where the names say something."""


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
        notes = [(names, *words) for part, words in _NOTES.items() if (names := getattr(self, part))]
        said = [f"{counted(len(names), one)} {what}" for names, one, what, _ in notes]
        return said, [f"{named}: {some(names)}" for names, _, _, named in notes if named]


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
        with _readable(path):
            key = _key(os.stat(path))
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
        with _readable(path), os.scandir(path) as scanned:
            entries = sorted(scanned, key=lambda entry: entry.name)
        for entry in entries:
            if entry.name.startswith("."):
                continue
            name = f"{here}/{entry.name}".lstrip("/")
            try:
                status = entry.stat()
            except PermissionError as error:
                raise DataError(f"{name} cannot be read: {error.strerror}; check its permissions") from None
            except OSError:
                listing.dangling.append(name)
                continue
            if stat.S_ISDIR(status.st_mode):
                (linked if entry.is_symlink() else waiting).append(name)
            elif not stat.S_ISREG(status.st_mode):
                listing.special.append(f"{name} ({special(status.st_mode)})")
            elif kind_of(entry.name) is None:
                listing.others.append(name)
            elif entry.is_symlink():
                linked_files.append((name, _key(status)))
            else:
                files.add(_key(status))
                listing.files.append(name)
    for name, key in sorted(linked_files):
        (listing.repeated if key in files else listing.files).append(name)
        files.add(key)
    listing.files.sort()
    return listing


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise DataError(f"folder {str(path)!r} cannot be read: {error.strerror}; check its permissions") from None


def _key(status: os.stat_result) -> tuple[int, int]:
    return status.st_dev, status.st_ino
