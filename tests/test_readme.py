"""What the README and the pages of docs/ say is so: their commands run and print what is shown, their tables are true.

`python -m tests.test_readme` renews the two tables of measurements, types and mixes, in docs/types.md; the words in
their last column stay as they are.
"""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import typer

from quantize_cli import cli, plugins, quants
from quantize_cli.errors import ExitCode, InputError
from quantize_cli.evaluation.corpus import read_chunks
from quantize_cli.evaluation.measure import measure
from quantize_cli.formats.ggml import BLOCK_SHAPE
from quantize_cli.model.source import open_model
from quantize_cli.pipeline import plan, recipe
from quantize_cli.pipeline.executor import Threads
from quantize_cli.pipeline.write import write
from quantize_cli.runtime.transformer import from_model
from quantize_cli.tokenizers import load_tokenizer

ROOT = Path(__file__).resolve().parents[1]
README, DOCS = ROOT / "README.md", ROOT / "docs"
TABLES = DOCS / "types.md"
PAGES = (
    README,
    *(
        DOCS / f"{name}.md"
        for name in ("tour", "types", "inputs", "methods", "training", "reference", "llama.cpp", "extending")
    ),
)
"""In the order in which their commands are run."""
TEXT = "\n".join(path.read_text(encoding="utf-8") for path in PAGES)
_MOST_LINES = 250
"""Of a README that is read to its end."""
MODEL, SAMPLE = ROOT / "examples" / "tiny-llama", ROOT / "examples" / "sample.txt"
_ONCE_ONLY = "compiling kernels for this processor, kept for next time\n"
_SLOW_ONLY = re.compile(r"^[^%\n]* \d+ %\n", re.M)
"""Lines of progress, which come after ten seconds."""


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", TEXT, re.M | re.S)


def console(language: str) -> list[tuple[str, str]]:
    """Commands and what the pages say they print, in order; those of `train` need torch."""
    entries = [entry for block in blocks(language) for entry in re.split(r"^\$ ", block, flags=re.M)[1:]]
    return [(command, shown) for command, _, shown in (entry.partition("\n") for entry in entries)]


def rows(text: str) -> list[list[str]]:
    """The cells of a table's rows, without its head."""
    lines = [line for line in text.splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[1:]]


def section(title: str) -> str:
    """From a bold or hash heading to the next."""
    return re.split(r"^(?:##? |\*\*[A-Z])", TEXT.split(title, 1)[1], maxsplit=1, flags=re.M)[0]


def marked(name: str) -> str:
    return TEXT.split(f"<!-- {name} -->\n")[1].split(f"<!-- /{name} -->")[0]


def code(cell: str) -> list[str]:
    return re.findall(r"`([^`]+)`", cell)


# --- commands ----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of what the commands need, with the recipes shown."""
    place = tmp_path_factory.mktemp("readme")
    shutil.copytree(ROOT / "examples", place / "examples", ignore=shutil.ignore_patterns("*.gguf"))
    for text in blocks("toml"):
        (place / text.partition("\n")[0].removeprefix("# ")).write_text(text)
    return place


