"""Tokens turned into text as they come, ending before any of some strings."""

import codecs
from collections.abc import Callable, Sequence


class StreamingDetokenizer:
    """The text of tokens so far.

    It holds back an incomplete character, and an end that may begin a stop string.
    """

    def __init__(self, say: Callable[[Sequence[int]], bytes], stops: Sequence[str] = (), drop: str = "") -> None:
        """`say` gives the bytes of tokens; `drop` is left out where the text begins with it."""
        self._say = say
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._stops = [stop for stop in stops if stop]
        self._drop = drop
        self._held = ""
        self.text = ""
        self.stopped = False
        """Whether a stop string came; no text follows it."""

    def take(self, token: int) -> str:
        """The text that the next token releases."""
        return self._release(self._decoder.decode(self._say([token])))

    def finish(self) -> str:
        """The text that was held back, when no more tokens come."""
        released = self._release(self._decoder.decode(b"", final=True))
        if self.stopped:
            return released
        self.text += self._held
        rest, self._held = released + self._held, ""
        return rest

    def ending(self, full: bool) -> str:
        """What ended the text: a "stop" string, its "length" if it is `full`, or the model's own "end"."""
        return "stop" if self.stopped else "length" if full else "end"

    def _release(self, more: str) -> str:
        if self.stopped:
            return ""
        held = self._held + more
        if self._drop and held:
            held, self._drop = held.removeprefix(self._drop), ""
        ends = [position for stop in self._stops if (position := held.find(stop)) >= 0]
        self.stopped = bool(ends)
        certain = min(ends) if ends else len(held) - self._doubtful(held)
        released, self._held = held[:certain], held[certain:]
        self.text += released
        return released

    def _doubtful(self, held: str) -> int:
        """How many characters at the end a stop string may begin with."""
        longest = max((len(stop) for stop in self._stops), default=0) - 1
        for size in range(min(longest, len(held)), 0, -1):
            if any(stop.startswith(held[-size:]) for stop in self._stops):
                return size
        return 0
