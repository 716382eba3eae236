"""Show what a model expected at every token of a text.

For each token: its surprisal (minus the logarithm of its probability; large is unexpected), its rank among all tokens, the entropy
of the prediction (the surprisal that the model itself expected there) and the most probable alternatives. Then what comes next.

TEXT is the text itself, @FILE for a UTF-8 file, or - for stdin. Nothing is added to it, and a newline at its end is part of it.
Logarithms are natural, so surprisal is in nats (1 nat is 1.44 bits). A first token for which a model has no prediction is not
scored.
"""

from __future__ import annotations

import argparse
import math
import sys
import textwrap
import unicodedata
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from freerun.commands.model_arguments import add_json_argument, add_model_arguments, load_options
from freerun.commands.terminal import columns_between, encodable, say, shown, takes_colour
from freerun.errors import DataError, UsageError

if TYPE_CHECKING:
    from freerun.results.predict import PredictedToken, PredictResult, ProbableToken

EXAMPLES = """\
examples:
  freerun predict smollm2-135m-instruct "The cat sat on the"
  freerun predict smollm2-135m-instruct @essay.txt --html essay.html   a page: the text shaded by surprisal
  printf 'to be or not to be' | freerun predict gemma-3-270m - --top 10 --json
  freerun predict ngram/4@builtin/python-docs "import os"                an n-gram model of a corpus
  freerun predict world/markov abba                                an exact world, where the true law is known
"""

LONG_TEXT_CHARS = 1500
"""From here on a text is worth a progress bar."""
BAR_WIDTH, BAR_FULL_NATS = 8, 10.0
_EIGHTHS = " ▏▎▍▌▋▊▉█"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "model", metavar="MODEL", help="a model that `freerun models` lists, hf/ORG/NAME, hf/./FOLDER, gguf/FILE, …"
    )
    parser.add_argument(
        "text", metavar="TEXT", help="the text, @FILE or - (stdin); put -- before a text that begins with a dash"
    )
    parser.add_argument(
        "--top",
        type=int,
        default=5,
        metavar="K",
        help="how many alternatives to keep at each token (default 5; the terminal shows 3)",
    )
    form = parser.add_mutually_exclusive_group()
    add_json_argument(form)
    form.add_argument(
        "--html",
        metavar="FILE",
        help="write a page in place of the table: the text shaded by surprisal, one file that needs no network",
    )
    how = parser.add_argument_group("how it runs")
    add_model_arguments(how)


def run(arguments: argparse.Namespace) -> int:
    from freerun.commands.main import print_json
    from freerun.commands.progress import Reporter
    from freerun.jobs.predict import predict
    from freerun.results.finding import to_json
    from freerun.specs.spec import load_predictor

    if arguments.top < 1:
        raise UsageError(f"--top must be at least 1, not {arguments.top}")
    if arguments.html is not None and (not arguments.html or Path(arguments.html).is_dir()):
        raise UsageError(f"--html {arguments.html!r} is a folder: name a file, for example prediction.html")
    text = read_text(arguments.text)
    reporter = Reporter()
    predictor = load_predictor(arguments.model, load_options(arguments), tell=reporter.say)
    if len(text) >= LONG_TEXT_CHARS:
        reporter.begin(len(predictor.encode(text)))
        reporter.phase("reading the text")
    try:
        on_tokens = reporter.advance if reporter.total else lambda _: None
        result = predict(predictor, text, top=arguments.top, on_tokens=on_tokens)
    finally:
        reporter.end()
    if arguments.json:
        print_json(to_json(result))
        return 0
    if arguments.html is None:
        for line in table_lines(result, width=columns_between(32, 120), colour=takes_colour(sys.stdout)):
            print(encodable(line, sys.stdout))
    else:
        from freerun.files import write_atomically
        from freerun.report.pages.prediction import render_prediction

        write_atomically(Path(arguments.html), render_prediction(result))
    say(summary_lines(result, width=columns_between(32, 120)), sys.stdout)
    if arguments.html is not None:
        say(["", f"page  {arguments.html}"], sys.stdout)
    return 0


def read_text(argument: str) -> str:
    """The text that `TEXT`, `@FILE` or `-` names.

    Raises:
        DataError: the file cannot be read, is not UTF-8 or holds a NUL byte. UsageError: `@` without a file.
    """
    from freerun.text.cleaning import Cleaning

    if argument == "-":
        if sys.stdin.isatty():
            print("reading the text from the terminal; end it with Ctrl-D on a line of its own", file=sys.stderr)
        return Cleaning().decode(sys.stdin.buffer.read(), "stdin")
    if not argument.startswith("@"):
        if _is_file(argument):
            raise UsageError(
                f"{argument} is a file: write @{argument} to read it; as a text it goes in through stdin (-)"
            )
        return argument
    way_out = "a text that itself begins with @ goes in through stdin: printf '%s' '@…' | freerun predict MODEL -"
    if argument == "@":
        raise UsageError(f"TEXT '@' names no file: @FILE reads one; {way_out}")
    path = Path(argument[1:]).expanduser()
    try:
        data = path.read_bytes()
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise DataError(f"{argument}: {path} cannot be read ({reason}); {way_out}") from None
    return Cleaning().decode(data, str(path))


def _is_file(argument: str) -> bool:
    try:
        return Path(argument).is_file()
    except (OSError, ValueError):  # too long for a name, or with a NUL byte
        return False


# ---- what is printed -------------------------------------------------------------------------------------------------


