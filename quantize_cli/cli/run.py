"""quantize run: a text continued."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from quantize_cli.cli.terminal.options import Json, ModelPath
from quantize_cli.cli.terminal.sampling import TEMPERATURE_HELP, MinP, RepeatPenalty, Seed, Stops, TopK, TopP

if TYPE_CHECKING:
    from quantize_cli.runtime.detokenizer import Speech
    from quantize_cli.tokenizers import Tokenizer


def command(
    model: ModelPath,
    prompt: Annotated[str, typer.Option("-p", "--prompt", help="The text to continue.")],
    tokens: Annotated[int, typer.Option("-n", "--tokens", min=1, help="At most so many tokens more.")] = 128,
    temperature: Annotated[float, typer.Option("--temperature", metavar="T", help=TEMPERATURE_HELP)] = 0.0,
    top_k: TopK = 40,
    top_p: TopP = 0.95,
    min_p: MinP = 0.05,
    repeat_penalty: RepeatPenalty = 1.0,
    seed: Seed = 0,
    stop: Stops = None,
    special: Annotated[
        bool, typer.Option("--special", help="Read control tokens such as <|im_end|> in the prompt as tokens.")
    ] = False,
    json: Json = False,
) -> None:
    """Continue a text with MODEL, by its likeliest tokens or by tokens drawn."""
    import numpy as np

    from quantize_cli.cli.terminal.text import note, print_json, warn
    from quantize_cli.evaluation.context import beyond
    from quantize_cli.model.source import open_model
    from quantize_cli.runtime.detokenizer import Speech
    from quantize_cli.runtime.generation import generate
    from quantize_cli.runtime.sampler import Sampler, Sampling
    from quantize_cli.runtime.transformer import from_model
    from quantize_cli.tokenizers import load_tokenizer

    sampler = Sampler(Sampling(temperature, top_k, top_p, min_p, repeat_penalty, seed))
    opened = open_model(model)
    for warning in opened.warnings:
        warn(warning)
    tokenizer = load_tokenizer(opened.metadata)
    ids = _ids(model, tokenizer, prompt, special)
    said = tokenizer.decode(ids)
    # The space that encoding puts first belongs to the prompt, or where that says nothing to what is made.
    speech = Speech(tokenizer.decode_bytes, stop or (), drop=" " if tokenizer.adds_space and not said else "")
    sampler.hear(ids)
    transformer = from_model(opened)
    transformer.prepare(note)
    continuation = generate(transformer, np.array(ids), tokens, tokenizer.end_ids, sampler)
    made = _say(continuation, speech, said, quiet=json)
    for warning in beyond(len(ids) + len(made), [opened]):
        warn(warning)
    if json:
        print_json({
            "model": str(model), "prompt": prompt, "prompt_tokens": ids, "tokens": made, "text": speech.text,
            "ended_by": speech.ending(len(made) == tokens),
        })  # fmt: skip


def _ids(model: Path, tokenizer: "Tokenizer", prompt: str, special: bool) -> list[int]:
    """The prompt's tokens; InputError when there are none."""
    from quantize_cli.cli.terminal.text import warn
    from quantize_cli.errors import InputError
    from quantize_cli.evaluation.letters import markers_in, notice

    ids = tokenizer.encode(prompt, parse_special=special)
    if not ids:
        raise InputError(f"{model}: an empty prompt, and the vocabulary has no token to begin with")
    found = {} if special else markers_in(prompt, tokenizer)
    if found:
        warn(notice("the prompt", found))
    return ids


def _say(tokens: Iterator[int], speech: "Speech", first: str, quiet: bool) -> list[int]:
    """Print `first` and what tokens say as they come, up to a stop string; gives the tokens."""
    from quantize_cli.cli.terminal.text import harmless

    made = []
    for token in tokens:
        made.append(token)
        first += speech.take(token)
        if not quiet:
            sys.stdout.write(harmless(first))
            sys.stdout.flush()
        first = ""
        if speech.stopped:
            break
    rest = speech.finish()
    if not quiet:
        sys.stdout.write(harmless(first + rest) + "\n")
    return made
