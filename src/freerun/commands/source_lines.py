"""What `freerun source` prints on a terminal."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING, TextIO

from freerun.commands.predict import columns, fitted

if TYPE_CHECKING:
    from freerun.results.finding import Cell
    from freerun.results.source import LatentAnswer, SourceEvaluation, SourceResult, Word, WordShift

SHADES = (
    (0.02, "48;5;230;30"),
    (0.05, "48;5;223;30"),
    (0.1, "48;5;216;30"),
    (0.2, "48;5;209;30"),
    (0.4, "48;5;202;30"),
)
"""Share of belief that a word moved, from so much on, and its colours (256-colour codes)."""
MOST_VALUES = 12


def source_lines(result: SourceResult, *, width: int, colour: bool = False) -> list[str]:
    """The whole answer, no wider than `width` columns."""
    from freerun.commands.verdict import next_lines, point_lines

    lines: list[str] = []
    for latent in result.latents:
        lines += [f"— {latent.name} —", ""] if len(result.latents) > 1 else []
        lines += _latent_lines(result, latent, width=width, colour=colour)
    lines += [line for p in result.points for line in point_lines(p.label, p.text, width)]
    lines += [""] if result.points else []
    for note in [*result.notes, f"Model: {result.model.name}. Sources: {result.sources.title}."]:
        lines += textwrap.wrap(note, width)
    if step := result.next_step:
        lines += ["", *next_lines(step.words, step.type, width)]
    return lines


def _latent_lines(result: SourceResult, latent: LatentAnswer, *, width: int, colour: bool) -> list[str]:
    from freerun.report.pages.prediction import chance, visible_text

    header = latent.header
    lines = [*textwrap.wrap(latent.sentence, width), ""]
    if colour:
        lines += [*_coloured(result.words, header.words, width), ""]
    lines += [*_table(latent, width), ""]
    entropy = header.entropy_bits
    told = f"{sum(header.information_bits) / max(1, len(header.information_bits)):.3f}"
    lines += textwrap.wrap(
        f"open before reading {entropy[0]:.2f} bits, after {entropy[-1]:.2f} bits; a token told {told} bits on average",
        width,
    )
    if header.movers:
        shown = [f"{visible_text(m.text)} {chance(m.shift)} to {m.toward}" for m in header.movers]
        lines += textwrap.wrap("words that moved most: " + ", ".join(shown), width)
    if header.fitted is not None:
        fit = header.fitted
        top = max(fit.posterior)
        lines += textwrap.wrap(f"with β = {fit.beta:g}: {fit.top} {chance(top)}", width)
    lines += ["", *textwrap.wrap(latent.agreement.sentence, width)]
    if latent.continuation is not None:
        c = latent.continuation
        lines += textwrap.wrap(f"no label could be read in {c.counts[-1]} of {c.n} continuations", width)
    if latent.coherence is not None:
        lines += ["", *textwrap.wrap(latent.coherence.sentence, width)]
    return [*lines, ""]


def _table(latent: LatentAnswer, width: int) -> list[str]:
    """A line a value, the most probable first; what cannot be shown in the width is left out from the right."""
    from freerun.report.pages.prediction import chance

    header, names = latent.header, latent.values
    order = sorted(range(len(names)), key=lambda i: -header.posterior[i])[:MOST_VALUES]
    low, high = header.by_template.low, header.by_template.high
    head = ["prior", "header", "one template alone"]
    cells = [
        [chance(latent.prior[i]), chance(header.posterior[i]), f"{chance(low[i])} to {chance(high[i])}"] for i in order
    ]
    if latent.infilling is not None:
        head.append("infilling")
        for row, i in zip(cells, order, strict=True):
            row.append(chance(latent.infilling.posterior[i]))
    if latent.continuation is not None:
        c = latent.continuation
        head.append("continuations")
        for row, i in zip(cells, order, strict=True):
            shown = i < len(names) - 1
            row.append(f"{chance(c.share[i])} ({chance(c.low[i])} to {chance(c.high[i])})" if shown else "–")
    widths = [max(columns(h), *(columns(row[k]) for row in cells)) for k, h in enumerate(head)]
    room = max(8, min(max(columns(names[i]) for i in order), width // 3))
    while len(widths) > 2 and room + sum(widths) + 2 * len(widths) > width:
        widths.pop()
    lines = [fitted("", room) + "".join(f"  {h:>{w}}" for h, w in zip(head, widths, strict=False))]
    for i, row in zip(order, cells, strict=True):
        lines.append(fitted(names[i], room) + "".join(f"  {x:>{w}}" for x, w in zip(row, widths, strict=False)))
    left_out = len(names) - len(order)
    return lines + ([f"and {left_out} less probable values"] if left_out > 0 else [])


def _coloured(words: Sequence[Word], moved: Sequence[WordShift], width: int) -> list[str]:
    """The text, each word on the colour of the share of belief that it moved."""
    from freerun.report.visible import visible

    lines, room = [""], width
    for word, move in zip(words, moved, strict=True):
        code = next((code for least, code in reversed(SHADES) if move.shift >= least), "")
        for k, part in enumerate(visible(word.text).replace("\t", " ").split("\n")):
            if k or columns(part) > room:
                lines.append("")
                room = width
                part = part.lstrip(" ")
            room -= columns(part)
            bare = part.lstrip(" ")
            blank = part[: len(part) - len(bare)]
            lines[-1] += blank + (f"\x1b[{code}m{bare}\x1b[0m" if code and bare else bare)
    legend = " ".join(f"\x1b[{code}m {least:.0%} \x1b[0m" for least, code in SHADES)
    return [*lines, "", f"share of belief that a word moved, from: {legend}"]


def evaluation_lines(result: SourceEvaluation, *, width: int) -> list[str]:
    """What the evaluation on labelled text found."""
    lines = [line for sentence in result.sentences for line in textwrap.wrap(sentence, width)]
    lines.append("")
    for table in result.tables:
        lines += [table.title, *_plain_table(table.columns, table.rows, width), ""]
    for note in result.notes:
        lines += textwrap.wrap(note, width)
    return lines


def _plain_table(head: Sequence[str], rows: Sequence[Sequence[str | Cell]], width: int) -> list[str]:
    cells = [[cell if isinstance(cell, str) else cell.text for cell in row] for row in rows]
    widths = [max(columns(h), *(columns(row[k]) for row in cells)) for k, h in enumerate(head)]
    out = []
    for row in [head, *cells]:
        first = fitted(row[0], min(widths[0], width // 2))
        out.append((first + "".join(f"  {x:>{w}}" for x, w in zip(row[1:], widths[1:], strict=True)))[:width].rstrip())
    return out


def print_lines(lines: Sequence[str], out: TextIO) -> None:
    """Print lines; signs that the terminal's encoding lacks become question marks."""
    encoding = out.encoding or "utf-8"
    for line in lines:
        print(line.encode(encoding, "replace").decode(encoding), file=out)
