"""Which tokens llama.cpp's perplexity tool scores: disjoint windows, the second half of each, the tail dropped."""

from __future__ import annotations

from dataclasses import dataclass

from freerun.errors import DataError

DEFAULT_WINDOW = 512


@dataclass(frozen=True)
class Windows:
    """Disjoint windows over one stream of tokens. Window i holds tokens i·width to (i + 1)·width − 1.

    In each the tokens `first` to `width` − 1 are scored, counted from its start, each given all tokens of the window before it.
    The tool keeps the laws *at* the second half, which are those of the tokens after: 255 of 512 are scored, not 256.
    `dropped` tokens at the end of the stream fill no window.
    """

    width: int
    count: int
    first: int
    dropped: int

    @property
    def scored_per_window(self) -> int:
        """Tokens scored in one window."""
        return self.width - self.first

    @property
    def starts(self) -> tuple[int, ...]:
        """Where in the stream each window begins."""
        return tuple(range(0, self.count * self.width, self.width))


def windows(n_tokens: int, *, width: int = DEFAULT_WINDOW) -> Windows:
    """Return llama.cpp's windows over a stream of `n_tokens`. A model that begins with a BOS has it in place of each first token.

    The tool refuses fewer than two windows, and so does this.

    Source: llama.cpp, tools/perplexity. Raises DataError for a window below 4 tokens or a stream of fewer than two windows.

    >>> found = windows(1300)
    >>> found.count, found.first, found.scored_per_window, found.dropped, found.starts
    (2, 257, 255, 276, (0, 512))
    """
    if width < 4:
        raise DataError(f"a window of {width} tokens scores next to nothing; llama.cpp's default is {DEFAULT_WINDOW}")
    if n_tokens < 2 * width:
        raise DataError(
            f"{n_tokens} tokens fill fewer than two windows of {width}, the least that llama.cpp takes; "
            "give more text or a smaller window"
        )
    return Windows(width, n_tokens // width, width // 2 + 1, n_tokens % width)
