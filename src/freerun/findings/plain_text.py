"""The bytes of recorded texts, cut after any token."""

from __future__ import annotations

from functools import cached_property

import numpy as np
from jaxtyping import Int

from freerun.findings.evidence import Evidence

_UNKNOWN = "�".encode()


class PlainText:
    """Bytes of the first tokens of sequences; what the records do not tell (half characters at an end) is looked up by id.

    Recorded text shows bytes that are no character as U+FFFD, so it is longer or shorter than its tokens there; the bytes of an id come
    from the sequences where both agree.
    """

    def __init__(self, evidence: Evidence) -> None:
        self.records = evidence.records
        self._text = [str(t).encode() for t in self.records.sequences["text"]]
        self._ends = np.cumsum(self.records.tokens["n_bytes"])

    def first(self, sequence: int, n_tokens: int) -> bytes:
        """The bytes of the first tokens of a sequence."""
        start, stop = int(self.records.starts[sequence]), int(self.records.starts[sequence + 1])
        last = min(start + n_tokens, stop)
        if not self.whole(sequence):
            ids, sizes = (self.records.tokens[name][start:last] for name in ("token_id", "n_bytes"))
            known = zip(ids.tolist(), sizes.tolist(), strict=True)
            return b"".join(self._spelling.get(i, _UNKNOWN) if size else b"" for i, size in known)
        return self._text[sequence][: self._bytes_between(start, last)]

    def whole(self, sequence: int) -> bool:
        """Whether the recorded text is its tokens' bytes, that is, whether it has no half character."""
        start, stop = int(self.records.starts[sequence]), int(self.records.starts[sequence + 1])
        return len(self._text[sequence]) == self._bytes_between(start, stop)

    def texts(self, sequences: Int[np.ndarray, " n"], n_tokens: int) -> list[bytes]:
        """`first` of several."""
        return [self.first(int(s), n_tokens) for s in sequences]

    def _bytes_between(self, start: int, stop: int) -> int:
        if stop <= start:
            return 0
        return int(self._ends[stop - 1] - (self._ends[start - 1] if start else 0))

    @cached_property
    def _spelling(self) -> dict[int, bytes]:
        ids, sizes = self.records.tokens["token_id"], self.records.tokens["n_bytes"]
        found: dict[int, bytes] = {}
        for s in range(self.records.n_sequences):
            if not self.whole(s):
                continue
            at = 0
            for t in range(int(self.records.starts[s]), int(self.records.starts[s + 1])):
                size = int(sizes[t])
                found.setdefault(int(ids[t]), self._text[s][at : at + size])
                at += size
        return found
