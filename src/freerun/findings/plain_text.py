"""The bytes of recorded texts, cut after any token."""

from __future__ import annotations

from functools import cached_property

import numpy as np
from jaxtyping import Int

from freerun.findings.evidence import Evidence

_UNKNOWN = "�".encode()


class PlainText:
    """Bytes of the first tokens of sequences; what the records do not tell (half characters at an end) is looked up by id.

    Recorded text shows bytes that are not characters as U+FFFD, so it is longer or shorter than its tokens there; the bytes of an id come
    from the sequences where both agree. Ask for it by `evidence.once(PlainText)`; a redacted run raises `TextRedacted`.
    """

    def __init__(self, evidence: Evidence) -> None:
        self.records = evidence.records
        self._text = [str(t).encode() for t in self.records.sequences["text"]]
        self._ends = np.cumsum(self.records.tokens["n_bytes"])

    def first(self, sequence: int, n_tokens: int) -> bytes:
        """The bytes of the first tokens of a sequence."""
        rows = self.records.rows(sequence)
        last = min(rows.start + n_tokens, rows.stop)
        if not self.whole(sequence):
            ids, sizes = (self.records.tokens[name][rows.start : last].tolist() for name in ("token_id", "n_bytes"))
            return b"".join(self.spelling.get(i, _UNKNOWN) if n else b"" for i, n in zip(ids, sizes, strict=True))
        return self._text[sequence][: self._bytes_between(rows.start, last)]

    def whole(self, sequence: int) -> bool:
        """Whether the recorded text is its tokens' bytes, that is, whether it has no half character."""
        rows = self.records.rows(sequence)
        return len(self._text[sequence]) == self._bytes_between(rows.start, rows.stop)

    def texts(self, sequences: Int[np.ndarray, " n"], n_tokens: int) -> list[bytes]:
        """`first` of several."""
        return [self.first(int(s), n_tokens) for s in sequences]

    def _bytes_between(self, start: int, stop: int) -> int:
        if stop <= start:
            return 0
        return int(self._ends[stop - 1] - (self._ends[start - 1] if start else 0))

    @cached_property
    def spelling(self) -> dict[int, bytes]:
        """Bytes of the ids that stand in texts without half characters."""
        ids, sizes = self.records.tokens["token_id"], self.records.tokens["n_bytes"]
        spelling: dict[int, bytes] = {}
        for s in filter(self.whole, range(self.records.n_sequences)):
            at, rows = 0, self.records.rows(s)
            for token, size in zip(ids[rows].tolist(), sizes[rows].tolist(), strict=True):
                spelling.setdefault(token, self._text[s][at : at + size])
                at += size
        return spelling