def table_lines(result: PredictResult, *, width: int, colour: bool = False) -> list[str]:
    """One line a token, no wider than `width` columns; narrow terminals lose the bar, then the entropy."""
    from freerun.report.pages.prediction import spelled

    tokens = result.tokens
    if not tokens:
        return []
    words = [_word(t, piece) for t, piece in zip(tokens, spelled(tokens), strict=True)]
    room = max(5, min(max(map(columns, words)), 28, width // 4))
    bar, entropy = width >= 60, width >= 46
    head = [fitted("token", room), f"{'nats':>6}"] + [" " * BAR_WIDTH] * bar + [f"{'rank':>6}"] + ["entropy"] * entropy
    lines = ["  ".join([*head, "most expected"])[:width].rstrip()]
    for token, word in zip(tokens, words, strict=True):
        cells = _cells(token, bar=bar, entropy=entropy)
        left = "  ".join([fitted(word, room), *cells])
        line = shown(f"{left}  {_alternatives(token.top[:3], width - columns(left) - 2)}".rstrip())
        lines.append(_coloured(line, token) if colour else line)
    return [*lines, ""]


def _word(token: PredictedToken, piece: str) -> str:
    """A token as it is printed; one that completes a character that others began says which."""
    from freerun.report.pages.prediction import visible_text, visible_token

    word = visible_token(token)
    return f"{word} {visible_text(piece)}" if token.bytes_hex is not None and piece.strip() else word


def _cells(token: PredictedToken, *, bar: bool, entropy: bool) -> list[str]:
    from freerun.report.pages.prediction import surprisal_nats

    if token.given:
        return [f"{'given':>6}"]
    nats = surprisal_nats(token)
    cells = [f"{'∞' if nats is None else format(nats, '.2f'):>6}"]
    cells += [_bar(BAR_FULL_NATS if nats is None else nats)] * bar
    cells.append(f"{token.rank:>6}")
    expected = token.entropy_nats
    return cells + [f"{'–' if expected is None else format(expected, '.2f'):>7}"] * entropy


def _bar(nats: float, *, full: float = BAR_FULL_NATS, width: int = BAR_WIDTH) -> str:
    eighths = min(8 * width, round(8 * width * nats / full))
    return ("█" * (eighths // 8) + _EIGHTHS[eighths % 8].strip()).ljust(width)


def _alternatives(entries: Sequence[ProbableToken], room: int) -> str:
    """As many of the entries as fit into `room` columns, whole."""
    from freerun.report.pages.prediction import percent, visible_token

    line = ""
    for entry in entries:
        longer = f"{line}  {visible_token(entry)} {percent(entry.log_prob_nats)}".lstrip()
        if columns(longer) > room:
            break
        line = longer
    return line


def summary_lines(result: PredictResult, *, width: int) -> list[str]:
    """The sums, the notes, and the law of what comes next."""
    from freerun.commands.verdict import next_lines, point_lines
    from freerun.report.pages.prediction import chance, percent, visible_token

    total, after = result.sum, result.next
    spoken = [line for p in result.points for line in point_lines(p.label, p.text, width)]
    lines = []
    if total.n_scored:
        per_byte = "" if total.bits_per_byte is None else f" · {total.bits_per_byte:.3f} bits/byte"
        perplexity = "–" if total.perplexity is None else f"{total.perplexity:,.4g}"
        lines.append(
            f"{total.nats:.2f} nats · {total.nats_per_token:.3f} nats/token{per_byte} · perplexity {perplexity}"
        )
        if total.entropy_nats_per_token is not None:
            lines.append(
                f"the laws themselves expected {total.entropy_nats_per_token:.3f} nats/token (their mean entropy)"
            )
    if total.n_tokens:
        lines.append(f"{total.n_scored} of {total.n_tokens} tokens scored")
    lines += [*result.notes, f"Model: {result.model.name}. Context: {result.context.rule}."]
    lines = [*spoken, "", *(part for line in lines for part in textwrap.wrap(shown(line), width))]
    entropy = "" if after.entropy_nats is None else f" (entropy {after.entropy_nats:.2f} nats)"
    lines += ["", f"{'next' if total.n_tokens else 'first'} token{entropy}"]
    words = [visible_token(entry) for entry in after.top]
    room = min(max(map(columns, words), default=0), max(8, width // 3))
    for entry, word in zip(after.top, words, strict=True):
        share = percent(entry.log_prob_nats)
        bar = _bar(math.exp(entry.log_prob_nats), full=1.0, width=max(4, min(30, width - room - 14)))
        lines.append(f"  {fitted(word, room)}  {share:>6}  {bar}".rstrip())
    if after.end_of_text_probability:
        lines.append(f"  the text ends here: {chance(after.end_of_text_probability)}")
    if step := result.next_step:
        lines += ["", *next_lines(step.words, step.type, width)]
    return lines


# ---- columns and colours ---------------------------------------------------------------------------------------------


def columns(text: str) -> int:
    """Columns that `text` takes on a terminal.

    >>> columns("abc"), columns("日本"), columns("e\\u0301")
    (3, 4, 1)
    """
    return sum(_column(c) for c in text)


def _column(c: str) -> int:
    if unicodedata.combining(c) or unicodedata.category(c) in ("Mn", "Me", "Cf"):
        return 0
    return 2 if unicodedata.east_asian_width(c) in "WF" else 1


def fitted(text: str, width: int) -> str:
    """`text` in exactly `width` columns: filled with blanks, or cut with `…`."""
    if columns(text) > width:
        kept = ""
        for c in text:
            if columns(kept) + _column(c) > width - 1:
                break
            kept += c
        text = kept + "…"
    return text + " " * (width - columns(text))


def _coloured(line: str, token: PredictedToken) -> str:
    from freerun.report.pages.prediction import shade

    code = {"given": "2", "impossible": "1;35", "s3": "33", "s4": "33", "s5": "31", "s6": "1;31"}.get(shade(token))
    return f"\x1b[{code}m{line}\x1b[0m" if code else line
