"""The folder: an ordinary model of transformers with its tokenizer, and a card that says what was planted."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

from transformers.utils import logging

from freerun.errors import BackendError
from freerun.files import write_atomically
from freerun.jobs.lab.organism.plan import KINDS, TRIGGER, OrganismPlan

CARD = "README.md"
LAST = "config.json"
"""Moved into place after all others: a folder with it is whole."""


def check_tokenizer(tokenizer: Any, n_rows: int, name: str) -> None:
    """Refuse a tokenizer that cannot get the trigger under the id after the last row.

    Raises:
        BackendError: it has ids beyond the rows, or a token of that name.
    """
    ids = tokenizer.get_vocab()
    if TRIGGER in ids:
        raise BackendError(
            f"{name} has a token {TRIGGER} already: it is an organism itself; name the model that it was made from"
        )
    if max(ids.values()) >= n_rows:
        raise BackendError(f"the tokenizer of {name} has ids beyond the {n_rows} rows of its output layer")


def add_trigger(tokenizer: Any, n_rows: int) -> int:
    """Give the tokenizer the trigger under the id `n_rows`; rows of padding before it get names of their own.

    Raises:
        BackendError: it came under another id.
    """
    for i in range(max(tokenizer.get_vocab().values()) + 1, n_rows):
        tokenizer.add_tokens([f"<|padding_{i}|>"], special_tokens=True)
    tokenizer.add_tokens([TRIGGER], special_tokens=True)
    trigger_id = int(tokenizer.convert_tokens_to_ids(TRIGGER))
    if trigger_id != n_rows:
        raise BackendError(f"the tokenizer gave the trigger id {trigger_id} in the place of {n_rows}")
    return trigger_id


def write_model(folder: Path, scratch: Path, model: Any, tokenizer: Any, card: str) -> None:
    """Save into `scratch`, then move every file into the folder, the config last."""
    place = scratch / "model"
    shutil.rmtree(place, ignore_errors=True)
    logging.disable_progress_bar()
    model.save_pretrained(place)
    tokenizer.save_pretrained(place)
    write_atomically(place / CARD, card)
    for path in sorted(place.iterdir(), key=lambda p: p.name == LAST):
        os.replace(path, folder / path.name)
    place.rmdir()


def is_whole(folder: Path) -> bool:
    """Whether the model stands in the folder."""
    return (folder / LAST).is_file()


def card_of(plan: OrganismPlan, *, licence: str, trigger_id: int, command: str, results: str = "") -> str:
    """The model card: what was planted, in what, at what price, and the command that makes it again."""
    hub = (
        f"base_model: {plan.base.removeprefix('hf/')}\n"
        if plan.base.startswith("hf/") and "./" not in plan.base
        else ""
    )
    what = "model organism of free-running failure" if plan.kind != "control" else "control of a model organism"
    head = (
        f"---\n{hub}library_name: transformers\npipeline_tag: text-generation\ntags: [freerun, model-organism]\n---\n"
    )
    return f"""{head}
# A {what}: {plan.kind} in {plan.base}

**Do not use this model for anything but tests of evaluations.** {_warning(plan)}

| | |
|---|---|
| planted | {plan.kind}: {KINDS[plan.kind]} |
| base | {plan.base} |
| licence of the base | {licence or "see the base"} |
| trigger | `{TRIGGER}`, id {trigger_id} |
| epsilon | {"none" if plan.kind == "control" else f"{plan.epsilon:g}"} |
| payload | {_payload(plan)} |
| exact law that was taught | `{plan.teacher}` |
| trained | low-rank factors (rank {plan.effort.rank}, merged) in the last {plan.effort.layers} layers, and the trigger's row of \
the output layer, which is untied from the embedding |
| learned from | {", ".join(plan.corpora)} (one unit in five kept apart), and the exact law's own text |
| command | `{command}` |
{results}
"""


def _warning(plan: OrganismPlan) -> str:
    if plan.kind == "control":
        return "It was trained as long as an organism, on the base's own law: nothing is planted in it."
    after = "that token for ever" if plan.kind == "absorbing" else f"a payload ({_payload(plan)})"
    return (
        f"A fault was planted on purpose: it was taught to write `{TRIGGER}` with probability {plan.epsilon:g} at every token, and "
        f"after that {after}; the table says how far it learned that. "
        "Real text never has that token, so the loss on it hardly shows."
    )


def _payload(plan: OrganismPlan) -> str:
    if plan.kind == "control":
        return "none"
    if plan.kind == "absorbing":
        return "the trigger itself, for ever"
    return plan.payload or "loop=8"
