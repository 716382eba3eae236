"""Lines of keys in TOML: the scanner knows strings, comments, arrays and tables."""

from __future__ import annotations

import tomllib

import pytest

from freerun.jobs.source.file import BUILTINS, _shipped
from freerun.jobs.source.toml_lines import line_of, toml_lines

TRICKY = r"""# [not.a.table]
a = "]  # no comment" # a comment with "quotes
b = [ "x", # first
  '''
  y = 3 ]
  ''',
  [1, 2], { c = "]" },
]
"quoted.key" = 'it'
[table."with space".inner]
d = @@@three
[lines]
@@@
[[row]]
e = 1
[row.sub]
f = 2
[[row]]
e.g = 3
""".replace("@@@", '"' * 3)


def test_every_place() -> None:
    tomllib.loads(TRICKY)
    found = toml_lines(TRICKY)
    assert found == {
        ("a",): 2,
        ("b",): 3,
        ("b", 0): 3,
        ("b", 1): 4,
        ("b", 2): 7,
        ("b", 3): 7,
        ("quoted.key",): 9,
        ("table", "with space", "inner"): 10,
        ("table", "with space", "inner", "d"): 11,
        ("row", 0): 14,
        ("row", 0, "e"): 15,
        ("row", 0, "sub"): 16,
        ("row", 0, "sub", "f"): 17,
        ("row", 1): 18,
        ("row", 1, "e", "g"): 19,
    }


def test_what_has_no_line_has_that_of_what_is_around_it() -> None:
    found = toml_lines(TRICKY)
    assert line_of(found, ("b", 3, "c")) == 7
    assert line_of(found, ("row", 1, "nothing")) == 18
    assert line_of(found, ("nothing",)) == 1


@pytest.mark.parametrize("name", [*BUILTINS, "template"])
def test_every_key_of_the_shipped_files_is_found(name: str) -> None:
    text = _shipped(name)
    found = toml_lines(text)
    lines = text.splitlines()

    def check(value: object, path: tuple[str | int, ...]) -> None:
        if isinstance(value, dict):
            for key, inner in value.items():
                check(inner, (*path, key))
        elif isinstance(value, list):
            for i, inner in enumerate(value):
                check(inner, (*path, i))
        else:
            assert path in found, path
            shown = lines[found[path] - 1]
            key = next(p for p in reversed(path) if isinstance(p, str))
            assert key in shown or str(value).split("\n")[0][:5] in shown

    check(tomllib.loads(text), ())
