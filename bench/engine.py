"""freerun's engine side by side with its peers, in one run: `python bench/engine.py --json docs/data/bench-engine.json`.

Every contestant is a process of its own that loads once and then measures on command, one at a time, in alternating order over
several repeats. bench/README.md says how to set the peers up and what is checked before a figure counts.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from aims import reaches
from peers.contestants import (
    SAMPLING,
    SAMPLING_BF16,
    SCORING,
    SCORING_BF16,
    ContestantError,
    Entry,
    Setting,
    Worker,
    turn,
    workers,
)
from peers.machine import describe
from peers.own_figures import audit, loops, memory, prefixes, start, statistics_share
from table import engine_tables, ratios, significant, spread

from freerun.predictors.weights.catalogue import CATALOGUE, catalogue_weights

MODEL, CORPUS = "smollm2-135m-instruct", "builtin/python-docs"
LOSS_TOLERANCE_NATS = 1e-3
AUDIT_ROWS, AUDIT_LIMIT_Z = 8, 5.0
SECTIONS = ("sampling", "scoring", "bf16", "memory", "statistics", "prefixes", "loops", "start")
VERSIONS = ("freerun", "torch", "transformers", "ctranslate2", "SGEMM backend", "lm-eval", "vllm", "numpy")
SCORING_ROWS = (256, 1024)
"""Rows of the matrix products at which the scoring limit is taken."""


def tell(text: str) -> None:
    print(f"{datetime.now():%H:%M:%S} {text}", file=sys.stderr, flush=True)


# ---- contestants in turns --------------------------------------------------------------------------------------------


def compare(
    entries: Sequence[Entry], setting: Setting, words: dict[str, Any], repeats: int, gemm_rows: Sequence[int] = ()
) -> dict[str, Any]:
    """One section: every entry measured once a repeat, in turns; with them the rate of the machine's matrix products."""
    runs: dict[str, dict[int, dict[str, Any]]] = {e.name: {} for e in entries}
    rates: dict[int, dict[int, dict[str, Any]]] = {rows: {} for rows in gemm_rows}
    with workers([*entries, *_gemm(gemm_rows)], setting, tell) as (ready, refused):
        for entry in entries:
            if entry.name in ready:
                _drop(refused, entry, lambda e=entry: _check_facts(e, ready[e.name].facts, setting))
        names = [e for e in entries if e.name in ready and e.name not in refused]
        asked: list[tuple[str, Any]] = [("entry", e) for e in names]
        asked += [("gemm", rows) for rows in gemm_rows if "gemm" in ready]
        small = {**words, "new": 2, **{k: words[k][:4] for k in ("prompts", "texts", "strings")}}
        for entry in names:  # first calls allocate, compile and touch the weights
            _drop(refused, entry, lambda e=entry: ready[e.name].ask(e.task, **small))
        for repeat in range(repeats):
            for i in turn(len(asked), repeat):
                kind, what = asked[i]
                if kind == "gemm":
                    rates[what][repeat] = ready["gemm"].measure("rate", rows=what, copies=30 if what <= 128 else 8)
                    continue
                if what.name in refused:
                    continue
                found = _drop(refused, what, lambda e=what: ready[e.name].measure(e.task, **words))
                if found is not None:
                    runs[what.name][repeat] = found
                    tell(f"{what.name}: {found['tokens'] / found['seconds']:.0f} tokens/s (repeat {repeat + 1})")
        facts = {name: worker.facts for name, worker in ready.items()}
        short = {**words, "new": 2, "texts": [text[:48] for text in words["texts"]]}
        in_use = ready[entries[0].name].ask("matrix_rows", **short)
    return {"runs": runs, "cannot_run": refused, "facts": facts, "rates": rates, "matrix_rows": in_use}


def _gemm(rows: Sequence[int]) -> list[Entry]:
    return [Entry("gemm", "run_gemm.py", "rate")] if rows else []


def _drop(refused: dict[str, str], entry: Entry, work: Callable[[], Any]) -> Any:
    """Do it; a contestant that fails is left out from then on, with the reason."""
    try:
        return work()
    except ContestantError as error:
        if entry.environment == "own":
            raise
        refused[entry.name] = str(error)
        tell(f"{entry.name}: {error}")
        return None


