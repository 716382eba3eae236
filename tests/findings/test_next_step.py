"""What to type next, where there are few documents: more of the corpus, shorter texts, or more texts from elsewhere."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import freerun

MODEL = "ngram/2@builtin/python-docs"
WORDS = ("the", "module", "returns", "a", "value", "if", "not", "string", "is", "of", "this", "and")


def corpus(folder: Path, *, long: int, short: int) -> str:
    """So many documents of 60 words, and of 1."""
    rng = np.random.default_rng(5)
    texts = [" ".join(rng.choice(WORDS, n)) for n, many in ((60, long), (1, short)) for _ in range(many)]
    path = folder / "texts.jsonl"
    path.write_text("".join(json.dumps({"text": f"{i} {text}"}) + "\n" for i, text in enumerate(texts)))
    return str(path)


@pytest.mark.parametrize(
    ("long", "short", "words", "typed"),
    [
        (50, 0, "Take more documents: the same command with", "--documents 64"),
        (20, 7, "7 documents are too short for 64 tokens after the cut", "--tokens 32"),
        (20, 0, "The corpus has no other documents", f"freerun audit {MODEL} MORE_TEXTS"),
    ],
)
def test_advice_for_few_documents(tmp_path: Path, long: int, short: int, words: str, typed: str) -> None:
    text = corpus(tmp_path, long=long, short=short)
    run = freerun.audit(MODEL, text, out=tmp_path / "run", documents=20, prefix=16, tokens=64)
    step = run.result["verdict"]["next_step"]
    assert words in step["words"]
    assert step["type"] == typed


def test_a_world_always_has_more(tmp_path: Path) -> None:
    run = freerun.audit("world/markov", "world/markov", out=tmp_path / "run", documents=20, prefix=4, tokens=12)
    assert run.result["verdict"]["next_step"]["type"] == "--documents 64"


def test_a_first_look_at_few_documents_says_that_all_are_few(tmp_path: Path) -> None:
    options = {"documents": 40, "prefix": 4, "tokens": 12, "quick": True}
    run = freerun.audit("world/markov", "world/markov", out=tmp_path / "run", **options)
    step = run.result["verdict"]["next_step"]
    assert (step["type"], "few, too" in step["words"]) == ("--quick", True)
