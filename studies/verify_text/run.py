"""How often is text without ids told from another law? `python -m studies.verify_text.run` (20 minutes on two cores).

The 135M model writes several texts after each prompt, by several rules. They are taken to text and tokenised again, as `freerun
verify` does with a file that has no ids, and read once. Files are then put together from them: a text of each prompt is "given",
and two others of the model's own law stand beside it. What is drawn and read is kept in `runs/verify_text` and not done again.
Writes result.json beside this file.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np

from freerun.jobs.verify.drawn_again import OWN_TEXTS
from freerun.results.finding import to_json
from freerun.runs.provenance import provenance
from freerun.specs.spec import load_predictor
from freerun.stats.verification.battery import held_against_laws
from freerun.stats.verification.exchange import TextSums, exchange_test
from freerun.stats.verification.tokens import Alternatives, Bets, TokenLaws
from studies.files import json_text, write_files
from studies.verify.rates import Rate
from studies.verify_text.pool import MODEL, pool_at
from studies.verify_text.scored import Read, Texts, read_pool

HERE = Path(__file__).parent
PROMPTS, OWN, OTHER = 12, 8, 2
"""Prompts; texts of each that are read, by the model's own law and by another rule."""
RULES = ("t=0.9", "top_k=50", "top_p=0.95")
SIZES = ((8, 1), (12, 2))
"""Prompts of a file, and completions of each."""
CHOICES = 999
"""Random choices that make the null of one file: enough for the level of 0.001, and quicker than the 9,999 of `freerun verify`."""
LEVELS = (0.05, 0.01, 0.001)


class Files:
    """Files of some prompts each: given texts, and own ones beside them."""

    def __init__(self, own: Texts, rng: np.random.Generator) -> None:
        self.own, self.rng = own, rng

    def groups(self, given: Texts, n_prompts: int, n_each: int) -> list[list[TextSums]]:
        """Each given text with own ones, no text twice, and all of a group stopped at the same number of tokens."""
        groups = []
        for i in self.rng.permutation(len(self.own))[:n_prompts]:
            first = self.rng.permutation(len(given[i]))[:n_each]
            left = [k for k in self.rng.permutation(len(self.own[i])) if given is not self.own or k not in first]
            for g, j in enumerate(first):
                own = left[g * OWN_TEXTS : (g + 1) * OWN_TEXTS]
                members = [given[i][j], *(self.own[i][k] for k in own)]
                length = min(m.whole for m in members)
                groups.append([_sums(m, length) for m in members])
        return groups


def _sums(read: Read, n: int) -> TextSums:
    first = slice(0, n)
    return TextSums.of(read.tokens.take(first), _first(read.other, first))


def _first(other: Alternatives, rows: slice) -> Alternatives:
    return Alternatives(*(values[rows] for values in vars(other).values()))


def naive_p(taken: list[Read], seed: int) -> float:
    """What the tests on single tokens say of ids that were made anew."""
    tokens = TokenLaws.concatenate([t.tokens for t in taken])
    tokens.sequence[:] = np.repeat(np.arange(len(taken)), [t.tokens.n_tokens for t in taken])
    other = Alternatives(
        *(np.concatenate(parts) for parts in zip(*(vars(t.other).values() for t in taken), strict=True))
    )
    tested = tokens.is_tested
    bets = Bets.of(_first(other, tested), tokens.position[tested])  # type: ignore[arg-type]
    return held_against_laws(tokens, bets, seed=seed).p_value


def measured(files: Files, given: Texts, n_prompts: int, n_each: int, trials: int) -> dict[str, Any]:
    """Shares of files that are rejected, by level, and the tokens compared."""
    p_values, lengths = [], []
    for trial in range(trials):
        found = exchange_test(files.groups(given, n_prompts, n_each), seed=trial, choices=CHOICES)
        p_values.append(found.p_value)
        lengths.append(found.n_tokens)
    tokens = round(float(np.mean(lengths)))
    return {
        "completions": n_prompts * n_each,
        "tokens_compared": tokens,
        "rates": [to_json(Rate.of(f"rejected at {a}", tokens, [p <= a for p in p_values])) for a in LEVELS],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nulls", type=int, default=200)
    parser.add_argument("--trials", type=int, default=40)
    parser.add_argument("--kept", default="runs/verify_text")
    arguments = parser.parse_args()
    kept, model = Path(arguments.kept), load_predictor(MODEL)
    pool = pool_at(kept, model)
    own = read_pool(kept, model, pool, "t=1", PROMPTS, OWN)
    files = Files(own, np.random.default_rng(1))
    reads = [read for line in own for read in line]
    result: dict[str, Any] = {
        "prompts": PROMPTS,
        "texts_each": OWN,
        "tokens_drawn": sum(r.n_drawn for r in reads),
        "changed_share": sum(r.n_changed for r in reads) / sum(r.n_drawn for r in reads),
        "size": [measured(files, own, *size, arguments.nulls) for size in SIZES],
        "power": {},
    }
    print(result["size"], flush=True)
    for rule in RULES:
        given = read_pool(kept, model, pool, rule, PROMPTS, OTHER)
        result["power"][rule] = [measured(files, given, *size, arguments.trials) for size in SIZES]
        print(rule, result["power"][rule], flush=True)
    result["naive_size"] = _naive(files, own, arguments.nulls)
    result["provenance"] = provenance()
    write_files(HERE, {"result.json": json_text(result)})


def _naive(files: Files, own: Texts, nulls: int) -> list[Any]:
    """The tests on single tokens, on files with several texts of each prompt: the more tokens, the more is rejected wrongly."""
    out = []
    for texts_each in (1, OWN):
        p_values, lengths = [], []
        for trial in range(nulls // 5):
            taken = [line[int(j)] for line in files.own for j in files.rng.permutation(len(line))[:texts_each]]
            p_values.append(naive_p(taken, trial))
            lengths.append(sum(t.tokens.n_tokens for t in taken))
        tokens = round(float(np.mean(lengths)))
        out.append(
            {
                "tokens": tokens,
                "rates": [to_json(Rate.of(f"rejected at {a}", tokens, [p <= a for p in p_values])) for a in LEVELS],
            }
        )
    return out


if __name__ == "__main__":
    main()