def summary(entries: Sequence[Entry], made: dict[str, Any]) -> dict[str, Any]:
    """Medians, ranges and ratios of a section."""
    mine = entries[0].name
    speeds = {e.name: {r: x["tokens"] / x["seconds"] for r, x in made["runs"][e.name].items()} for e in entries}
    lines = {}
    for e in entries:
        if done := made["runs"][e.name]:
            idle = [x["peak_mib"] - x["rss_before_mib"] for x in done.values() if x["peak_mib"] is not None]
            lines[e.name] = {
                "tokens_per_s": spread(list(speeds[e.name].values())),
                "information": e.information,
                "peak_over_idle_mib": round(max(idle), 1) if idle else None,
                "foreign_cores": [x["foreign_cores"] for x in done.values()],
                "runs": [{"repeat": r, **_kept(x)} for r, x in done.items()],
            }
    return {
        "mine": mine,
        "contestants": lines,
        "cannot_run": made["cannot_run"],
        "ratios": {name: ratios(speeds[mine], speeds[name]) for name in lines if name != mine},
        "facts": made["facts"],
    }


def _kept(run: dict[str, Any]) -> dict[str, Any]:
    return {k: significant(v, 6) if isinstance(v, float) else v for k, v in run.items() if k != "ids"}


# ---- do they do the same work? ---------------------------------------------------------------------------------------


def check_sampling(
    made: dict[str, Any], entries: Sequence[Entry], setting: Setting, words: dict[str, Any]
) -> dict[str, Any]:
    """The same prompts by ids, the same number of new tokens, threads and number format, and draws from the model's law."""
    prompts = {x["prompts"] for done in made["runs"].values() for x in done.values()}
    if len(prompts) != 1:
        raise AssertionError(f"contestants read different prompts: {made['runs'].keys()}")
    audited = {}
    worker = Worker(entries[0], setting)
    try:
        for e in entries:
            for run in made["runs"][e.name].values():
                if run["new_tokens"] != [words["new"]] or run["tokens"] != words["new"] * len(words["prompts"]):
                    raise AssertionError(f"{e.name} made {run['new_tokens']} tokens a row, not {words['new']}")
            if done := made["runs"][e.name]:
                ids = next(iter(done.values()))["ids"][:AUDIT_ROWS]
                audited[e.name] = worker.ask("audit", prompts=words["prompts"][:AUDIT_ROWS], ids=ids)
                if e.dtype == "fp32" and abs(audited[e.name]["z"]) > AUDIT_LIMIT_Z:
                    raise AssertionError(
                        f"{e.name} does not sample from the model's law: z = {audited[e.name]['z']:.1f}"
                    )
    finally:
        worker.close()
    return {"prompts": prompts.pop(), "audit_of_the_samples": audited}


def check_scoring(made: dict[str, Any], entries: Sequence[Entry], words: dict[str, Any]) -> dict[str, Any]:
    """The same texts by ids, as many tokens, and the same loss to a thousandth of a nat a token in float32."""
    losses = {}
    n = sum(len(t) for t in words["texts"])
    for e in entries:
        for run in made["runs"][e.name].values():
            losses[e.name] = run["nats_per_token"]
            if run["tokens"] != n:
                raise AssertionError(f"{e.name} scored {run['tokens']} tokens, not {n}")
    if len({x["texts"] for done in made["runs"].values() for x in done.values()}) != 1:
        raise AssertionError("contestants read different texts")
    first = losses[entries[0].name]
    for e in entries:
        apart = abs(losses.get(e.name, first) - first)
        if e.dtype == entries[0].dtype == "fp32" and apart > LOSS_TOLERANCE_NATS:
            raise AssertionError(f"{e.name} has {losses[e.name]:.5f} nats/token, {entries[0].name} {first:.5f}")
    return {"nats_per_token": losses, "tolerance_nats": LOSS_TOLERANCE_NATS}


def _check_facts(entry: Entry, facts: dict[str, Any], setting: Setting) -> None:
    """As many threads and the number format that were asked for; a peer that has others is left out."""
    if facts["threads"] != setting.threads:
        raise ContestantError(f"{entry.name} runs on {facts['threads']} threads, not {setting.threads}")
    wanted = {"fp32": ("float32",), "bf16": ("bfloat16",), "int8": ("int8", "int8_float32")}[entry.dtype]
    if facts["dtype"] not in wanted:
        raise ContestantError(f"{entry.name} computes in {facts['dtype']}, not {wanted[0]}")


# ---- what bounds them ------------------------------------------------------------------------------------------------


