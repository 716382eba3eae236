"""How often is text without ids told from another law, and its rule named? `python -m studies.verify_text.run`

The 135M model writes several texts after each prompt, by several rules. They are taken to text and tokenised again, as `freerun
verify` does with a file that has no ids, and read once. Files are then put together from them: a text of each of some prompts is
"given", and two others of the declared law stand beside it. A file that is rejected goes the way of the command from there on: the
rule is chosen on half of the completions among all that are tried, and texts of that rule stand beside the other half. Only other
contexts (one beginning of text more, the chat template) are not tried here, and a rule that was not planted is not held against
texts of its own: a file for which it is the likeliest counts as named wrong.

What is drawn and read is kept in `runs/verify_text` and not done again; `--only RULE` draws and reads one of them. Writes
result.json beside this file, and docs/data/verify_text.md.
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from freerun.jobs.verify.drawn_again import OWN_TEXTS
from freerun.predictors.rules import MODEL_LAW, SamplingRule
from freerun.results.finding import to_json
from freerun.runs.provenance import provenance
from freerun.specs.spec import load_predictor
from freerun.stats.verification.battery import ALPHA, held_against_laws
from freerun.stats.verification.exchange import TextSums, exchange_test
from freerun.stats.verification.tokens import Alternatives, Bets, TokenLaws
from studies.files import json_text, write_files
from studies.verify.rates import Rate
from studies.verify_text.naming import GIVEN_DRAWS, TextFile, cause_of, words_of
from studies.verify_text.pool import MODEL, OWN, PROMPTS, Pool
from studies.verify_text.scored import Candidates, Read, Readings

HERE = Path(__file__).parent
PAGE = HERE.parents[1] / "docs" / "data" / "verify_text.md"
RULES = ("t=0.9", "top_k=50", "top_p=0.95")
PLANTED = tuple(map(SamplingRule.declared, RULES))
SIZES = (8, 24)
"""Completions of a file, each of a prompt of its own."""
CHOICES = 999
"""Random choices that make the null of one file: enough for the level of 0.001, and quicker than the 9,999 of `freerun verify`."""
LEVELS = (0.05, 0.01, 0.001)


def some_prompts(n: int, rng: np.random.Generator, draws: Sequence[int]) -> tuple[tuple[int, int], ...]:
    """Prompts of a file, and which draw of each stands in it."""
    chosen = rng.permutation(PROMPTS)[:n].tolist()
    return tuple((i, int(rng.choice(draws))) for i in chosen)


def groups_of(readings: Readings, file: TextFile, rng: np.random.Generator) -> list[list[TextSums]]:
    """Each given text with two of the declared law, no text twice, and all of a group stopped at the same number of tokens."""
    given, own = readings.reads(file.rule), readings.reads(MODEL_LAW)
    groups = []
    for prompt, draw in file.where:
        left = [k for k in rng.permutation(OWN) if not (file.rule.is_model_law and k == draw)][:OWN_TEXTS]
        members = [given[prompt][draw], *(own[prompt][k] for k in left)]
        n = min(m.whole for m in members)
        if n >= 2:
            groups.append([m.sums(n) for m in members])
    return groups


def size_of(readings: Readings, n: int, files: int, rng: np.random.Generator) -> dict[str, Any]:
    """Shares of the model's own files that are rejected, by level, and the tokens compared."""
    p_values, lengths = [], []
    for trial in range(files):
        file = TextFile(MODEL_LAW, some_prompts(n, rng, range(OWN)))
        found = exchange_test(groups_of(readings, file, rng), seed=trial, choices=CHOICES)
        p_values.append(found.p_value)
        lengths.append(found.n_tokens)
    tokens = round(float(np.mean(lengths)))
    rates = [to_json(Rate.of(f"rejected at {a}", tokens, [p <= a for p in p_values])) for a in LEVELS]
    return {"completions": n, "tokens_compared": tokens, "rates": rates}


def power_of(
    readings: Readings, candidates: dict[int, Candidates], rule: SamplingRule, n: int, files: int
) -> dict[str, Any]:
    """How often files of a rule are rejected, and what is named then."""
    rng = np.random.default_rng([3, n, *rule.describe().encode()])
    rejected, lengths, said = [], [], []
    for trial in range(files):
        file = TextFile(rule, some_prompts(n, rng, GIVEN_DRAWS))
        found = exchange_test(groups_of(readings, file, rng), seed=trial, choices=CHOICES)
        lengths.append(found.n_tokens)
        rejected.append(found.p_value <= ALPHA)
        if rejected[-1]:
            said.append(words_of(cause_of(readings, candidates, file, PLANTED, trial, rng)))
    tokens = round(float(np.mean(lengths)))
    right = sum(word == rule.describe() for word in said)
    return {
        "completions": n,
        "tokens_compared": tokens,
        "rejected": to_json(Rate.of("rejected", tokens, rejected)),
        "named": to_json(Rate.of("named right", tokens, [True] * right + [False] * (files - right))),
        "said": dict(Counter(said).most_common()),
    }