def printed(command: str, directory: Path) -> str:
    """What a command prints, both streams, with this environment's `quantize`."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    done = subprocess.run(
        command, shell=True, cwd=directory, env={**os.environ, "PATH": path}, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    assert "Traceback" not in done.stdout
    return _SLOW_ONLY.sub("", done.stdout.replace(_ONCE_ONLY, ""))


def pattern(shown: str) -> str:
    """What output must match: columns of any width, `...` for anything, any time."""
    found = re.escape(" ".join(shown.split()))
    found = re.sub(r"\\\ in\\\ \d+\\\.\d\\\ s", r" in [\\d.]+ s", found)
    return found.replace(r"\.\.\.", ".*").replace(r"\ ", " ")


@pytest.mark.parametrize("language", ["console", "train"])
def test_every_command_prints_what_is_shown(directory: Path, language: str) -> None:
    if language == "train":
        pytest.importorskip("torch")
    for command, shown in console(language):
        assert command.startswith("quantize "), command
        output = " ".join(printed(command, directory).split())
        match = re.fullmatch(pattern(shown), output)
        assert match, f"{command}\nshown:\n{shown}\nprinted:\n{output}"


def test_the_python_shown_runs(directory: Path) -> None:
    (program,) = blocks("python")
    command = [sys.executable, "-W", "error", "-c", program]
    done = subprocess.run(command, cwd=directory, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    assert "(5, 1024)" in done.stdout


def test_every_target_named_is_in_the_makefile() -> None:
    named = set(re.findall(r"\bmake (?:PYTHON=\S+ )?([a-z]+)(?=`|\s{2,}| *#)", TEXT))
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.M))
    assert {"demo", "test"} <= named <= targets


def test_every_path_named_exists() -> None:
    inside = re.compile(r"(?:formats|quantize_cli|tests|examples|configs|docs)/[\w./-]*")
    paths = [path for path in code(TEXT) if inside.fullmatch(path)]
    assert [path for path in paths if not (ROOT / path).exists()] == []
    modules = re.findall(r"python -m (tests[\w.]+)", TEXT)
    assert [name for name in modules if not (ROOT / f"{name.replace('.', '/')}.py").exists()] == []


def anchors(page: Path) -> set[str]:
    """What a link may name in a page: its headings, in the letters that GitHub makes of them."""
    titles = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.M)
    return {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_leads_somewhere(page: Path) -> None:
    links = re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8"))
    for link in links:
        name, _, anchor = link.partition("#")
        if not name.startswith("https://"):
            target = (page.parent / name).resolve() if name else page
            assert target.is_file(), link
            assert not anchor or anchor in anchors(target), link


def test_every_page_is_tested_and_linked_from_the_readme() -> None:
    assert set(DOCS.iterdir()) == set(PAGES[1:])
    assert [page.name for page in PAGES[1:] if f"(docs/{page.name})" not in README.read_text(encoding="utf-8")] == []


def test_the_readme_is_short() -> None:
    assert len(README.read_text(encoding="utf-8").splitlines()) <= _MOST_LINES


def test_the_walk_of_one_weight_names_functions_that_exist() -> None:
    hops = rows(marked("walk"))
    assert len(hops) <= 8
    for _, path, function, _ in hops:
        assert not path.startswith("`quantize_cli/cli/")
        source = (ROOT / path.strip("`")).read_text(encoding="utf-8")
        assert re.search(rf"^ *def {function.strip('`')}\(", source, re.M), (path, function)


def test_the_tree_is_that_of_the_repository() -> None:
    (tree,) = blocks("tree")
    folder, named = "", set()
    for line in tree.splitlines():
        name = line.split()[0]
        folder = folder if line.startswith(" ") else name
        named.add(folder + name if line.startswith(" ") else name)
    assert [path for path in named if not (ROOT / path).exists()] == []
    packages = {f"{path.parent.relative_to(ROOT)}/" for path in (ROOT / "quantize_cli").rglob("__init__.py")}
    assert packages | {"formats/", "configs/", "examples/", "tests/", "docs/"} <= named


# --- the contract ------------------------------------------------------------------------------------------------


def test_every_option_of_every_command_is_listed() -> None:
    application = typer.main.get_command(cli._application(plugins.names("cli")))
    expected = {
        (name, option)
        for name, command in application.commands.items()  # type: ignore[attr-defined]
        for parameter in command.params
        if parameter.param_type_name == "option"
        for option in parameter.opts
        if option not in ("-h", "--help")
    }
    listed = set()
    for options, of, _ in rows(section("**Options.**")):
        commands = plugins.names("cli") if of == "every command" else of.split(", ")
        names = {option.split()[0] for option in code(options)} - {"-h", "--help", "--version"}
        listed |= {(name, option) for name in commands for option in names}
    assert listed == expected


JSON_COMMANDS = {
    "convert": "convert examples/tiny-llama --type f16",
    "plan": "plan examples/tiny-llama",
    "inspect": "inspect examples/tiny-llama",
    "calibrate": "calibrate examples/tiny-llama --text examples/sample.txt --ctx 256 -o json.imatrix.gguf",
    "eval": "eval examples/tiny-llama --text examples/sample.txt --ctx 256 --chunks 1",
    "check": "convert examples/tiny-llama --type q8_0 -o check.gguf 2> /dev/null && quantize check check.gguf",
    "models": "models",
    "verify": "convert examples/tiny-llama --certify examples/sample.txt -o verify.gguf 2> /dev/null && "
    "quantize verify verify.gguf",
    "compare": "compare examples/tiny-llama examples/tiny-llama/model.safetensors --text examples/sample.txt --ctx 256 "
    "--chunks 1",
    "train": "train examples/tiny-llama --text examples/sample.txt --type q2_k --ctx 64 --start-method hqq --dry-run "
    "-o json.gguf",
    "analyze": "analyze examples/tiny-llama --text examples/sample.txt --chunks 1 --types q3_k,q8_0",
    "embed": "embed examples/tiny-llama --text Once --pooling last",
    "run": "run examples/tiny-llama --prompt Once --tokens 1",
    "chat": "convert examples/tiny-llama --type f16 --set tokenizer.chat_template=str:x -o chat.gguf 2> /dev/null && "
    "quantize chat chat.gguf --prompt Once --tokens 1",
    "bench types": "bench types --type f16 --turns 1",
    "bench run": "bench run examples/tiny-llama --prompt 8 --tokens 2 --turns 1",
}


def test_every_command_has_its_json_listed() -> None:
    listed = [of for of, *_ in rows(section("**JSON.**"))]
    assert {of.split()[0] for of in listed} == set(plugins.names("cli"))
    assert set(listed) == set(JSON_COMMANDS)


@pytest.mark.parametrize("name", JSON_COMMANDS)
def test_json_has_the_keys_listed(name: str, directory: Path) -> None:
    if name == "train":
        pytest.importorskip("torch")
    document = json.loads(printed(f"quantize {JSON_COMMANDS[name]} --json", directory))
    keys, item_keys = next((code(keys), code(items)) for of, keys, items in rows(section("**JSON.**")) if of == name)
    assert keys == list(document)
    items: list[dict[str, object]]
    items = next((value for value in document.values() if isinstance(value, list) and isinstance(value[0], dict)), [{}])
    assert item_keys == list(items[0])


def test_exit_codes_are_those_listed() -> None:
    assert [int(number) for number, _ in rows(section("**Exit codes.**"))] == sorted(ExitCode)


# --- tables of measurements --------------------------------------------------------------------------------------


def kept(name: str) -> dict[str, str]:
    """The words that stand in the last column, by the first."""
    return {row[0]: row[-1] for row in rows(marked(name))}


def type_rows() -> Iterator[list[str]]:
    words = kept("types")
    for type_ in sorted(quants.supported(), key=lambda type_: BLOCK_SHAPE[type_].nbytes / BLOCK_SHAPE[type_].weights):
        name, shape = f"`{type_.name.lower()}`", BLOCK_SHAPE[type_]
        bits = f"{8 * shape.nbytes / shape.weights:g}"
        what_for = words.get(name) or f"the mixes {_mixes_of(type_.name)}"
        yield [name, bits, str(shape.weights), str(shape.nbytes), what_for]


def _mixes_of(type_name: str) -> str:
    return ", ".join(f"`{name}`" for name in recipe.presets() if recipe.named(name).default.name == type_name)


def mix_rows(directory: Path) -> list[list[str]]:
    """Every mix that can be made of the example without an importance matrix, the smallest first."""
    return sorted(_measured_mixes(directory), key=lambda row: int(row[1]))


def _measured_mixes(directory: Path) -> Iterator[list[str]]:
    model = open_model(MODEL)
    chunks = read_chunks(SAMPLE, load_tokenizer(model.metadata), 256, None)
    for name in recipe.presets():
        try:
            made = plan.make(model, recipe.named(name))
            path = directory / f"{name}.gguf"
            write({path: made}, Threads(2))
        except InputError:  # how the others refuse
            continue
        (scores,) = measure([from_model(open_model(path))], chunks)
        measured = np.exp(scores.nll.mean())
        yield [f"`{name}`", str(path.stat().st_size), f"{made.bits_per_weight:.2f}", f"{measured:.3f}", _words(name)]
        path.unlink()


def _words(name: str) -> str:
    """What the first line of a recipe says of it."""
    first = (ROOT / "configs" / f"{name}.toml").read_text().splitlines()[0]
    return re.sub(r"^# [^:]*: ", "", first).rstrip(".")


def test_types_are_those_listed() -> None:
    assert list(type_rows()) == rows(marked("types"))


def test_mixes_have_the_sizes_and_perplexities_listed(tmp_path: Path) -> None:
    assert mix_rows(tmp_path) == rows(marked("mixes"))


def renew(directory: Path) -> None:
    """Write the tables of measurements into their page."""
    heads = {
        "types": "| type | bits per weight | weights per block | bytes per block | what for |\n",
        "mixes": "| mix | bytes | bits per weight | perplexity | what it is |\n",
    }
    columns = "|---|---:|---:|---:|---|\n"
    text = TABLES.read_text(encoding="utf-8")
    for name, found in (("types", type_rows()), ("mixes", mix_rows(directory))):
        table = heads[name] + columns + "".join(f"| {' | '.join(row)} |\n" for row in found)
        text = text.replace(f"<!-- {name} -->\n{marked(name)}", f"<!-- {name} -->\n{table}")
    TABLES.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    import tempfile

    with tempfile.TemporaryDirectory() as scratch:
        renew(Path(scratch))