def limits(sampling: dict[str, Any], scoring: dict[str, Any], words: dict[str, Any]) -> dict[str, Any]:
    """Rates of the matrix products, tokens/s that they allow, and freerun's share, each repeat by itself."""
    lines = []
    facts: dict[str, Any] = {}
    for use, section in (("sampling", sampling), ("scoring", scoring)):
        facts = section["facts"].get("gemm", facts)
        for rows, rates in section["rates"].items():
            if not rates:
                continue
            flops = 2 * facts["parameters"]
            mine = next(iter(section["runs"].values()))
            limit = {r: x["best_gflops_per_s"] * 1e9 / flops for r, x in rates.items()}
            speed = {r: x["tokens"] / x["seconds"] for r, x in mine.items()}
            line = {
                "use": use,
                "rows": rows,
                "plain": spread([x["plain_gflops_per_s"] for x in rates.values()]),
                "best": spread([x["best_gflops_per_s"] for x in rates.values()]),
                "limit_tokens_per_s": spread(list(limit.values())),
                "share": ratios(speed, limit),
                "shapes": next(iter(rates.values()))["shapes"],
                "matrix_rows_in_use": section["matrix_rows"],
            }
            if use == "sampling":
                line["share_with_prefix"] = ratios({r: v * _with_prefix(facts, words) for r, v in speed.items()}, limit)
            lines.append(line)
    if not lines:
        return {}
    head = facts["head parameters"] / facts["parameters"]
    note = (
        f"A token costs 2 × {facts['parameters']:,} operations ({head:.0%} of them in the output head); attention, norms and the "
        "statistics are not counted, so no engine reaches 100%. Sampling's share counts new tokens alone; with the reading of the "
        f"prefixes counted it is {_percent(lines[0].get('share_with_prefix'))}. For scoring every number of rows is shown; the "
        "aim is held against the fastest."
    )
    return {"rates": lines, "facts": facts, "note": note}


def _with_prefix(facts: dict[str, Any], words: dict[str, Any]) -> float:
    """How many times the new tokens' operations the whole task costs: all prefix tokens but the last need no head."""
    body = 1 - facts["head parameters"] / facts["parameters"]
    return 1 + (len(words["prompts"][0]) - 1) * body / words["new"]


def _percent(found: dict[str, Any] | None) -> str:
    return "–" if found is None else f"{found['median']:.0%}"


# ---- the whole -------------------------------------------------------------------------------------------------------


def inputs(setting: Setting, sequences: int, prefix: int, new: int) -> dict[str, Any]:
    """Real texts that every tokenizer reads back to the same ids, and their beginnings as prompts."""
    worker = Worker(SAMPLING[0], setting)
    try:
        found = worker.ask("inputs", corpus=CORPUS, n=sequences, length=prefix + new)
    finally:
        worker.close()
    prompts = [text[:prefix] for text in found["texts"]]
    return {"texts": found["texts"], "strings": found["strings"], "lead": found["lead"], "prompts": prompts, "new": new}


def bf16_section(setting: Setting, words: dict[str, Any], repeats: int, *, instructions: bool) -> dict[str, Any]:
    """bf16 contestants; where the processor has no bf16 instructions one quick pass, which no aim is held against."""
    note = "The processor has instructions for it."
    if not instructions:
        repeats, words = 1, inputs(setting, setting.batch, 32, 32)
        note = "No bf16 instructions: one quick pass (32 + 32 tokens), which no aim is held against."
    made, checks = {}, {}
    for kind, entries in (("sampling", SAMPLING_BF16), ("scoring", SCORING_BF16)):
        found = compare(entries, setting, words, repeats)
        made[kind] = summary(entries, found)
        if kind == "sampling":
            checks[kind] = check_sampling(found, entries, setting, words)
        else:
            checks[kind] = check_scoring(found, entries, words)
    return {
        "note": note,
        "bf16_instructions": instructions,
        "contestants": made["sampling"]["contestants"] | made["scoring"]["contestants"],
        "cannot_run": made["sampling"]["cannot_run"] | made["scoring"]["cannot_run"],
        "ratios": made["sampling"]["ratios"] | made["scoring"]["ratios"],
        "checks": checks,
    }


