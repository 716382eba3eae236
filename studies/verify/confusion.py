"""A confusion table of causes: what is planted, and what is named. `python -m studies.verify.confusion`.

Files are drawn from laws that the 135M model gave in real contexts (`laws.py`), and decided by the code of `freerun verify` itself:
the tests, the search for a cause, its fit and its test. Only the numbers that a model would be read for are looked up. With
`--on-disk` the first files of every sampler are also written and given to `freerun.verify` as they are: both must say the same.
`--others` does the rows of other weights. Writes confusion.json and docs/data/confusion.md.
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int

from freerun.findings.verification.evidence import both_p, other_model
from freerun.jobs.verify.causes import Search, Variant, find_cause
from freerun.jobs.verify.scoring import spread
from freerun.jobs.verify.texts import Survey
from freerun.jobs.verify.verify import verify
from freerun.predictors.rules import MODEL_LAW
from freerun.predictors.token_laws import Declared
from freerun.results.verify import Cause
from freerun.runs.provenance import provenance
from freerun.samples.completion import Completion
from freerun.samples.writing import write_samples
from freerun.stats.intervals import clopper_pearson
from freerun.stats.verification.battery import ALPHA, held_against_laws
from freerun.stats.verification.tokens import N_BEGINNINGS, Bets, TokenLaws
from studies.files import json_text, write_files
from studies.verify.laws import NAMES, Name
from studies.verify.looked_up import KEPT, Batch, File, LookedUp, World, world_at
from studies.verify.planted import FILES, NONE, PLANTED, Planted, drawn_sheets

HERE = Path(__file__).parent
PAGE = HERE.parents[1] / "docs" / "data" / "confusion.md"
CAUSE_TOKENS = 8192


# ---- one file --------------------------------------------------------------------------------------------------------


def label_of(match: str, cause: Cause) -> str:
    """What was said of a file, as a column of the table."""
    if match != "differs":
        return match
    if cause.kind in ("rule", "other_law"):
        assert cause.candidate is not None
        words = "" if not cause.candidate.steps else f", {cause.candidate.words}"
        laws = {
            "model": "",
            "bos_added": "one more beginning of text",
            "bos_removed": "no beginning of text",
            "other_model": "the other model",
        }
        return (laws[cause.candidate.law] + words).removeprefix(", ")
    return {"none_of_these": NONE, "ends_chosen": "ends", "beginning_not_drawn": "a beginning"}.get(
        cause.kind, cause.kind
    )


def judged(file: File, seed: int) -> str:
    """The verdict and the cause of a file."""
    world, planted = file.batch.world, file.planted
    tokens, other = file.scores("model", MODEL_LAW)
    bets = Bets.of(other, tokens.position)
    chosen = np.array(spread(np.bincount(file.sequence).tolist(), CAUSE_TOKENS))
    p = held_against_laws(tokens, bets, seed=seed).p_value
    if planted.other:
        p = both_p(p, _second(file, tokens, chosen))
    if p >= ALPHA:
        return label_of("agrees", Cause("none_needed"))
    texts = file.texts(chosen.tolist())
    model = world.replayed["model"]
    bos = np.array([1])
    variants = [
        Variant("model", model, texts),
        Variant("bos_added", model, [replace(t, prompt=np.concatenate([bos, t.prompt])) for t in texts]),
        Variant("bos_removed", model, [replace(t, prompt=t.prompt[1:]) for t in texts]),
    ]
    if planted.other:
        variants.append(Variant("other_model", world.replayed[planted.other], texts))
    search = Search(
        declared=Declared(MODEL_LAW, world.end_ids),
        variants=tuple(variants),
        passes=LookedUp(file, chosen),
        recorded_nats=tokens.log_prob_nats[np.isin(tokens.sequence, chosen)],
        seed=seed,
        floor_nats=0.0,
        say=lambda _: None,
    )
    return label_of("differs", find_cause(tokens, bets, _survey(tokens, file), search))


def _second(file: File, tokens: TokenLaws, chosen: Int[np.ndarray, " texts"]) -> float:
    """The logarithm of the second model's e-value."""
    assert file.planted.other is not None
    stand = file.batch.stands[file.planted.other]
    sheets, rows = file.where
    there = np.isin(file.sequence, chosen)
    other = stand.log_prob[sheets - stand.first, rows]
    return other_model(other[there], tokens.log_prob_nats[there], 0.0).log_e


