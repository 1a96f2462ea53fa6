"""A chat template gives what transformers gives for it, and a hostile one gives an error in good time."""

import datetime
import json
import subprocess
import sys
from pathlib import Path

import pytest

from quantize_cli import limits
from quantize_cli.errors import InputError
from quantize_cli.formats.gguf.layout import text, u32
from quantize_cli.model import chat_templates
from quantize_cli.model.chat_templates import Layout, chat_template, render, render_all

USER = [{"role": "user", "content": "Hi <b>é</b>"}]
TOKENS = {"bos_token": "<s>", "eos_token": "</s>"}

CHATML = """\
{% for message in messages %}
    {{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' + '\\n' }}
{% endfor %}
{% if add_generation_prompt %}
{{ '<|im_start|>assistant\\n' }}
{% endif %}
"""


def test_messages_are_laid_out_as_the_template_says() -> None:
    said = [{"role": "system", "content": "Be brief."}, *USER]
    # The line end that follows a `}}` is the template's own and stays; those after a `%}` do not.
    expected = (
        "    <|im_start|>system\nBe brief.<|im_end|>\n\n    <|im_start|>user\nHi <b>é</b><|im_end|>\n\n"
        "<|im_start|>assistant\n\n"
    )
    assert render(CHATML, said, TOKENS) == expected


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("{{ bos_token }}{{ eos_token }}", "<s></s>"),
        ("{{ messages | tojson }}", '[{"role": "user", "content": "Hi <b>é</b>"}]'),
        ("{{ {'b': 1, 'a': [2]} | tojson(indent=1, sort_keys=true) }}", '{\n "a": [\n  2\n ],\n "b": 1\n}'),
        ("{{ tools is none }} {{ documents is none }}", "True True"),
        ("{% for i in range(9) %}{% if i == 2 %}{% continue %}{% endif %}{% if i == 4 %}{% break %}{% endif %}{{ i }}"
         "{% endfor %}",
         "013"),
        ("{% generation %}{{ messages[0].role }}{% endgeneration %}.", "user."),
        ("{{ messages[0].content.split(' ')[0] | trim }}{{ undefined }}", "Hi"),
        ("{% set ns = namespace(n=0) %}{% for m in messages %}{% set ns.n = ns.n + 1 %}{% endfor %}{{ ns.n }}", "1"),
    ],
)  # fmt: skip
def test_a_template_has_what_transformers_offers(source: str, expected: str) -> None:
    assert render(source, USER, TOKENS) == expected


def test_a_template_knows_the_day() -> None:
    assert render("{{ strftime_now('%Y') }}", USER, {}) in {str(datetime.datetime.now().year + more) for more in (0, 1)}


def test_many_texts_are_rendered_by_one_process_each_as_if_alone() -> None:
    source = "{% set ns = namespace(n=0) %}{% for m in messages %}{% set ns.n = ns.n + 1 %}{{ m.content }}{% endfor %}"
    source += "{{ ns.n }}{% if add_generation_prompt %}!{% endif %}{{ strftime_now('%d %b %Y') }}"
    layouts = [Layout(USER), Layout([*USER, *USER], prompts=False), Layout(USER)]
    texts = render_all(source, layouts, {}, datetime.datetime(2020, 1, 2))
    assert texts == [f"{text}02 Jan 2020" for text in ("Hi <b>é</b>1!", "Hi <b>é</b>Hi <b>é</b>2", "Hi <b>é</b>1!")]


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("{{ raise_exception('only one system message') }}", "only one system message"),
        ("{% for %}", "fails"),
        ("{{ 1 / 0 }}", "division by zero"),
        ("{{ messages[0].content.__class__.__mro__ }}", "unsafe"),
        ("{{ ''.__class__ }}{{ cycler.__init__.__globals__.os.system('true') }}", "unsafe"),
        ("{{ messages.append(1) }}", "not safely callable|unsafe"),
        ("{% include '/etc/passwd' %}", "no loader"),
        ("{% import 'os' as os %}", "no loader"),
        ("{{ undefined.field }}", "is undefined"),
        ("{{ raise_exception('\x1b[2J') }}", r"\\x1b"),
        ("{{ range(99999999) }}", "Range too big"),
    ],
)
def test_what_a_template_may_not_do_is_said(source: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        render(source, USER, TOKENS)


@pytest.mark.parametrize(
    "source",
    [
        "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}",
        "{{ 9 ** (9 ** 9) }}",
        "{{ 'a' * 10 ** 10 }}",
        "{% set ns = namespace(s='ab') %}{% for i in range(60) %}{% set ns.s = ns.s ~ ns.s %}{% endfor %}{{ ns.s }}",
        "{% for a in range(99999) %}{{ 'a' * 100000 }}{% endfor %}",
        "{% macro again() %}{{ again() }}{% endmacro %}{{ again() }}",
        "{{ '%9999999999d' % 1 }}",
        "{{ 'x' | center(9999999999) }}",
        "{{ '{:9999999999}'.format(1) }}",
    ],
)
def test_a_template_takes_so_much_and_no_more(source: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chat_templates, "_SECONDS", 1)
    with pytest.raises(InputError, match="the chat template"):
        render(source, USER, TOKENS)


def test_time_that_is_not_the_templates_is_not_counted() -> None:
    """Start-up that takes longer than a template may, and then a template."""
    layouts = [{"messages": [], "prompts": True}]
    job = {"template": "fine", "layouts": layouts, "tokens": {}, "seconds": 1, "now": None}
    busy = "import time\nwhile time.process_time() < 1.2: pass"
    program = (
        f"import sys; sys.path[:] = {sys.path!r}\n{busy}\n"
        "from quantize_cli.model.chat_templates import answer; answer()"
    )
    child = subprocess.run(
        [sys.executable, "-c", program], input=json.dumps(job).encode(), capture_output=True, check=True
    )
    assert json.loads(child.stdout) == {"texts": ["fine"]}


def test_processor_time_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chat_templates, "_SECONDS", 1)
    with pytest.raises(InputError, match="takes more than 1 s of processor time"):
        render("{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}", USER, TOKENS)


def test_a_process_that_is_held_up_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "_PATIENCE", 0.01)
    with pytest.raises(InputError, match=r"takes more than 0\.01 s"):
        render("fine", USER, TOKENS)


def test_the_current_directory_lends_no_modules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "json.py").write_text("raise SystemExit(1)")
    monkeypatch.chdir(tmp_path)
    assert render("fine", USER, TOKENS) == "fine"


def test_a_model_without_a_template_is_named() -> None:
    with pytest.raises(InputError, match=r"model.gguf: the model has no chat template"):
        chat_template({}, "model.gguf")
    with pytest.raises(InputError, match=r"model.gguf: the model has no chat template"):
        chat_template({chat_templates.KEY: u32(1)}, "model.gguf")
    assert chat_template({chat_templates.KEY: text("{{ 1 }}")}, "model.gguf") == "{{ 1 }}"
