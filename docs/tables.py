"""The tables of the docs that are made from the code: `python docs/tables.py` writes them, a test holds them."""

from __future__ import annotations

import json
from pathlib import Path

from freerun.findings.question import Question
from freerun.findings.registry import GATES, QUESTIONS
from freerun.jobs.lab.disagreement.points import with_words
from freerun.predictors.observation import N_BINS, POWERS
from freerun.records.schema import sequences_schema, sources_schema, tokens_schema
from freerun.results.disagreement import DisagreementResult
from freerun.results.finding import to_json
from freerun.results.json import from_json
from freerun.samples.completion import Reason
from freerun.samples.reading import COSTS, FORMATS

DOCS = Path(__file__).parent


def gates_table() -> str:
    """What `--fail-on` can name."""
    rows = ["| name | also | what it is | unit | in |", "|---|---|---|---|---|"]
    for quantity in dict.fromkeys(GATES.values()):
        name, *others = quantity.gates
        where = "audit, compare" if quantity.paired else "audit"
        also = ", ".join(f"`{other}`" for other in others)
        rows.append(f"| `{name}` | {also} | {quantity.label} | {quantity.unit} | {where} |")
    return "\n".join(rows)


def questions_table() -> str:
    """Every question of an audit with its page, in the order of the report."""
    rows = ["| question | page |", "|---|---|"]
    rows += [f"| {q.question} | [{q.name.replace('_', '-')}](findings/{q.name}.md) |" for q in QUESTIONS]
    return "\n".join(rows)


def numbers_table(question: Question) -> str:
    """The numbers of one finding, as `result.json` and the exports name them."""
    rows = ["| number | what it is | unit | gate |", "|---|---|---|---|"]
    for q in question.quantities:
        gate = f"`{q.gates[0]}`" if q.gates else ""
        rows.append(f"| `{q.name}` | {q.label} | {q.unit} | {gate} |")
    return "\n".join(rows)


def columns_tables() -> str:
    """The columns of the record tables."""
    schemas = {
        "sequences": sequences_schema(n_bins=N_BINS, n_hidden=576),
        "tokens": tokens_schema(n_powers=len(POWERS), n_references=2),
        "sources": sources_schema(),
    }
    lines = []
    for name, schema in schemas.items():
        lines += [f"## {name}", "", "| column | type | null | meaning |", "|---|---|---|---|"]
        for field in schema:
            null = "yes" if field.nullable else ""
            lines.append(f"| `{field.name}` | {field.type} | {null} | {field.metadata[b'meaning'].decode()} |")
        lines.append("")
    return "\n".join(lines).rstrip()


def samples_tables() -> dict[str, str]:
    """The formats of samples, what it costs that a file lacks something, and the faults of rows, by their marks."""
    formats = ["| `--format` | written by | a row is | loses |", "|---|---|---|---|"]
    formats += [
        f"| `{f.name}` | {f.writer} | {f.meaning} | {', '.join(part.value for part in f.parts_lost) or '–'} |"
        for f in FORMATS
    ]
    costs = ["| what is lost | what that costs |", "|---|---|"]
    costs += [f"| {part.value} | {cost} |" for part, cost in COSTS.items()]
    return {
        "formats": "\n".join(formats),
        "costs": "\n".join(costs),
        "reasons": "\n".join(f"- {reason.value}" for reason in Reason),
    }


def worded(path: Path) -> str:
    """A committed result of trained models with the words that its numbers give."""
    result = with_words(from_json(DisagreementResult, json.loads(path.read_text(encoding="utf-8"))))
    return json.dumps(to_json(result), allow_nan=False, ensure_ascii=False, separators=(",", ":")) + "\n"


def pages() -> dict[Path, str]:
    """Every page with its table made again."""
    tables = {DOCS / "gates.md": gates_table(), DOCS / "records.md": columns_tables()}
    made = {page: filled(page, table) for page, table in tables.items()}
    made[DOCS / "methods.md"] = filled(DOCS / "methods.md", questions_table(), mark="questions")
    for mark, table in samples_tables().items():
        made[DOCS / "samples.md"] = filled(DOCS / "samples.md", table, mark=mark, text=made.get(DOCS / "samples.md"))
    made |= {path: worded(path) for path in (DOCS / "data" / "disagreement").glob("*.json")}
    for question in QUESTIONS:
        page = DOCS.parent / question.page
        if question.quantities:
            made[page] = filled(page, numbers_table(question))
    return made


def filled(page: Path, table: str, *, mark: str = "numbers", text: str | None = None) -> str:
    """The page (`text`, where it has been filled before) with what stands between its marks replaced; at its end where it has
    none yet."""
    begin, end = f"<!-- {mark}: made by docs/tables.py -->", f"<!-- {mark}: end -->"
    text = page.read_text() if text is None else text
    if begin not in text:
        text = f"{text.rstrip()}\n\n## Numbers\n\n{begin}\n{end}\n"
    before, rest = text.split(begin)
    return f"{before}{begin}\n\n{table}\n\n{end}{rest.split(end)[1]}"


if __name__ == "__main__":
    for path, text in pages().items():
        path.write_text(text)
