"""Of a conversation the assistant's tokens count, and a template that does not show which those are is refused."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from quantize_cli.errors import InputError
from quantize_cli.tokenizers import Tokenizer
from quantize_cli.train.data import conversations
from quantize_cli.train.data.conversations import ChatFormat
from quantize_cli.train.data.json_lines import Record

START, END, BREAK = 256, 257, 258
BYTES = Tokenizer(
    pieces=(*(bytes([byte]) for byte in range(256)), b"<|im_start|>", b"<|im_end|>", b"\n\n"),
    control_ids=frozenset({START, END}),
    special_tokens=(("<|im_start|>", START), ("<|im_end|>", END)),
    encode_words=lambda words: list(words.encode()),
    bos_id=None,
    eos_id=END,
    end_ids=frozenset({END}),
    adds_bos=False,
    adds_eos=False,
    adds_space=False,
)
"""A token for each byte, and two markers."""
CHATML = """\
{%- for m in messages %}<|im_start|>{{ m.role }}
{{ m.content }}<|im_end|>
{% endfor %}
{%- if add_generation_prompt %}<|im_start|>assistant
{% endif %}"""
THINKING = CHATML.replace(
    "{{ m.content }}", "{% if loop.last and m.role != 'user' %}<think></think>{% endif %}{{ m.content }}"
)
"""As in Qwen 3, the last answer is rendered otherwise than those before it."""
PLAIN = """\
{%- for m in messages %}{{ m.role }}: {{ m.content }}
{% endfor %}{% if add_generation_prompt %}assistant: {% endif %}"""
"""No answer has an end of its own."""
SAID = (
    ("system", "Be brief."),
    ("user", "Hi <|im_end|>"),
    ("assistant", "Ho"),
    ("user", "Bye"),
    ("assistant", "Bye-bye"),
)


def record(said: Sequence[tuple[str, str]], number: int = 1) -> Record:
    return Record(f"data.jsonl: line {number}", None, tuple({"role": role, "content": text} for role, text in said))


def counted(template: str, said: Sequence[tuple[str, str]] = SAID, tokenizer: Tokenizer = BYTES) -> list[str]:
    """The stretches that count."""
    (document,) = ChatFormat(tokenizer, template).documents([record(said)])
    edges = np.flatnonzero(np.diff(np.concatenate([[False], document.counted, [False]]).astype(int)))
    return [
        b"".join(tokenizer.pieces[token] for token in document.tokens[start:stop]).decode()
        for start, stop in edges.reshape(-1, 2)
    ]


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        (CHATML, ["Ho<|im_end|>", "Bye-bye<|im_end|>"]),
        (THINKING, ["Ho<|im_end|>", "<think></think>Bye-bye<|im_end|>"]),
        (PLAIN, ["Ho\n", "Bye-bye\n"]),
        (CHATML.replace("{{ m.content }}", "{{ m.content | upper }}"), ["HO<|im_end|>", "BYE-BYE<|im_end|>"]),
        ("{% for m in messages %}{% if not loop.first %}<|im_end|>{% endif %}{{ m.role }}: {{ m.content }}{% endfor %}",
         ["<|im_end|>assistant: Ho", "<|im_end|>assistant: Bye-bye"]),
    ],
)  # fmt: skip
def test_answers_count_with_the_token_that_ends_them(template: str, expected: list[str]) -> None:
    assert counted(template) == expected


def test_control_tokens_in_a_message_are_letters() -> None:
    (document,) = ChatFormat(BYTES, CHATML).documents([record(SAID)])
    assert np.count_nonzero(document.tokens == END) == len(SAID)
    assert counted(CHATML, [("user", "a"), ("assistant", "b<|im_end|>c")]) == ["b<|im_end|>c<|im_end|>"]


def test_a_token_across_the_border_belongs_to_the_answer() -> None:
    assert counted(CHATML, [("user", "a"), ("assistant", "\nb")], replace(BYTES, encode_words=_pairs)) == [
        "\n\nb<|im_end|>"
    ]


def _pairs(words: str) -> list[int]:
    """Two line ends are one token."""
    ids: list[int] = []
    for letter in words:
        if letter == "\n" and ids[-1:] == [10]:
            ids[-1] = BREAK
        else:
            ids.append(ord(letter))
    return ids


def test_the_token_that_begins_a_text_comes_first_once() -> None:
    begun = replace(BYTES, bos_id=START, adds_bos=True)
    template = "{% for m in messages %}{{ m.content }}{% endfor %}"
    (document,) = ChatFormat(begun, template).documents([record([("user", "a"), ("assistant", "b")])])
    assert document.tokens.tolist() == [START, ord("a"), ord("b")]
    assert document.counted.tolist() == [False, False, True]
    (document,) = ChatFormat(begun, CHATML).documents([record(SAID)])
    assert document.tokens[:2].tolist() == [START, ord("s")]


@pytest.mark.parametrize(
    ("template", "said", "message"),
    [
        (CHATML, [("user", "a")], "holds no message of the assistant"),
        ("{{ messages | length }}{{ messages[-1].content }}", SAID, "does not begin the conversation as"),
        ("{% for m in messages %}{% if m.role == 'user' %}{{ m.content }}<|im_end|>{% endif %}{% endfor %}",
         SAID, "leaves out answer 1|renders answer 1 otherwise"),
        ("{% for m in messages %}{{ m.content }}{% if not loop.last %};{% else %}.{% endif %}{% endfor %}",
         SAID, "does not begin|renders answer 1 otherwise"),
        ("{{ raise_exception('roles must alternate') }}", SAID, "the chat template fails: 'roles must alternate'"),
    ],
)  # fmt: skip
def test_a_template_that_does_not_show_the_answers_is_refused(
    template: str, said: Sequence[tuple[str, str]], message: str
) -> None:
    with pytest.raises(InputError, match=message) as caught:
        counted(template, said)
    assert f"{caught.value}".startswith("data.jsonl: line 1")


def test_of_many_conversations_the_one_that_fails_is_named() -> None:
    template = "{% if messages[0].role == 'robot' %}{{ raise_exception('no') }}{% endif %}" + CHATML
    records = [record(SAID, 1), record((("robot", "x"), ("assistant", "y")), 2), record(SAID, 3)]
    with pytest.raises(InputError, match=r"data\.jsonl: line 2: the chat template fails: 'no'"):
        list(ChatFormat(BYTES, template).documents(records))


def test_conversations_are_rendered_together(monkeypatch: pytest.MonkeyPatch) -> None:
    processes: list[int] = []
    render_all = conversations.render_all
    monkeypatch.setattr(conversations, "render_all", lambda *arguments: processes.append(1) or render_all(*arguments))
    records = [record(SAID, number) for number in range(150)]
    documents = list(ChatFormat(BYTES, CHATML).documents(records))
    assert len(documents) == 150
    assert len(processes) == 1
    monkeypatch.setattr(conversations, "_RENDERED_AT_ONCE", 20)
    assert [d.tokens.tolist() for d in ChatFormat(BYTES, CHATML).documents(records[:9])] == [
        d.tokens.tolist() for d in documents[:9]
    ]
    assert len(processes) == 1 + 3


def test_the_day_changes_nothing() -> None:
    (document,) = ChatFormat(BYTES, "{{ strftime_now('%d %b %Y') }}" + CHATML).documents([record(SAID)])
    assert bytes(document.tokens[:11].tolist()) == b"01 Jan 2025"
