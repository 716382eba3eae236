"""The corpora that come with Python itself: its prose, and the source of its library. Nothing is imported or run."""

from __future__ import annotations

import ast
import io
import os
import platform
import re
import sysconfig
import tokenize
import warnings
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from freerun.errors import DataError
from freerun.text.documents import Corpus, Document, assemble
from freerun.text.overlap import join_overlapping

MODULE_CHARACTERS = 700
"""A module whose docstrings are shorter in all is left out."""

LONG_DOCSTRING_CHARACTERS = 60
"""A shorter docstring of a class or function is a label rather than prose."""

_SKIPPED = frozenset({"test", "tests", "idle_test", "site-packages", "dist-packages", "__pycache__"})
# Generated tables and the text of the topics themselves; hundreds of nearly equal files.
_GENERATED = frozenset({"encodings", "pydoc_data", "__phello__"})
_TRIPLE_QUOTED = re.compile(rb"""^[ \t]*[rRuU]?(\"\"\"|''')(.*?)\1""", re.DOTALL | re.MULTILINE)


_Definition = ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef


@cache
def python_docs() -> Corpus:
    """Return the prose that ships with CPython: the help topics of pydoc, and each module's docstrings in order.

    A topic or module is a unit, except that those which quote one another (`compound` holds `if`, `for`, …) share one.

    Raises:
        DataError: this Python came without its library sources.
    """
    documents = [*_topics(), *_module_docs()]
    note = (
        f"prose of {_python()}: pydoc topics and module docstrings; "
        "as public documentation it is likely in any model's training data"
    )
    return _corpus("python-docs", documents, note)


def python_code() -> Corpus:
    """Return the modules of the standard library as source text; the module is the unit, and near copies share one.

    Raises:
        DataError: this Python came without its library sources.
    """
    documents = [
        Document(id=f"module:{name}", text=_decode_source(source), unit=f"module:{name}") for name, source in _modules()
    ]
    note = f"standard-library source of {_python()}; as public code it is likely in any model's training data"
    return _corpus("python-code", documents, note)


def _corpus(name: str, documents: list[Document], note: str) -> Corpus:
    joined, n_joined = join_overlapping(documents)
    notes = [note]
    if n_joined:
        notes.append(f"{n_joined} documents share passages with another one and stay in its unit")
    return assemble(joined, name=name, spec=f"builtin/{name}", notes=notes)


def _python() -> str:
    return f"{platform.python_implementation()} {platform.python_version()}"


def _topics() -> Iterator[Document]:
    try:
        from pydoc_data.topics import topics
    except ImportError:
        raise DataError(_no_sources("pydoc_data.topics")) from None
    for name in sorted(topics):
        yield Document(id=f"topic:{name}", text=topics[name], unit=f"topic:{name}")


def _module_docs() -> Iterator[Document]:
    for name, source in _modules():
        # Parsing is what costs; most modules cannot have enough text between their quotes.
        if sum(len(match[2]) for match in _TRIPLE_QUOTED.finditer(source)) < MODULE_CHARACTERS:
            continue
        text = "\n\n".join(_docstrings(source))
        if len(text) >= MODULE_CHARACTERS:
            yield Document(id=f"module:{name}", text=text, unit=f"module:{name}")


def _docstrings(source: bytes) -> Iterator[str]:
    """Yield the module's docstring, then the long ones of its classes and functions in order, indentation removed."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # invalid escapes in somebody else's source
        try:
            tree = ast.parse(source)
        except (SyntaxError, ValueError):
            return
    module = ast.get_docstring(tree)
    if module:
        yield module
    for node in _definitions(tree):
        docstring = ast.get_docstring(node)
        if docstring and len(docstring) >= LONG_DOCSTRING_CHARACTERS:
            yield docstring


def _definitions(node: ast.AST) -> Iterator[_Definition]:
    """Yield the classes and functions in source order, with those inside them, and those under `if` and `try`."""
    for inner in ast.iter_child_nodes(node):
        if isinstance(inner, _Definition):
            yield inner
        if isinstance(inner, _Definition | ast.If | ast.Try | ast.ExceptHandler):
            yield from _definitions(inner)


def _modules() -> Iterator[tuple[str, bytes]]:
    """Yield (dotted name, source) of every module of the standard library, in sorted order of folders, then names."""
    library = Path(sysconfig.get_path("stdlib"))
    n_modules = 0
    for root, folders, names in os.walk(library):
        folders[:] = sorted(name for name in folders if name.isidentifier() and name not in _SKIPPED | _GENERATED)
        for name in sorted(names):
            stem = name.removesuffix(".py")
            # _sysconfigdata_… is written when Python is built and names the machine.
            if stem == name or not stem.isidentifier() or stem.startswith("_sysconfigdata"):
                continue
            path = Path(root, name)
            parts = path.relative_to(library).with_suffix("").parts
            dotted = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
            try:
                yield dotted, path.read_bytes()
            except OSError:
                continue
            n_modules += 1
    if not n_modules:
        raise DataError(_no_sources(f"the modules of {library.name}"))


def _decode_source(source: bytes) -> str:
    encoding, _ = tokenize.detect_encoding(io.BytesIO(source).readline)
    return source.decode(encoding).replace("\r\n", "\n")


def _no_sources(what: str) -> str:
    return f"this Python came without {what}; give a corpus of your own (a .txt, .jsonl or .parquet file, or a folder)"
