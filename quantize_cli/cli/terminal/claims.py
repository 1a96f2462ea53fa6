"""How the claims of a certificate are shown to people."""

import re

_SHOWN_DIGITS = 16
_DIGEST = re.compile("[0-9a-f]{64}")


def claim_lines(claim: object) -> str:
    """A digest by its first digits, a figure with its interval, anything else as it is."""
    if isinstance(claim, list):
        value, low, high = claim
        return f"{value:.5g} ({low:.5g} to {high:.5g})"
    text = str(claim)
    return f"{text[:_SHOWN_DIGITS]}..." if _DIGEST.fullmatch(text) else text
