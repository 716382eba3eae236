"""Values, then words: nothing in the package is decided by looking into a sentence."""

from __future__ import annotations

import ast
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