def naive_p(taken: Sequence[Read], seed: int) -> float:
    """What the tests on single tokens say of ids that were made anew."""
    tokens = TokenLaws.concatenate([t.tokens for t in taken])
    tokens.sequence[:] = np.repeat(np.arange(len(taken)), [t.tokens.n_tokens for t in taken])
    columns = zip(*(vars(t.other).values() for t in taken), strict=True)
    tested = tokens.is_tested
    other = Alternatives(*(np.concatenate(parts)[tested] for parts in columns))
    return held_against_laws(tokens, Bets.of(other, tokens.position[tested]), seed=seed).p_value


def naive_size(readings: Readings, files: int) -> list[dict[str, Any]]:
    """The tests on single tokens, on files with several texts of each prompt: the more tokens, the more is rejected wrongly."""
    rng, own = np.random.default_rng(7), readings.reads(MODEL_LAW)
    out = []
    for texts_each in (1, 2):
        p_values, lengths = [], []
        for trial in range(files):
            taken = [line[int(j)] for line in own for j in rng.permutation(len(line))[:texts_each]]
            p_values.append(naive_p(taken, trial))
            lengths.append(sum(t.tokens.n_tokens for t in taken))
        tokens = round(float(np.mean(lengths)))
        rates = [to_json(Rate.of(f"rejected at {a}", tokens, [p <= a for p in p_values])) for a in LEVELS]
        out.append({"tokens": tokens, "rates": rates})
    return out


def table(result: Mapping[str, Any]) -> str:
    """The page of docs/data."""

    def share(rate: Mapping[str, Any]) -> str:
        return f"{rate['rate']:.3g} ({rate['low']:.3g} to {rate['high']:.3g})"

    lines = [
        "<!-- written by: python -m studies.verify_text.run -->",
        "| drawn by | completions | tokens compared | files | rejected at 0.001 | named right | said of those rejected |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in result["size"]:
        rate = row["rates"][-1]
        counts = f"{row['completions']} | {row['tokens_compared']:,} | {rate['trials']:,}"
        lines.append(f"| the model's own law | {counts} | {share(rate)} | – | – |")
    for rule, rows in result["power"].items():
        for row in rows:
            said = "; ".join(f"{words} {n}" for words, n in row["said"].items()) or "–"
            lines.append(
                f"| {rule} | {row['completions']} | {row['tokens_compared']:,} | {row['rejected']['trials']} | "
                f"{share(row['rejected'])} | {share(row['named'])} | {said} |"
            )
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nulls", type=int, default=2000)
    parser.add_argument("--files", type=int, default=100, help="of each rule and size")
    parser.add_argument("--naive", type=int, default=200)
    parser.add_argument("--kept", default="runs/verify_text")
    parser.add_argument("--only", default=None, help="draw and read the texts of this rule, and stop")
    arguments = parser.parse_args()
    readings = Readings(Pool(Path(arguments.kept), load_predictor(MODEL)))
    if arguments.only is not None:
        rule = SamplingRule.declared(arguments.only)
        readings.reads(rule)
        if not rule.is_model_law:
            readings.candidates(rule, GIVEN_DRAWS)
        return
    reads = [read for line in readings.reads(MODEL_LAW) for read in line]
    rng = np.random.default_rng(1)
    result: dict[str, Any] = {
        "prompts": PROMPTS,
        "tokens_drawn": sum(r.n_drawn for r in reads),
        "changed_share": sum(r.n_changed for r in reads) / sum(r.n_drawn for r in reads),
        "size": [size_of(readings, n, arguments.nulls, rng) for n in SIZES],
        "naive_size": naive_size(readings, arguments.naive),
        "power": {},
    }
    print(result["size"], result["naive_size"], flush=True)
    for typed in RULES:
        rule = SamplingRule.declared(typed)
        candidates = readings.candidates(rule, GIVEN_DRAWS)
        rows = [power_of(readings, candidates, rule, n, arguments.files) for n in SIZES]
        result["power"][rule.describe()] = rows
        print(typed, rows, flush=True)
    result["provenance"] = provenance()
    write_files(HERE, {"result.json": json_text(result), str(PAGE): table(result)})


if __name__ == "__main__":
    main()
