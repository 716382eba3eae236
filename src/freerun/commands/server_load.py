"""What a server would be asked, on the terminal."""

from __future__ import annotations

import json
import textwrap

from freerun.counted import counted
from freerun.results.forecast import ServerLoad


def load_lines(load: ServerLoad | None, width: int = 100) -> list[str]:
    """A few lines of a forecast; none where no server has a part in it."""
    if load is None:
        return []
    scored = f"{counted(load.texts_to_score, 'text')} to score"
    scored += (
        " by a request for every token (more where tokens end within a character)" if load.requests_a_token else ""
    )
    requests = ("about " if load.requests_a_token else "") + counted(load.requests, "request")
    asked = (
        f"{requests} if none fails, {load.requests_to_know_it:,} of them to get to know it and to take texts apart, up to "
        f"{load.at_once:,} at once; {counted(load.texts_to_write, 'text')} to write, {scored}"
    )
    settings = json.loads(load.sent)
    said = ", ".join(f"{k} {json.dumps(v)}" for k, v in settings.items())
    sent = (
        f"with every draw is sent: {said}"
        if settings
        else "no sampling setting is sent: it samples as it does by itself"
    )
    lines = [asked, sent]
    if load.not_measured:
        lines.append(f"not measured, since a server tells no whole laws: {'; '.join(load.not_measured)}")
    out: list[str] = []
    for i, line in enumerate(lines):
        head = "  server  " if i == 0 else " " * 10
        out += textwrap.wrap(line, width, initial_indent=head, subsequent_indent=" " * 10)
    return out
