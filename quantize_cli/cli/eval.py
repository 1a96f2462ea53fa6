"""quantize eval: how well a model predicts a text."""

from pathlib import Path
from typing import Annotated, Optional

import typer

from quantize_cli.cli._options import Json, ModelPath


def command(
    model: ModelPath,
    text: Annotated[Path, typer.Option("--text", metavar="FILE", help="A UTF-8 text to predict.")],
    ctx: Annotated[int, typer.Option("--ctx", help="Tokens per chunk; the second half of each is scored.")] = 512,
    chunks: Annotated[
        Optional[int],  # noqa: UP045
        typer.Option("--chunks", help="Measure only the first so many chunks."),
    ] = None,
    json: Json = False,
) -> None:
    """Measure the perplexity of MODEL on a text, by llama.cpp's protocol."""
    from quantize_cli.cli._progress import progress
    from quantize_cli.cli._text import print_json, print_table, warn
    from quantize_cli.evaluate.corpus import read_chunks
    from quantize_cli.evaluate.perplexity import perplexity
    from quantize_cli.runtime.transformer import from_model
    from quantize_cli.source import open_model
    from quantize_cli.tokenizers import load_tokenizer

    opened = open_model(model)
    for warning in opened.warnings:
        warn(warning)
    parts = read_chunks(text, load_tokenizer(opened.metadata), ctx, chunks)
    with progress(len(parts), " chunks", model.name, quiet=json) as advance:
        found = perplexity(from_model(opened), parts, lambda done, total, so_far: advance(1))
    if json:
        print_json({
            "model": str(model), "text": str(text), "ctx": ctx, "perplexity": found.perplexity,
            "perplexity_stderr": found.perplexity_stderr, "tokens": found.tokens, "chunks": found.chunks,
        })  # fmt: skip
    else:
        measured = f"{found.perplexity:.4f} +/- {found.perplexity_stderr:.4f}"
        on = f"{found.tokens} tokens of {found.chunks} chunks of {ctx}"
        print_table(("model", "perplexity", "measured on"), [(str(model), measured, on)])
