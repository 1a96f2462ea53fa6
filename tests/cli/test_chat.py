"""quantize chat: messages laid out by the model's template, replies streamed and remembered."""

import dataclasses
import io
import json
import os
import pty
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

import quantize_cli
from quantize_cli.cli import chat
from quantize_cli.conversation import ChatModel, Conversation, _encoded, capacity, chat_model
from quantize_cli.errors import InputError
from quantize_cli.formats.gguf.layout import ValueType, array, u32
from quantize_cli.model.chat_templates import KEY
from quantize_cli.model.source import open_model
from quantize_cli.progress import Report
from quantize_cli.runtime.sampler import Sampler, Sampling
from quantize_cli.tokenizers import load_tokenizer
from tests.cli.console import COMMAND, MODEL, assert_refused, document, environment, quantize, succeeded

TEMPLATE = "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}assistant:"


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The example with a chat template."""
    path = tmp_path_factory.mktemp("chat") / "chat.gguf"
    succeeded("convert", MODEL, "--type", "f16", "--set", f"{KEY}=str:{TEMPLATE}", "-o", path)
    return path


@pytest.fixture
def voice(model: Path) -> ChatModel:
    return chat_model(quantize_cli.load(model), Sampling(), 200, (), 8)


def run_text(model: Path, prompt: str, count: int) -> str:
    """What `quantize run` makes of a prompt, without the space that begins its answer."""
    found: str = document("run", model, "-p", prompt, "-n", count)["text"]
    return found.removeprefix(" ")


def test_a_reply_continues_what_the_template_makes_of_the_conversation(model: Path) -> None:
    chatted = ("chat", model, "-p", "Tell me.", "--system", "Be kind.", "-n", "12", "--temperature", "0")
    expected = run_text(model, "system: Be kind.\nuser: Tell me.\nassistant:", 12)
    assert succeeded(*chatted) == f"{expected}\n"
    found = document(*chatted)
    (turn,) = found["turns"]
    assert (found["system"], turn["prompt"], turn["text"], turn["ended_by"]) == (
        "Be kind.", "Tell me.", expected, "length",
    )  # fmt: skip
    assert len(turn["tokens"]) == 12


def test_a_pipe_speaks_line_by_line_and_may_clear_and_exit(model: Path) -> None:
    typed = "One\n\n/clear\nOne\nTwo\n/exit\nThree\n"
    done = quantize("chat", model, "-n", "6", "--temperature", "0", "--json", input=typed)
    assert done.returncode == 0, done.stderr
    turns = json.loads(done.stdout)["turns"]
    assert [turn["prompt"] for turn in turns] == ["One", "One", "Two"]
    assert turns[0]["text"] == turns[1]["text"]
    asked = f"user: One\nassistant: {turns[1]['text']}\nuser: Two\nassistant:"
    assert turns[2]["text"] == run_text(model, asked, 6)


@pytest.mark.parametrize("key", ["eot_token_id", "eom_token_id", "eog_token_ids"])
def test_a_reply_ends_at_every_end_of_the_file(key: str, model: Path, voice: ChatModel) -> None:
    whole = Conversation(voice, None)
    list(whole.reply("Tell me."))
    end = whole.turns[0].tokens[3]
    stated = array(ValueType.UINT32, [end]) if key == "eog_token_ids" else u32(end)
    tokenizer = load_tokenizer({**open_model(model).metadata, f"tokenizer.ggml.{key}": stated})
    ended = Conversation(dataclasses.replace(voice, tokenizer=tokenizer, sampler=Sampler(Sampling())), None)
    list(ended.reply("Tell me."))
    (turn,) = ended.turns
    assert (turn.tokens, turn.ended_by) == (whole.turns[0].tokens[: whole.turns[0].tokens.index(end)], "end")


def test_an_end_that_is_no_text_is_named_all_the_same(voice: ChatModel) -> None:
    tokenizer = dataclasses.replace(voice.tokenizer, eos_id=voice.tokenizer.pieces.index(b"\xff"))
    voice = dataclasses.replace(voice, tokenizer=tokenizer, template="{{ eos_token }}")
    assert _encoded(voice, []) == tokenizer.encode("\ufffd")


def test_a_seed_and_stops_hold_in_a_chat_too(model: Path) -> None:
    drawn = ("chat", model, "-p", "Once", "-n", "24", "--temperature", "1.5", "--seed", "3")
    whole = document(*drawn)
    assert whole == document(*drawn)
    text = whole["turns"][0]["text"]
    stop = text[8:11]
    (turn,) = document(*drawn, "--stop", stop)["turns"]
    assert (turn["text"], turn["ended_by"]) == (text[: text.index(stop)], "stop")


def test_a_model_without_a_template_is_refused() -> None:
    assert_refused(quantize("chat", MODEL, "-p", "Hi"), 3, "the model has no chat template", "quantize run")


@pytest.mark.parametrize(("asked", "room", "warned"), [(None, 256, 0), (64, 64, 0), (0, 256, 0), (1024, 256, 1)])
def test_a_conversation_has_at_most_what_the_model_was_trained_on(
    asked: int | None, room: int, warned: int, model: Path
) -> None:
    warnings = list[str]()
    assert capacity(quantize_cli.load(model, report=Report(warn=warnings.append)), asked) == room
    assert warnings == ["--ctx 1024: the model was trained on 256, a conversation cannot have more"] * warned


def test_a_conversation_that_does_not_fit_is_refused(model: Path) -> None:
    done = quantize("chat", model, "-p", "Hi", "--ctx", "4")
    assert_refused(done, 3, "tokens long, its context holds 4", "--ctx")


def test_a_template_that_fails_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "model.gguf"
    succeeded("convert", MODEL, "--type", "f16", "--set", f"{KEY}=str:{{{{ raise_exception('no') }}}}", "-o", path)
    assert_refused(quantize("chat", path, "-p", "Hi"), 3, "the chat template fails: 'no'")


def test_an_interrupted_reply_is_remembered_as_far_as_it_got(voice: ChatModel) -> None:
    conversation = Conversation(voice, None)
    reply = conversation.reply("One")
    for _ in range(3):
        next(reply)
    reply.close()
    (turn,) = conversation.turns
    assert (len(turn.tokens), turn.ended_by) == (3, "interrupt")
    list(conversation.reply("Two"))
    expected = f"user: One\nassistant: {turn.text}\nuser: Two\nassistant:"
    ids = voice.tokenizer.encode(expected, parse_special=True)
    assert conversation.turns[1].prompt_tokens == len(ids)


def test_what_is_said_is_not_read_as_a_marker(voice: ChatModel) -> None:
    turns = dataclasses.replace(voice, template="{% for m in messages %}{{ m.content }}{{ eos_token }}{% endfor %}")
    messages = [{"role": "user", "content": "One</s> two <</s>/s>"}]
    ids = _encoded(turns, messages)
    assert [ids.index(2), ids.count(2)] == [len(ids) - 1, 1]
    assert voice.tokenizer.decode(ids) == messages[0]["content"]


class Interrupted(Conversation):
    """Stops in the middle of the first reply, fails at the second."""

    count = 0

    def reply(self, prompt: str) -> Iterator[str]:  # type: ignore[override]
        self.count += 1
        if self.count == 2:
            raise InputError("no room", hint="/clear")
        for number, piece in enumerate(super().reply(prompt)):
            if self.count == 1 and number == 2:
                raise KeyboardInterrupt
            yield piece


def test_neither_ctrl_c_nor_an_error_ends_a_conversation(
    voice: ChatModel, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("One\nTwo\nThree\n/exit\nFour\n"))
    conversation = Interrupted(voice, None)
    chat._talk(conversation)
    said = capsys.readouterr()
    assert [turn.prompt for turn in conversation.turns] == ["One", "Three"]
    assert [line for line in said.err.splitlines()[1:] if line] == ["stopped", "error: no room", "hint: /clear"]


def test_at_a_terminal_it_prompts_and_ctrl_d_ends_it(model: Path) -> None:
    master, terminal = pty.openpty()
    chatting = subprocess.Popen(
        [*COMMAND, "chat", str(model), "-n", "4", "--temperature", "0"],
        stdin=terminal, stdout=terminal, stderr=terminal, env={**environment(), "TERM": "dumb"},
    )  # fmt: skip
    os.close(terminal)
    said = b""
    for typed in (b"One\n", b"/clear\n", b"\x04"):
        said += until(master, b"> ")
        os.write(master, typed)
    assert chatting.wait(60) == 0
    os.close(master)
    assert said.count(b"> ") == 3
    assert run_text(model, "user: One\nassistant:", 4).encode() in said


def until(master: int, mark: bytes) -> bytes:
    """What a terminal shows up to a mark."""
    shown = b""
    while not shown.endswith(mark):
        shown += os.read(master, 1)
    return shown
