"""The single-file page of one prediction, drawn from its typed result and from nothing else.

Also how tokens and probabilities are printed, which the terminal shares.
"""

from __future__ import annotations

import codecs
import math
import unicodedata
from collections.abc import Iterator, Sequence

from markupsafe import Markup, escape

from freerun.report.numbers import UNKNOWN, format_number
from freerun.report.pages.template import Page
from freerun.report.visible import visible, visible_markup
from freerun.results.predict import PredictedToken, PredictResult, SpelledToken

EDGES_NATS = (0.5, 1.0, 2.0, 4.0, 6.0, 9.0)
"""Surprisals at which the shade of a token changes; shade 0 lies below the first."""

_SPACES = {" ": "␣", "\n": "↵", "\t": "⇥", "\r": "⟨CARRIAGE RETURN⟩"}
_JOINERS = {"\u200c", "\u200d"}


# ---- words and numbers -----------------------------------------------------------------------------------------------


def visible_token(token: SpelledToken) -> str:
    """Print a token so that nothing in it is unseen; half characters as their bytes, markers by name.

    >>> visible_token(SpelledToken(id=1, text="\ufffd", bytes_hex="f09f"))
    '⟨F0 9F⟩'
    """
    if token.marker == "end_of_text":
        return "⟨end of text⟩"
    if token.marker:
        return f"⟨{visible(token.token)}⟩" if token.token else f"⟨special token {token.id}⟩"
    if token.bytes_hex is not None:
        return f"⟨{bytes.fromhex(token.bytes_hex).hex(' ').upper()}⟩"
    return visible_text(token.text)


def visible_text(text: str) -> str:
    """Print a piece of text with spaces and line ends as signs.

    >>> visible_text(" a\\n")
    '␣a↵'
    """
    bare = all(c in _JOINERS for c in text)
    shown = "".join(_SPACES.get(c) or (_code(c) if _unseen(c) or bare else visible(c)) for c in text)
    return f"◌{shown}" if shown and unicodedata.combining(shown[0]) else shown


def percent(log_prob_nats: float | None) -> str:
    """Print a log-probability as a percentage of two digits or so; a dash for None.

    >>> [percent(math.log(p)) for p in (1, 0.9996, 0.123, 0.0412, 0.00063, 1e-9)]
    ['100%', '99.96%', '12%', '4.1%', '0.06%', '<0.01%']
    """
    if log_prob_nats is None:
        return UNKNOWN
    share = 100 * math.exp(log_prob_nats)
    if share >= 99.995:
        return "100%"
    digits = next((n for edge, n in ((99.5, 2), (9.95, 0), (0.995, 1), (0.01, 2)) if share >= edge), None)
    return "<0.01%" if digits is None else f"{share:.{digits}f}%"


def chance(probability: float) -> str:
    """Print a probability as a percentage."""
    return percent(math.log(probability)) if probability > 0 else "0%"


def surprisal_nats(token: PredictedToken) -> float | None:
    """−log-probability; None where it is not known or infinite."""
    return None if token.log_prob_nats is None else 0.0 - token.log_prob_nats


def spelled(tokens: Sequence[SpelledToken]) -> Iterator[str]:
    """Yield what each token adds to the text: a character whose bytes several tokens hold appears with the last of them."""
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    for token in tokens:
        data = token.text.encode() if token.bytes_hex is None else bytes.fromhex(token.bytes_hex)
        yield decoder.decode(data)


def shade(token: PredictedToken) -> str:
    """The class of a token's shade: `s0` … `s6` by surprisal, `given` or `impossible`."""
    if token.given:
        return "given"
    nats = surprisal_nats(token)
    return "impossible" if nats is None else f"s{sum(nats >= edge for edge in EDGES_NATS)}"


def _unseen(c: str) -> bool:
    return c.isspace() and c not in _SPACES


def _code(c: str) -> str:
    return f"⟨U+{ord(c):04X}⟩"


# ---- the page --------------------------------------------------------------------------------------------------------


def render_prediction(result: PredictResult) -> str:
    """Return the page of a prediction as one HTML document that needs no network and no other file.

    All text is escaped; control and bidirectional characters in it are shown as signs.
    """
    running = Markup("").join(_running(result.tokens))
    return _PAGE.render(result=result, sentence=_sentence(result), running=running, scale=_scale())


def _sentence(result: PredictResult) -> str:
    total = result.sum
    if not total.n_scored:
        return (
            "No token of this text could be scored."
            if total.n_tokens
            else "Nothing has been said yet: this is the first law."
        )
    return (
        f"The model loses {total.nats_per_token:.2f} nats a token on this text, "
        f"as much as a fair choice among {format_number(total.perplexity, digits=3)} tokens."
    )


def _running(tokens: Sequence[PredictedToken]) -> Iterator[Markup]:
    """Yield each token of the running text as a link to its row of the table."""
    for token, piece in zip(tokens, spelled(tokens), strict=True):
        yield Markup('<a class="tok {}" href="#r{}" title="{}">{}</a>').format(
            shade(token), token.position, _title(token), _piece(token, piece)
        )


def _title(token: PredictedToken) -> str:
    if token.given:
        return f"{visible_token(token)}: given"
    if token.impossible:
        return f"{visible_token(token)}: impossible"
    return (
        f"{visible_token(token)}: {percent(token.log_prob_nats)}, {surprisal_nats(token):.2f} nats, rank {token.rank:,}"
    )


def _piece(token: PredictedToken, piece: str) -> Markup:
    if not piece:
        shown = "·" if token.bytes_hex is not None else visible_token(token)
        return Markup('<span class="sign">{}</span>').format(shown)
    if piece == token.text and all(c in _JOINERS or _unseen(c) for c in piece):
        return Markup('<span class="sign">{}</span>').format(visible_token(token))
    blank = piece.isspace()
    return Markup("").join(_character(c, blank) for c in piece)


def _character(c: str, blank: bool) -> Markup:
    """A character of the running text: line ends are drawn and break the line, blanks are drawn where nothing else is."""
    if c == "\n":
        return Markup('<span class="ws">↵</span>\n')
    if c in "\t\r" or (c == " " and blank):
        return Markup('<span class="ws">{}</span>').format(_SPACES[c])
    return visible_markup(c) if c != " " else escape(c)


def _scale() -> list[dict[str, str]]:
    """Legend of the shades: class, surprisal, probability."""
    steps = [
        {"nats": f"{low:g}–{high:g}", "above": f">{percent(-high)}"}
        for low, high in zip((0.0, *EDGES_NATS), EDGES_NATS, strict=False)
    ]
    last = {"nats": f"{EDGES_NATS[-1]:g}+", "above": f"<{percent(-EDGES_NATS[-1])}"}
    return [{"shade": f"s{i}", **step} for i, step in enumerate([*steps, last])]


def _decimal(value: float | None) -> str:
    return UNKNOWN if value is None else f"{value:.2f}"


_PAGE = Page(
    "prediction.html.j2",
    {
        "chance": chance,
        "decimal": _decimal,
        "percent": percent,
        "shade": shade,
        "share": lambda log_prob_nats: f"{100 * math.exp(log_prob_nats):.3f}",
        "surprisal": surprisal_nats,
        "visible_token": visible_token,
    },
    css=("prediction.css",),
    script="prediction.js",
)
