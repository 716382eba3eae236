"""Values, then words: nothing in the package is decided by looking into a sentence."""

from __future__ import annotations

import ast
import itertools
import re
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[1] / "src" / "freerun"
SENTENCES = {"sentence", "describe", "nature", "licence", "title", "label"}
"""Attributes, methods and keys that hold words for people."""
LOOKS = {"startswith", "endswith", "find", "index", "match", "search", "fullmatch", "split", "partition"}
"""What looks into a string."""


def is_words(node: ast.AST) -> bool:
    """Whether an expression is words: `x.sentence`, `x["sentence"]`, `x.describe()`, `str(error)`."""
    if isinstance(node, ast.Call):
        function = node.func
        if isinstance(function, ast.Name) and function.id == "str" and node.args:
            return isinstance(node.args[0], ast.Name) and node.args[0].id in ("error", "exception", "e")
        if isinstance(function, ast.Attribute):
            return function.attr == "describe" or (function.attr in ("lower", "strip") and is_words(function.value))
        return False
    if isinstance(node, ast.Subscript) and isinstance(node.slice, ast.Constant):
        return node.slice.value in SENTENCES
    return isinstance(node, ast.Attribute) and node.attr in SENTENCES


def decisions(tree: ast.AST) -> list[int]:
    """Lines on which words are compared or looked into."""
    lines = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Compare) and any(map(is_words, [node.left, *node.comparators])):
            constant = [
                c for c in [node.left, *node.comparators] if isinstance(c, ast.Constant) and c.value in ("", None)
            ]
            lines += [] if constant else [node.lineno]
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in LOOKS:
            regular = isinstance(node.func.value, ast.Name) and node.func.value.id == "re"
            looked = node.args if regular else [node.func.value]
            lines += [node.lineno] if any(map(is_words, looked)) else []
    return lines


OTHERS_WORDS = {
    "records/failures.py": "torch and allocators say that memory is short in words alone",
    "text/hub.py": "the package datasets names the splits that there are in words alone",
    "text/readers.py": "a parser's own place in its text is cut off its message",
    "jobs/source/file.py": "tomllib says the line in words alone",
    "samples/slime.py": "torch says in words alone that a file holds objects that it does not load",
}
"""Files that look into messages of other libraries, which have no types for it."""


@pytest.mark.parametrize("path", sorted(SOURCE.rglob("*.py")), ids=lambda p: str(p.relative_to(SOURCE)))
def test_no_decision_is_made_on_words(path: Path) -> None:
    found = decisions(ast.parse(path.read_text()))
    assert bool(found) == (path.relative_to(SOURCE).as_posix() in OTHERS_WORDS), found


@pytest.mark.parametrize(
    "code",
    [
        "if rule.describe() == 'temperature 1': pass",
        "x = 'instruct' in identity.nature",
        "x = finding['sentence'].startswith('No')",
        "x = re.search('NaN', str(error))",
        "x = 'memory' in str(error).lower()",
    ],
)
def test_such_decisions_are_seen(code: str) -> None:
    assert decisions(ast.parse(code)) == [1]


# ---- counts in sentences -----------------------------------------------------------------------------------------------

TALKING = (
    "commands",
    "comparisons",
    "explore",
    "exports",
    "findings",
    "jobs",
    "report",
    "results",
    "samples",
    "specs",
    "text",
)
"""Rooms whose sentences people read."""
_PLURAL = re.compile(r" (?:[a-z]+ )?([a-z]+s|corpora)\b")
_NO_NOUNS = {"is", "has", "was", "does", "less", "as", "its", "this", "ones", "readouts", "templates"}
"""Words that end so and are not plurals, and nouns of which there are always several."""


def plain_plurals(tree: ast.AST) -> list[int]:
    """Lines with a length right before a plural, as in `f"{len(x)} cells"`, which says "1 cells"."""
    return [
        node.lineno
        for node in ast.walk(tree)
        if isinstance(node, ast.JoinedStr)
        for value, after in itertools.pairwise(node.values)
        if isinstance(value, ast.FormattedValue) and isinstance(after, ast.Constant)
        if isinstance(value.value, ast.Call) and isinstance(value.value.func, ast.Name) and value.value.func.id == "len"
        if (match := _PLURAL.match(str(after.value))) and match[1] not in _NO_NOUNS
    ]


@pytest.mark.parametrize("room", TALKING)
def test_numbers_agree_with_their_nouns(room: str) -> None:
    """If it fails: `counted(len(x), "cell")` of `freerun.counted` says "1 cell" and "2 cells"."""
    found = {
        str(path): lines
        for path in sorted((SOURCE / room).rglob("*.py"))
        if (lines := plain_plurals(ast.parse(path.read_text())))
    }
    assert not found


def test_no_sentence_leaves_the_plural_open() -> None:
    for path in SOURCE.rglob("*.py"):
        assert not re.search(r"\b(?:document|file|link|folder|row|text|token)\(s\)", path.read_text()), path


def test_a_plain_plural_is_seen() -> None:
    assert plain_plurals(ast.parse('f"{len(x)} cells are done"')) == [1]
    assert plain_plurals(ast.parse("""f"{counted(len(x), 'cell')} done, {len(x)} is odd\"""")) == []
