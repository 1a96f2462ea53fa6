"""Whatever the environment is, a command ends with its exit code and without a traceback."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.console import COMMAND, EXAMPLES, MODEL, environment, succeeded

Q = " ".join(COMMAND)


@pytest.fixture(scope="module")
def chat(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that answers what it is told."""
    path = tmp_path_factory.mktemp("chat") / "日本.gguf"
    template = "tokenizer.chat_template=str:{{ messages[-1].content }}"
    succeeded("convert", MODEL, "--type", "f16", "--set", template, "-o", path)
    return path


def shell(script: str, **variables: str) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        ["bash", "-c", script], capture_output=True, encoding="utf-8", errors="replace", check=False,
        env={**environment(), **variables}, stdin=subprocess.DEVNULL,
    )  # fmt: skip
    assert "Traceback" not in done.stderr
    return done


@pytest.mark.parametrize(
    ("script", "code", "says"),
    [
        ("inspect {model} >&-", 4, "error: standard output: is closed\n"),
        ("--help >&-", 4, "error: standard output: is closed\n"),
        ("--version > /dev/full", 4, "error: standard output: no space left on device\n"),
        ("eval absent --text absent 2>&-", 3, ""),
        ("eval absent --text absent 2> /dev/full", 3, ""),
        ("eval absent --text absent >&- 2>&- <&-", 3, ""),
        ("plan {model} >&- 2>&- <&-", 4, ""),
        ("convert {model} --type f16 -o /dev/null/x.gguf <&- 2>&1 >&-", 4, ""),
        ("chat {chat} -n 2 <&-", 0, ""),
    ],
)
def test_a_closed_or_full_stream_changes_no_exit_code(script: str, code: int, says: str, chat: Path) -> None:
    done = shell(f"{Q} {script.format(model=MODEL, chat=chat)}")
    said = "".join(line for line in done.stderr.splitlines(True) if not line.startswith("compiling"))
    assert (done.returncode, said) == (code, says)


def test_a_file_never_gets_the_number_of_a_closed_stream(tmp_path: Path) -> None:
    done = shell(f"{Q} convert {MODEL} --type f16 -o {tmp_path}/a.gguf >&- 2>&- <&-")
    done_well = shell(f"{Q} convert {MODEL} --type f16 -o {tmp_path}/b.gguf")
    assert (done.returncode, done_well.returncode) == (0, 0)
    assert (tmp_path / "a.gguf").read_bytes() == (tmp_path / "b.gguf").read_bytes()


@pytest.mark.parametrize("encoding", ["ascii", "cp1252", "utf-8"])
def test_what_an_encoding_lacks_is_spelled_out(encoding: str, chat: Path) -> None:
    done = shell(f"{Q} inspect {chat} && {Q} inspect {chat}.absent", PYTHONIOENCODING=encoding)
    name = "日本" if encoding == "utf-8" else r"\u65e5\u672c"
    assert (done.returncode, name in done.stdout, name in done.stderr) == (3, True, True)
    said = json.loads(shell(f"{Q} inspect {chat} --json", PYTHONIOENCODING=encoding).stdout)
    assert said["path"] == str(chat)


@pytest.mark.parametrize("encoding", ["ascii", "utf-8"])
def test_bytes_that_are_no_text_are_read(encoding: str, chat: Path) -> None:
    script = rf"printf 'caf\xe9\n' | {Q} chat {chat} -n 2 --json"
    turns = json.loads(shell(script, PYTHONIOENCODING=encoding).stdout)["turns"]
    assert [turn["prompt"] for turn in turns] == ["caf\ufffd"]


def test_bytes_of_the_command_line_that_are_no_text_are_read(chat: Path) -> None:
    done = shell(rf"{Q} run {chat} -n 2 -p $'caf\xe9'")
    assert (done.returncode, done.stdout[:3]) == (0, "caf")


@pytest.mark.parametrize(
    "variables",
    [{"COLUMNS": "0"}, {"TERM": ""}, {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}, {"LANG": "xx_YY"}],
    ids=str,
)
def test_no_variable_matters(variables: dict[str, str], chat: Path) -> None:
    done = shell(f"{Q} inspect {chat} && {Q} convert --help", **variables)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_what_is_said_first_is_written_first(unbuffered: str) -> None:
    script = f"{Q} eval {MODEL} --text {EXAMPLES}/sample.txt --ctx 1024 --chunks 1 --json 2>&1"
    done = shell(script, PYTHONUNBUFFERED=unbuffered)
    assert done.stdout.startswith("warning: "), done.stdout


def test_a_directory_that_is_gone_is_told(tmp_path: Path) -> None:
    done = shell(f"mkdir {tmp_path}/gone; cd {tmp_path}/gone; rmdir {tmp_path}/gone; {Q} convert {MODEL}")
    assert (done.returncode, done.stderr) == (3, "error: the current directory is gone\n")


def test_few_descriptors_are_enough(tmp_path: Path) -> None:
    done = shell(f"ulimit -n 16; {Q} convert {MODEL} --type q8_0 -o {tmp_path}/a.gguf")
    assert done.returncode == 0, done.stderr


def test_a_user_without_home_or_name_can_work(tmp_path: Path) -> None:
    program = f"""
import os, sys
sys.path.insert(0, {str(EXAMPLES.parent)!r})
import quantize_cli.cli, numpy, rich.table
os.chdir({str(tmp_path)!r})
del os.environ["HOME"]
os.environ.pop("XDG_CACHE_HOME", None)
import pwd
pwd.getpwuid = lambda number: {{}}[number]
sys.argv[1:] = ["convert", {str(MODEL)!r}, "--type", "q8_0", "-o", "a.gguf"]
quantize_cli.cli.main()
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (done.returncode, (tmp_path / "a.gguf").exists()) == (0, True), done.stderr
    assert done.stderr.splitlines()[-1].startswith("warning: compiled kernels are not kept for next time: there is no")


def test_more_positions_than_memory_holds_are_refused_with_both_numbers() -> None:
    for count in ("1000000000", "1" + "0" * 30):
        done = shell(f"{Q} run {MODEL} -p Once -n {count}")
        assert (done.returncode, done.stdout) == (3, "")
        assert "positions take " in done.stderr
        assert ", the machine has " in done.stderr


def test_words_are_out_when_they_are_said() -> None:
    program = """
import os, sys
from quantize_cli.cli.terminal import streams
streams.prepare()
sys.stderr.write("how it goes\\n")
os._exit(0)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env=environment())
    assert done.stderr == "how it goes\n"
