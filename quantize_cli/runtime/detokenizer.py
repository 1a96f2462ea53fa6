"""Tokens turned into text as they come, ending before any of some strings."""

import codecs
from collections.abc import Callable, Sequence


class StreamingDetokenizer:
    """What has been said, and what may be said already.

    A character that is not complete is held back, and so is what may become the beginning of a stop string.
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
        """Whether a stop string came; nothing is said after it."""

    def take(self, token: int) -> str:
        """What the next token allows to be said."""
        return self._told(self._decoder.decode(self._say([token])))

    def finish(self) -> str:
        """What was held back, when no more tokens come."""
        told = self._told(self._decoder.decode(b"", final=True))
        if self.stopped:
            return told
        self.text += self._held
        rest, self._held = told + self._held, ""
        return rest

    def ending(self, full: bool) -> str:
        """What ended the text: a "stop" string, its "length" if it is `full`, or the model's own "end"."""
        return "stop" if self.stopped else "length" if full else "end"

    def _told(self, more: str) -> str:
        if self.stopped:
            return ""
        held = self._held + more
        if self._drop and held:
            held, self._drop = held.removeprefix(self._drop), ""
        ends = [place for stop in self._stops if (place := held.find(stop)) >= 0]
        self.stopped = bool(ends)
        certain = min(ends) if ends else len(held) - self._doubtful(held)
        told, self._held = held[:certain], held[certain:]
        self.text += told
        return told

    def _doubtful(self, held: str) -> int:
        """How many characters at the end a stop string may begin with."""
        longest = max((len(stop) for stop in self._stops), default=0) - 1
        for size in range(min(longest, len(held)), 0, -1):
            if any(stop.startswith(held[-size:]) for stop in self._stops):
                return size
        return 0
