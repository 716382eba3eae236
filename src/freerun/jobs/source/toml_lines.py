"""On which line of a TOML file each key and each element of an array stands: tomllib does not tell.

The text is known to be valid TOML; this only finds places in it.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator

Path = tuple[str | int, ...]
"""Keys, and places in arrays: `("latent", "author", "value", 2, "prior")`."""

_BARE = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-")


def toml_lines(text: str) -> dict[Path, int]:
    r"""Return the line, from 1, of every table, key and element of an array that is written out line by line.

    Inside inline tables nothing is found; their own line stands for it.

    >>> toml_lines("a = 1\n[[b]]\nc = [\n  'x',\n  'y',\n]\n")[("b", 0, "c", 1)]
    5
    """
    return dict(_Places(text).found())


def line_of(lines: dict[Path, int], path: Path) -> int:
    """The line of a path, or of the nearest thing around it that has one."""
    for n in range(len(path), 0, -1):
        if path[:n] in lines:
            return lines[path[:n]]
    return 1


class _Places:
    """A reader that goes through the text once."""

    def __init__(self, text: str) -> None:
        self.text, self.at = text, 0
        self.starts = [0, *(i + 1 for i, c in enumerate(text) if c == "\n")]
        self.lengths: dict[Path, int] = {}

    def found(self) -> Iterator[tuple[Path, int]]:
        table: Path = ()
        while self._skip_blank(lines=True):
            line = self._line()
            if self._peek() == "[":
                double = self.text.startswith("[[", self.at)
                self.at += 1 + double
                keys = self._keys("]")
                table = self._table(keys, double)
                self.at += 1 + double
                yield table, line
                continue
            path = (*table, *self._keys("="))
            self.at += 1
            yield path, line
            yield from self._value(path)

    def _table(self, keys: Path, double: bool) -> Path:
        path: Path = ()
        for i, key in enumerate(keys):
            path = (*path, key)
            if double and i == len(keys) - 1:
                self.lengths[path] = self.lengths.get(path, 0) + 1
            if path in self.lengths:
                path = (*path, self.lengths[path] - 1)
        return path

    def _keys(self, end: str) -> Path:
        """A dotted key up to `end`, which is not taken."""
        keys: list[str] = []
        while self._skip_blank() and self._peek() != end:
            if self._peek() in "\"'":
                start = self.at + 1
                self._string()
                keys.append(self.text[start : self.at - 1])
            elif self._peek() in _BARE:
                start = self.at
                while self.at < len(self.text) and self._peek() in _BARE:
                    self.at += 1
                keys.append(self.text[start : self.at])
            else:  # the dot between two
                self.at += 1
        return tuple(keys)

    def _value(self, path: Path) -> Iterator[tuple[Path, int]]:
        """Go over a value; the elements of an array have places."""
        self._skip_blank()
        if self._peek() != "[":
            self._over()
            return
        self.at += 1
        n = 0
        while self._skip_blank(lines=True) and self._peek() != "]":
            if self._peek() == ",":
                self.at += 1
                continue
            yield (*path, n), self._line()
            n += 1
            self._over()
        self.at += 1

    def _over(self) -> None:
        """Go over one value: to the comma, bracket or line end after it."""
        depth = 0
        while self.at < len(self.text):
            c = self._peek()
            if c in "\"'":
                self._string()
                continue
            if depth == 0 and c in ",]}\n#":
                return
            if c == "#":
                self._skip_blank()
                continue
            depth += (c in "[{") - (c in "]}")
            self.at += 1

    def _string(self) -> None:
        quote = self._peek()
        mark = quote * 3 if self.text.startswith(quote * 3, self.at) else quote
        self.at += len(mark)
        while self.at < len(self.text) and not self.text.startswith(mark, self.at):
            self.at += 2 if quote == '"' and self._peek() == "\\" else 1
        self.at += len(mark)
        while len(mark) == 3 and self._peek() == quote:  # up to two quotes may stand before the closing three
            self.at += 1

    def _skip_blank(self, *, lines: bool = False) -> bool:
        """Go over blanks and comments (and line ends); whether anything is left."""
        while self.at < len(self.text):
            c = self._peek()
            if c == "#":
                end = self.text.find("\n", self.at)
                self.at = len(self.text) if end < 0 else end
            elif c in " \t\r" or (lines and c == "\n"):
                self.at += 1
            else:
                return True
        return False

    def _peek(self) -> str:
        return self.text[self.at : self.at + 1]

    def _line(self) -> int:
        return bisect_right(self.starts, self.at)
