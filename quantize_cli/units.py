"""Sizes as people write and read them."""

import re

from quantize_cli.errors import UsageError
from quantize_cli.formats.quoted import quoted

_POWERS = {"": 0, "K": 1, "M": 2, "G": 3, "T": 4}
_SIZE = re.compile(r"(?P<number>[0-9]{1,15}(?:\.[0-9]{1,6})?) ?(?P<power>[KMGT]?)(?P<binary>I?)B?")


def size(nbytes: float) -> str:
    """A size for people: 1.34 GB, powers of ten as disks are sold."""
    for unit in ("B", "kB", "MB", "GB"):
        if nbytes < 1000 or unit == "GB":
            return f"{nbytes:.0f} B" if unit == "B" else f"{nbytes:.2f} {unit}"
        nbytes /= 1000
    raise AssertionError


def nbytes_of(option: str, text: str) -> int:
    """Bytes of `4.5GB` or `500 MB`, in powers of ten, of `8GiB`, in powers of two, or of `123456`; or UsageError."""
    match = _SIZE.fullmatch(text.strip().upper())
    if match is None or not float(match["number"]) or (match["binary"] and not match["power"]):
        raise UsageError(f"{option} {quoted(text)}: not a size", hint=f"{option} 4.5GB")
    return int(float(match["number"]) * (1024 if match["binary"] else 1000) ** _POWERS[match["power"]])
