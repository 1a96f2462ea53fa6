"""quantize run: a text continued."""

import sys
from typing import Annotated

import typer

from quantize_cli.cli._options import Json, ModelPath


def command(
    model: ModelPath,
    prompt: Annotated[str, typer.Option("-p", "--prompt", help="The text to continue.")],
    tokens: Annotated[int, typer.Option("-n", "--tokens", min=1, help="At most so many tokens more.")] = 128,
    json: Json = False,
) -> None:
    """Continue a text with MODEL, always by its likeliest token."""
    import numpy as np

    from quantize_cli.cli._text import harmless, print_json, warn
    from quantize_cli.errors import InputError
    from quantize_cli.runtime.sample import generate
    from quantize_cli.runtime.transformer import from_model
    from quantize_cli.source import open_model
    from quantize_cli.tokenizers import load_tokenizer

    opened = open_model(model)
    for warning in opened.warnings:
        warn(warning)
    tokenizer = load_tokenizer(opened.metadata)
    ids = tokenizer.encode(prompt)
    if not ids:
        raise InputError(f"{model}: an empty prompt, and the vocabulary has no token to begin with")
    said, made = "", []
    for token in generate(from_model(opened), np.array(ids), tokens, tokenizer.end_ids):
        made.append(token)
        if not json:
            said = _print_new(tokenizer.decode([*ids, *made]), said)
    if json:
        text = tokenizer.decode([*ids, *made]).removeprefix(tokenizer.decode(ids))
        print_json({"model": str(model), "prompt": prompt, "prompt_tokens": ids, "tokens": made, "text": text})
    else:
        sys.stdout.write(harmless(tokenizer.decode([*ids, *made])[len(said) :]) + "\n")


def _print_new(text: str, said: str) -> str:
    """Print what `text` adds to `said`, except an unfinished character at its end; gives what has been said."""
    from quantize_cli.cli._text import harmless

    whole = text.rstrip("�")
    sys.stdout.write(harmless(whole[len(said) :]))
    sys.stdout.flush()
    return whole
