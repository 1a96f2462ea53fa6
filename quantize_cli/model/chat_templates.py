"""Renders a model's chat template safely.

A template is a program from a file. It runs in Jinja's sandbox, without a loader, in a process of its own with limits
of processor time, memory and output, as nothing inside a process can end nested loops or a string that doubles. The
limits do not count the start of the process, and a slow or busy machine does not change them.
A template may use what `transformers` offers (apply_chat_template in utils/chat_template_utils.py).
"""

import json
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from jinja2 import Template
from jinja2.exceptions import TemplateError
from jinja2.ext import Extension, loopcontrols
from jinja2.nodes import Node
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment

from quantize_cli.errors import InputError
from quantize_cli.formats.gguf.layout import Value
from quantize_cli.formats.quoted import quoted
from quantize_cli.limits import limit_process, run_limited

KEY = "tokenizer.chat_template"
_SECONDS = 5
"""Of processor time."""
_RENDERED_PER_SECOND = 100
"""More time for many texts: a large template took 1 ms a text."""
_MEMORY_NBYTES = 512 << 20
_CHARACTERS = 4 << 20
"""The longest result, more than any context holds."""


@dataclass(frozen=True)
class Layout:
    """Messages to render, each with a `role` and a `content`."""

    messages: Sequence[Mapping[str, str]]
    prompts: bool = True
    """The text ends where the assistant's next message begins."""


def render(template: str, messages: Sequence[Mapping[str, str]], tokens: Mapping[str, str]) -> str:
    """The text of a conversation up to the assistant's next message.

    Each message has a `role` and a `content`; `tokens` are the special tokens that a template may name, such as
    `bos_token`. InputError when the template refuses the messages, is invalid, or exceeds a limit.
    """
    return render_all(template, [Layout(messages)], tokens)[0]


def render_all(
    template: str, layouts: Sequence[Layout], tokens: Mapping[str, str], now: datetime | None = None
) -> list[str]:
    """The text of each layout, as `render` gives it, all in one process whose limits grow with their number.

    `now` is the moment that a template is told, by default the present one.
    """
    seconds = _SECONDS + len(layouts) // _RENDERED_PER_SECOND
    job = {
        "template": template,
        "layouts": [{"messages": list(map(dict, layout.messages)), "prompts": layout.prompts} for layout in layouts],
        "tokens": dict(tokens),
        "seconds": seconds,
        "now": None if now is None else now.isoformat(),
    }
    statement = "from quantize_cli.model.chat_templates import answer; answer()"
    child = run_limited(statement, seconds, "the chat template", json.dumps(job).encode())
    if child.returncode:
        raise InputError("the chat template takes more than its share of memory")
    reply = json.loads(child.stdout)
    if "error" in reply:
        raise InputError(f"the chat template fails: {reply['error']}")
    texts: list[str] = reply["texts"]
    return texts


def chat_template(metadata: Mapping[str, Value], path: object) -> str:
    """The template of a file; InputError when it has none."""
    template = metadata.get(KEY)
    if template is None or not isinstance(template.data, str):
        raise InputError(
            f"{path}: the model has no chat template", hint="quantize run continues a text; a chat needs a chat model"
        )
    return template.data


def answer() -> None:
    """The child process: reads a job from its input, and writes the result or the error to its output, as JSON."""
    job = json.load(sys.stdin.buffer)
    limit_process(job["seconds"], _MEMORY_NBYTES)
    try:
        reply: dict[str, Any] = {"texts": _rendered(job)}
    except Exception as error:  # a template may raise whatever Python can
        reply = {"error": quoted(f"{error}" or type(error).__name__)}
    with os.fdopen(1, "wb") as parent:
        parent.write(json.dumps(reply).encode())


def _rendered(job: Mapping[str, Any]) -> list[str]:
    """The text of each layout of a job that `render_all` has written."""
    now = None if job["now"] is None else datetime.fromisoformat(job["now"])
    template = _environment(now).from_string(job["template"])
    return [_text(template, layout, job["tokens"]) for layout in job["layouts"]]


def _environment(now: datetime | None) -> ImmutableSandboxedEnvironment:
    def raise_exception(message: str) -> None:
        raise TemplateError(message)

    extensions = [loopcontrols, _Generation]
    environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, extensions=extensions)
    environment.filters["tojson"] = _tojson
    environment.globals["raise_exception"] = raise_exception
    environment.globals["strftime_now"] = lambda form: (now or datetime.now()).strftime(form)
    return environment


def _text(template: Template, layout: Mapping[str, Any], tokens: Mapping[str, str]) -> str:
    parts, size = [], 0
    plain = {"messages": layout["messages"], "add_generation_prompt": layout["prompts"]}
    for part in template.generate({**plain, "tools": None, "documents": None, **tokens}):
        parts.append(part)
        size += len(part)
        if size > _CHARACTERS:
            raise TemplateError(f"more than {_CHARACTERS} characters")
    return "".join(parts)


def _tojson(
    value: Any, ensure_ascii: bool = False, indent: Any = None, separators: Any = None, sort_keys: bool = False
) -> str:
    """Plain JSON; Jinja's own filter escapes it for HTML."""
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


class _Generation(Extension):
    """`{% generation %}` marks an assistant's text for training; here only its content counts."""

    tags = {"generation"}  # noqa: RUF012 - as Jinja declares it

    def parse(self, parser: Parser) -> list[Node]:
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)
