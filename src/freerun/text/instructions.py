"""Short instructions with good answers, written by hand for this package and given to the public domain (CC0 1.0)."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path

from freerun.counted import counted
from freerun.text.conversations import USER, Message
from freerun.text.documents import Corpus, Document, assemble

ROWS = Path(__file__).with_name("instructions.jsonl")
"""A line each: id, prompt, response."""


@cache
def instructions() -> Corpus:
    """Return prompts with responses, each prompt a unit."""
    rows = [json.loads(line) for line in ROWS.read_text(encoding="utf-8").splitlines()]
    documents = [
        Document(id=row["id"], text=row["response"], unit=row["id"], before=(Message(USER, row["prompt"]),))
        for row in rows
    ]
    note = f"{counted(len(rows), 'short instruction')} with answers, written for freerun (CC0 1.0)"
    return assemble(documents, name="instructions", spec="builtin/instructions", notes=[note])
