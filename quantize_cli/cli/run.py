"""quantize run: a text continued."""

import sys
from typing import TYPE_CHECKING, Annotated

from typer import Option

from quantize_cli.cli.terminal.options import Json, ModelPath, Stops, takes_sampling
from quantize_cli.cli.terminal.progress import report
from quantize_cli.cli.terminal.text import escape_controls, print_json, warn

if TYPE_CHECKING:
    from quantize_cli.runtime.sampler import Sampling


@takes_sampling(temperature=0.0)
def command(
    model: ModelPath,
    prompt: Annotated[str, Option("-p", "--prompt", help="The text to continue.")],
    tokens: Annotated[int, Option("-n", "--tokens", min=1, help="At most so many tokens more.")] = 128,
    *,
    sampling: "Sampling",
    stop: Stops = None,
    special: Annotated[
        bool, Option("--special", help="Read control tokens such as <|im_end|> in the prompt as tokens.")
    ] = False,
    json: Json = False,
) -> None:
    """Continue a text with MODEL, by its likeliest tokens or by tokens drawn."""
    from quantize_cli import api
    from quantize_cli.evaluation.context import long_context_warnings

    loaded = api.load(model, report=report(quiet=True))
    text = loaded.generate(prompt, tokens, stop=stop or (), special=special, sampling=sampling)
    first = loaded.detokenize(text.prompt_tokens)
    for piece in text:
        if not json:
            sys.stdout.write(escape_controls(first + piece))
            sys.stdout.flush()
        first = ""
    if not json:
        sys.stdout.write("\n")
        sys.stdout.flush()
    for warning in long_context_warnings(len(text.prompt_tokens) + len(text.tokens), [loaded.source]):
        warn(warning)
    if json:
        print_json({
            "model": str(model), "prompt": prompt, "prompt_tokens": text.prompt_tokens, "tokens": text.tokens,
            "text": text.text, "ended_by": text.ended_by,
        })  # fmt: skip
