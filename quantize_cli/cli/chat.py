"""quantize chat: a conversation."""

import sys
from collections.abc import Iterable, Iterator
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Optional

import typer

from quantize_cli.cli.terminal.options import Json, ModelPath
from quantize_cli.cli.terminal.sampling import TEMPERATURE_HELP, MinP, RepeatPenalty, Seed, Stops, TopK, TopP

if TYPE_CHECKING:
    from quantize_cli.cli.terminal.conversation import Conversation, Voice
    from quantize_cli.model.source import Model
    from quantize_cli.runtime.sampler import Sampling

_CONTEXT = 4096


def command(
    model: ModelPath,
    prompt: Annotated[
        Optional[str],  # noqa: UP045 - typer on Python 3.10
        typer.Option("-p", "--prompt", help="Say this, print the reply, and end."),
    ] = None,
    system: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option("--system", metavar="TEXT", help="What the model is told before the conversation."),
    ] = None,
    tokens: Annotated[
        int, typer.Option("-n", "--tokens", min=0, help="At most so many tokens a reply; 0 for all that fit.")
    ] = 0,
    ctx: Annotated[
        Optional[int],  # noqa: UP045
        typer.Option("--ctx", min=0, help="Tokens a conversation may have; 0 for all the model was trained on."),
    ] = None,
    temperature: Annotated[float, typer.Option("--temperature", metavar="T", help=TEMPERATURE_HELP)] = 0.8,
    top_k: TopK = 40,
    top_p: TopP = 0.95,
    min_p: MinP = 0.05,
    repeat_penalty: RepeatPenalty = 1.0,
    seed: Seed = 0,
    stop: Stops = None,
    json: Json = False,
) -> None:
    """Talk with MODEL: at a terminal, or a line at a time through a pipe."""
    from quantize_cli.cli.terminal.conversation import Conversation
    from quantize_cli.cli.terminal.text import print_json
    from quantize_cli.runtime.sampler import Sampling

    voice = _voice(model, Sampling(temperature, top_k, top_p, min_p, repeat_penalty, seed), ctx, stop or [], tokens)
    conversation = Conversation(voice, system)
    watched = prompt is None and sys.stdin.isatty()
    if watched and not json:
        _talk(conversation)
    else:
        lines = _typed() if watched else (line.rstrip("\r\n") for line in sys.stdin)
        _answer(conversation, lines if prompt is None else [prompt], quiet=json)
    if json:
        turns = [vars(turn) for turn in conversation.turns]
        print_json({"model": str(model), "system": system, "turns": turns})


def _voice(model: Path, sampling: "Sampling", ctx: int | None, stops: list[str], tokens: int) -> "Voice":
    """MODEL, ready to speak."""
    from quantize_cli.cli.terminal.conversation import Voice
    from quantize_cli.cli.terminal.text import note, warn
    from quantize_cli.model.chat_templates import chat_template
    from quantize_cli.model.source import open_model
    from quantize_cli.runtime.generation import Text
    from quantize_cli.runtime.sampler import Sampler
    from quantize_cli.runtime.transformer import from_model
    from quantize_cli.tokenizers import load_tokenizer

    opened = open_model(model)
    for warning in opened.warnings:
        warn(warning)
    template = chat_template(opened.metadata, model)
    tokenizer = load_tokenizer(opened.metadata)
    transformer = from_model(opened)
    transformer.prepare(note)
    return Voice(tokenizer, template, Text(transformer, _room(ctx, opened)), Sampler(sampling), stops, tokens)


def _room(asked: int | None, model: "Model") -> int:
    """Tokens a conversation may have, which are never more than the model was trained on."""
    from quantize_cli.cli.terminal.text import warn
    from quantize_cli.runtime.hyperparameters import reach

    trained = reach(model)
    if asked is not None and asked > trained:
        warn(f"--ctx {asked}: the model was trained on {trained}, more a conversation cannot have")
    return min(_CONTEXT if asked is None else asked or trained, trained)


def _answer(conversation: "Conversation", lines: Iterable[str], quiet: bool) -> None:
    """Answer each line, up to one that ends the conversation."""
    for line in lines:
        if not line.strip() or _obeyed(conversation, line):
            continue
        if line.strip() == "/exit":
            return
        _speak(conversation, line, quiet)


def _talk(conversation: "Conversation") -> None:
    """Answer what is typed; what goes wrong with one message does not end the conversation."""
    from quantize_cli.cli.terminal.text import note
    from quantize_cli.errors import InputError

    note("/clear forgets, /exit or Ctrl-D ends, Ctrl-C stops a reply")
    for line in _typed():
        try:
            _answer(conversation, [line], quiet=False)
        except KeyboardInterrupt:
            sys.stdout.write("\n")
            note("stopped")
        except InputError as error:
            note(f"error: {error}")
            if error.hint:
                note(f"hint: {error.hint}")


def _typed() -> Iterator[str]:
    """Lines a person types, with the editing and history of readline where there is one, until Ctrl-D or /exit."""
    from importlib import import_module, util

    if util.find_spec("readline"):
        import_module("readline")
    while True:
        try:
            line = input("> ")
        except EOFError:
            sys.stdout.write("\n")
            return
        if line.strip() == "/exit":
            return
        yield line


def _obeyed(conversation: "Conversation", line: str) -> bool:
    """Whether the line is for us rather than for the model."""
    if line.strip() != "/clear":
        return False
    conversation.clear()
    return True


def _speak(conversation: "Conversation", line: str, quiet: bool) -> None:
    """Say the reply as it comes."""
    from quantize_cli.cli.terminal.text import harmless, note

    with closing(conversation.reply(line)) as pieces:
        for piece in pieces:
            if not quiet:
                sys.stdout.write(harmless(piece))
                sys.stdout.flush()
    if not quiet:
        sys.stdout.write("\n")
    if conversation.full:
        note("the context is full; /clear begins anew")