def _survey(tokens: TokenLaws, file: File) -> Survey:
    found = Survey(n_texts=int(file.sequence.max()) + 1)
    sheets, rows = file.where
    ids = file.batch.sheets.ids[sheets, rows]
    for t in range(N_BEGINNINGS):
        found.beginnings[t].update(ids[tokens.position == t].tolist())
    return found


def from_disk(file: File, seed: int, folder: Path) -> str:
    """The same by `freerun.verify` on a file."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "samples.jsonl"
    rows = [Completion(t.row, prompt_ids=t.prompt, completion_ids=t.completion, group=str(t.row)) for t in file.texts()]
    write_samples(path, rows)
    result = verify(path, file.batch.world.replayed["model"], out=folder / "out", ends="present", seed=seed)
    return label_of(result.verdict.match, result.cause)


# ---- all files -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Row:
    """A sampler with what was said of its files; limits are Clopper and Pearson's, 95%."""

    planted: str
    tokens: float
    files: int
    causes: dict[str, int]
    right: float
    low: float
    high: float
    on_disk: dict[str, int]
    """Files that were also given to the command: `same`, `other` by whether it said the same."""


def rows_of(world: World, some: Sequence[Planted], files: int, on_disk: int) -> Iterator[Row]:
    logits = {name: kept.logits for name, kept in world.kept.items()}
    batch = Batch(world, drawn_sheets(some, world.contexts, logits, world.end_ids, files), some)
    for planted in some:
        yield _row_of(batch, planted, files, on_disk)


def _row_of(batch: Batch, planted: Planted, files: int, on_disk: int) -> Row:
    first = batch.sheets.of[planted.drawn].start
    made = [File(batch, planted, first + i * planted.sheets) for i in range(files)]
    said = [judged(file, seed) for seed, file in enumerate(made)]
    folder = KEPT / "confusion" / planted.name.replace(" ", "-")
    checks = [] if planted.other else [from_disk(f, i, folder / str(i)) for i, f in enumerate(made[:on_disk])]
    same = Counter("same" if said[i] == label else "other" for i, label in enumerate(checks))
    right = clopper_pearson(sum(label in planted.right for label in said), files)
    mean = float(np.mean([len(f.sequence) for f in made]))
    causes = dict(Counter(said).most_common())
    return Row(planted.name, mean, files, causes, right.value, right.low, right.high, dict(same))


def table(rows: Sequence[Mapping[str, Any]]) -> str:
    """The page of docs/data: what is planted, how often what is right was said, and all that was said."""
    lines = [
        "<!-- written by: python -m studies.verify.confusion -->",
        "| planted | tokens | files | right | said |",
        "|---|---|---|---|---|",
    ]
    for row in rows:
        said = "; ".join(f"{cause} {n}" for cause, n in row["causes"].items())
        right = f"{row['right']:.0%} ({row['low']:.0%} to {row['high']:.0%})"
        lines.append(f"| {row['planted']} | {row['tokens']:,.0f} | {row['files']} | {right} | {said} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=FILES)
    parser.add_argument("--only", default="", help="samplers whose name begins like this")
    parser.add_argument("--others", action="store_true", help="other weights only; without it, the model's own")
    parser.add_argument(
        "--on-disk", type=int, default=0, help="files of each sampler that are given to the command too"
    )
    arguments = parser.parse_args()
    own: tuple[Name, ...] = ("model", "bos_added", "bos_removed")
    some = [p for p in PLANTED if (p.law not in own) == arguments.others and p.name.startswith(arguments.only)]
    path = HERE / "confusion.json"
    rows = {} if not path.exists() else {r["planted"]: r for r in json.loads(path.read_text())["rows"]}
    for row in rows_of(
        world_at(KEPT / "laws", NAMES if arguments.others else own), some, arguments.files, arguments.on_disk
    ):
        print(row, flush=True)
        rows[row.planted] = asdict(row)
        ordered = [rows[p.name] for p in PLANTED if p.name in rows]
        found = {"rows": ordered, "provenance": provenance()}
        write_files(HERE, {"confusion.json": json_text(found), str(PAGE): table(ordered)})


if __name__ == "__main__":
    main()
