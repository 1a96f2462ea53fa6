"""What a model card says of its model: the YAML between two lines of dashes at the head of README.md."""

from typing import Any

import yaml


class CardError(ValueError):
    """The card's front matter is not YAML that can be read."""


def front_matter(readme: str) -> dict[str, Any]:
    """The card's keys, {} when there are none; CardError when they cannot be read.

    Read as llama.cpp's converter reads it: Norway's `no` stays a language, a tab counts as two spaces.
    """
    lines = readme.splitlines()
    if not lines or lines[0] != "---":
        return {}
    end = lines.index("---", 1) if "---" in lines[1:] else len(lines)
    block = "\n".join(lines[1:end]) + "\n"
    try:
        found = yaml.safe_load(block.replace("- no\n", '- "no"\n').replace("\t", "  "))
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        # ValueError: a date that is none, a number of thousands of digits.
        raise CardError(type(error).__name__) from error
    return found if isinstance(found, dict) else {}