def measure(chosen: argparse.Namespace, save: Callable[[dict[str, Any]], None]) -> dict[str, Any]:
    setting = Setting(
        str(catalogue_weights(CATALOGUE[MODEL], tell=tell)),
        MODEL,
        chosen.threads,
        chosen.sequences,
        {"peers": chosen.peers / "bin" / "python", "vllm": chosen.vllm / "bin" / "python"},
    )
    words = inputs(setting, chosen.sequences, chosen.prefix, chosen.new)
    data: dict[str, Any] = {
        "command": " ".join(
            ["python bench/engine.py", *(["--quick"] if chosen.quick else ["--repeats", str(chosen.repeats)])]
        ),
        "created": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "quick": chosen.quick,
        "machine": describe(),
        "workload": {
            "model": MODEL,
            "corpus": CORPUS,
            "threads": chosen.threads,
            "sequences": chosen.sequences,
            "prefix": chosen.prefix,
            "new": chosen.new,
            "repeats": chosen.repeats,
        },
    }
    earlier = kept(chosen.go_on, data) if chosen.go_on else {"others": []}
    data = earlier | data
    sampled: dict[str, Any] = {"rates": {}, "facts": {}, "runs": {}}
    scored = sampled
    if "sampling" in chosen.only:
        sampled = compare(SAMPLING, setting, words, chosen.repeats, (chosen.sequences,))
        data["sampling"] = summary(SAMPLING, sampled)
        save(data)
        data["sampling"]["checks"] = check_sampling(sampled, SAMPLING, setting, words)
    if "scoring" in chosen.only:
        scored = compare(SCORING, setting, words, chosen.repeats, SCORING_ROWS)
        data["scoring"] = summary(SCORING, scored)
        save(data)
        data["scoring"]["checks"] = check_scoring(scored, SCORING, words)
    if {"sampling", "scoring"} & set(chosen.only):
        data["gemm"] = limits(sampled, scored, words)
    save(data)
    if "bf16" in chosen.only:
        instructions = bool(data["machine"]["bf16_instructions"])
        data["bf16"] = bf16_section(setting, words, chosen.repeats, instructions=instructions)
    if "memory" in chosen.only:
        data["memory"] = memory(setting, tell, quick=chosen.quick)
    if "statistics" in chosen.only:
        data["statistics"] = statistics_share(setting, tell, quick=chosen.quick)
    save(data)
    others: list[dict[str, Any]] = earlier["others"]
    for name, work in (
        ("prefixes", lambda: prefixes(setting, chosen.repeats, quick=chosen.quick)),
        ("loops", lambda: loops(chosen.repeats)),
        ("start", lambda: start(chosen.repeats, MODEL)),
        ("audit", audit),
    ):
        if name in chosen.only:
            tell(name)
            found = work()
            others = [line for line in others if line["what"] not in {x["what"] for x in found}] + found
            data |= {"others": others}
            save(data)
    return data | {"others": others}


def kept(path: Path, now: dict[str, Any]) -> dict[str, Any]:
    """Sections of an earlier result on the same machine with the same workload.

    Raises:
        ValueError: another machine or workload: its figures do not stand beside these.
    """
    before: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    for key in ("workload", "quick"):
        if before[key] != now[key]:
            raise ValueError(f"{path} has another {key}: {before[key]}, now {now[key]}")
    if before["machine"]["processor"] != now["machine"]["processor"]:
        raise ValueError(
            f"{path} was measured on {before['machine']['processor']}, this is {now['machine']['processor']}"
        )
    sections = ("sampling", "scoring", "gemm", "bf16", "memory", "statistics")
    return {name: before[name] for name in sections if name in before} | {"others": before.get("others", [])}


def finished(data: dict[str, Any]) -> dict[str, Any]:
    """With what was aimed at, and the greatest noise beside any measurement."""
    foreign = [
        x
        for name in ("sampling", "scoring")
        for line in data.get(name, {}).get("contestants", {}).values()
        for x in line["foreign_cores"]
        if x is not None
    ]
    facts = [f for name in ("sampling", "scoring") for f in data.get(name, {}).get("facts", {}).values()]
    said = {key: sorted({str(f[key]) for f in facts if key in f}) for key in VERSIONS}
    versions = [f"{key} {' and '.join(found)}" for key, found in said.items() if found]
    versions += sorted({line.split(" (Git")[0] for f in facts for line in f.get("build", [])})
    noise = {"greatest_foreign_cores": max(foreign) if foreign else None}
    return data | {"reaches": reaches(data), "noise": noise, "versions": versions}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="short texts, small memory runs, one repeat")
    parser.add_argument("--repeats", type=int, help="default 5; 1 when quick")
    parser.add_argument("--sequences", type=int, default=64)
    parser.add_argument("--prefix", type=int, default=32)
    parser.add_argument("--new", type=int, help="new tokens a sequence (default 256; 32 when quick)")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--peers", type=Path, default=Path(".venv-peers"))
    parser.add_argument("--vllm", type=Path, default=Path(".venv-peers-vllm"))
    parser.add_argument(
        "--only",
        nargs="+",
        choices=[*SECTIONS, "audit"],
        default=SECTIONS,
        help="some sections (audit: only when named)",
    )
    parser.add_argument("--json", type=Path, help="write the result there, after every section")
    parser.add_argument(
        "--go-on", type=Path, metavar="JSON", help="keep the other sections of this earlier result of the same machine"
    )
    chosen = parser.parse_args()
    chosen.repeats = chosen.repeats or (1 if chosen.quick else 5)
    chosen.new = chosen.new or (32 if chosen.quick else 256)

    def save(data: dict[str, Any]) -> None:
        if chosen.json:
            chosen.json.write_text(json.dumps(finished(data), indent=1, allow_nan=False) + "\n")

    data = measure(chosen, save)
    save(data)
    print(engine_tables(finished(data)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
