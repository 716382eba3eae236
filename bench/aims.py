"""What the engine's bench aims at, beside what it found."""

from __future__ import annotations

from typing import Any

from peers.contestants import SAMPLING, SAMPLING_BF16, SCORING, SCORING_BF16
from peers.own_figures import LOOPS
from table import reach, spread


def reaches(data: dict[str, Any]) -> list[dict[str, Any]]:
    """Every figure that was aimed at, beside what was found."""
    sampling, scoring = data.get("sampling", {}).get("ratios", {}), data.get("scoring", {}).get("ratios", {})
    bf16 = data.get("bf16", {})
    fast = bf16.get("ratios", {}) if data["machine"]["bf16_instructions"] else {}
    rates = data.get("gemm", {}).get("rates", [])
    share = {use: [g for g in rates if g["use"] == use and g["share"]] for use in ("sampling", "scoring")}
    hardest = {
        use: min(found, key=lambda g: g["share"]["median"])["share"] if found else None for use, found in share.items()
    }
    lines = [
        reach(
            "sampling: over transformers `generate` with the same statistics",
            sampling.get(SAMPLING[1].name),
            ">=",
            1.7,
            "×",
        ),
        reach("sampling: over CTranslate2 float32", sampling.get(SAMPLING[2].name), ">=", 1.3, "×"),
        reach("sampling: share of the rate of matrix products", hardest["sampling"], ">=", 0.65),
        reach("sampling, bf16: over `generate` with statistics", fast.get(SAMPLING_BF16[1].name), ">=", 2.2, "×"),
        reach("sampling, bf16: over vLLM's build for CPUs", fast.get(SAMPLING_BF16[2].name), ">=", 1.2, "×"),
        reach("scoring: over lm-eval's rolling log-likelihood", scoring.get(SCORING[2].name), ">=", 1.25, "×"),
        reach("scoring: share of the rate of matrix products", hardest["scoring"], ">=", 0.80),
        reach("scoring, bf16: over lm-eval", fast.get(SCORING_BF16[1].name), ">=", 1.6, "×"),
    ]
    if over := [m["over_mib"] for m in data.get("memory", []) if "over_mib" in m]:
        lines.append(
            reach(
                "scoring: peak over weights (no cache is taken off), any length and both vocabularies",
                spread([max(over)]),
                "<=",
                512,
                " MiB",
            )
        )
    for line, most in zip(data.get("statistics", []), (0.12, 0.25), strict=False):
        lines.append(
            reach(
                f"statistics' share of a step, {line['vocabulary']:,} tokens of vocabulary", line["share"], "<=", most
            )
        )
    others = {line["what"]: line["seconds"] for line in data.get("others", [])}
    if slow := [found for name, found in others.items() if name.startswith(LOOPS)]:
        lines.append(reach(LOOPS, max(slow, key=lambda x: x["median"]), "<=", 1.5, " s"))
    for name, most in (("freerun --help", 0.3), ("default model ready (cached)", 6.0)):
        if found := others.get(f"start: {name}"):
            lines.append(reach(f"start: {name}", found, "<=", most, " s"))
    if found := others.get("freerun audit, defaults"):
        lines.append(reach("freerun audit, defaults", found, "<=", 240.0, " s"))
    return lines
