"""A calibration gives what llama-imatrix gives, wherever it stopped and went on, and adds to other files."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from quantize_cli.calibration.statistics.calibration import CollectionRequest, PreparedCollection, prepare, run
from quantize_cli.errors import InputError, OutputError, QuantizeError, UsageError
from quantize_cli.formats.imatrix import Entry, ImportanceFile, imatrix_bytes, read_imatrix
from tests import checkpoints
from tests.golden.imatrix.make import EXAMPLES, HERE

MODEL, TEXT = EXAMPLES / "tiny-llama", EXAMPLES / "sample.txt"
GOLDEN = HERE / "tiny-llama.imatrix"
SHORT = 32
"""Tokens of a chunk, where what they say does not matter."""


def ready(output: Path, **changes: Any) -> PreparedCollection:
    request = CollectionRequest(MODEL, (TEXT,), output, SHORT)
    return prepare(dataclasses.replace(request, **changes), lambda message: None)


def made(output: Path, advance: Callable[[int], None] = lambda amount: None, **changes: Any) -> ImportanceFile:
    """What is collected, as it was written."""
    run(ready(output, **changes), advance)
    return read_imatrix(output)


def assert_near(expected: dict[str, Entry], found: dict[str, Entry], rel: float) -> None:
    assert sorted(expected) == sorted(found)
    for name, entry in expected.items():
        assert np.array_equal(entry.counts, found[name].counts), name
        assert found[name].squares == pytest.approx(entry.squares, rel=rel), name


def test_sums_and_counts_are_those_of_llama_imatrix(tmp_path: Path) -> None:
    found, golden = made(tmp_path / "i.gguf", context=256), read_imatrix(GOLDEN)
    assert_near(golden.entries, found.entries, rel=1e-3)  # llama.cpp keeps keys and values as float16
    assert (found.chunks, found.context) == (golden.chunks, golden.context)
    assert found.datasets == ("sample.txt",)


@pytest.mark.parametrize("context", [None, 0])
def test_the_usual_chunk_is_what_the_model_was_trained_on(context: int | None, tmp_path: Path) -> None:
    assert ready(tmp_path / "i.gguf", context=context, limit=1).chunks.shape == (1, 256)


def test_a_longer_chunk_than_trained_is_warned_of(tmp_path: Path) -> None:
    assert ready(tmp_path / "i.gguf", context=256).warnings == ()
    (said,) = ready(tmp_path / "i.gguf", context=512).warnings
    assert said.startswith(f"{MODEL}: a context of 512 tokens, where the model was trained on 256")


def test_control_tokens_in_a_text_are_read_as_such_on_request(tmp_path: Path) -> None:
    text = tmp_path / "a.txt"
    text.write_text("Once upon a time</s>" * 40)
    letters, tokens = (ready(tmp_path / "i.gguf", texts=(text,), limit=2, special=it) for it in (False, True))
    assert (2 in letters.chunks, 2 in tokens.chunks) == (False, True)
    assert f"{text}: holds '</s>' 40 times, read as letters; --special reads them as tokens" in letters.warnings
    assert "--special" not in "".join(tokens.warnings)
    run(letters, lambda amount: None)
    with pytest.raises(InputError, match="was made of other tokens"):
        ready(tmp_path / "i.gguf", texts=(text,), limit=2, special=True, resume=True)


def test_a_run_that_is_resumed_gives_the_bytes_of_one_run(tmp_path: Path) -> None:
    whole, parts = tmp_path / "whole.gguf", tmp_path / "parts.gguf"
    made(whole, limit=7)
    assert made(parts, limit=3).chunks == 3
    prepared = ready(parts, limit=7, resume=True, context=None)
    assert (prepared.done, len(prepared.chunks)) == (3, 7)
    run(prepared, lambda amount: None)
    assert whole.read_bytes() == parts.read_bytes()


def test_a_run_that_is_interrupted_keeps_what_was_saved(tmp_path: Path) -> None:
    whole, parts = tmp_path / "whole.gguf", tmp_path / "parts.gguf"
    made(whole, limit=6)
    seen = []

    def interrupt(amount: int) -> None:
        seen.append(amount)
        if len(seen) == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        made(parts, interrupt, limit=6, save_every=2, merge=(GOLDEN,))
    assert read_imatrix(parts).chunks == 4
    made(parts, limit=6, resume=True)
    assert whole.read_bytes() == parts.read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["parts.gguf", "whole.gguf"]


def test_resuming_what_is_not_there_or_is_complete_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "i.gguf"
    made(path, limit=2, resume=True)
    before = path.read_bytes()
    assert ready(path, limit=2, resume=True).done == 2
    made(path, limit=2, resume=True)
    assert path.read_bytes() == before


def test_several_texts_are_read_one_after_the_other(tmp_path: Path) -> None:
    other = tmp_path / "other.txt"
    other.write_text(TEXT.read_text()[3000:])
    both = made(tmp_path / "both.gguf", texts=(TEXT, other), limit=2)
    one, two = (made(tmp_path / f"{text.stem}.gguf", texts=(text,), limit=2) for text in (TEXT, other))
    assert (both.chunks, both.datasets) == (4, ("sample.txt", "other.txt"))
    for name, entry in both.entries.items():
        assert entry.squares == pytest.approx(one.entries[name].squares + two.entries[name].squares, rel=1e-12)


def test_files_that_are_merged_are_added(tmp_path: Path) -> None:
    first, second = tmp_path / "first.gguf", tmp_path / "second.gguf"
    one = made(first, limit=3)
    two = made(second, limit=5, context=64)
    both = made(tmp_path / "both.gguf", texts=(), merge=(first, second))
    more = made(tmp_path / "more.gguf", limit=3, merge=(second,))
    assert (both.chunks, both.context, both.datasets, both.tokens) == (8, 0, ("sample.txt", "sample.txt"), "")
    for name, entry in both.entries.items():
        assert np.array_equal(entry.counts, one.entries[name].counts + two.entries[name].counts)
        for field in ("squares", "sums"):
            expected = getattr(one.entries[name], field) + getattr(two.entries[name], field)
            assert getattr(entry, field) == pytest.approx(expected, rel=1e-13, abs=1e-10)
            assert np.array_equal(getattr(entry, field), getattr(more.entries[name], field))


@pytest.mark.parametrize(
    ("sizes", "limit", "chunks", "context"),
    [((64, 64), 0, 5, 64), ((64, 32), 0, 5, 0), ((64, 0), 0, 5, 0), ((64, 64), 1, 6, 0), ((SHORT, SHORT), 1, 6, SHORT)],
)
def test_a_sum_states_the_size_that_all_its_chunks_have(
    sizes: tuple[int, int], limit: int, chunks: int, context: int, tmp_path: Path
) -> None:
    counts = (2, 3)
    paths = [
        changed(tmp_path / f"{number}.gguf", context=size, chunks=count)
        for number, (size, count) in enumerate(zip(sizes, counts, strict=True))
    ]
    own = {"limit": limit} if limit else {"texts": (), "context": None}
    found = made(tmp_path / "sum.gguf", merge=tuple(paths), **own)
    assert (found.chunks, found.context) == (chunks, context)


def test_what_llama_imatrix_wrote_is_merged_from_both_formats(tmp_path: Path) -> None:
    golden = read_imatrix(GOLDEN)
    for name in ("tiny-llama.imatrix", "tiny-llama.dat"):
        prepared = ready(tmp_path / name, texts=(), merge=(HERE / name,), context=256)
        found = run(prepared, lambda amount: None)
        assert_near(golden.entries, found.entries, rel=1e-6)
        assert (found.chunks, found.datasets) == (golden.chunks, ("sample.txt",))
        assert prepared.warnings == (f"{HERE / name}: has no means of activations, so the sum has none",)
        assert all(entry.sums is None for entry in found.entries.values())


def changed(path: Path, **changes: Any) -> Path:
    """The golden file with something else about it."""
    path.write_bytes(imatrix_bytes(dataclasses.replace(read_imatrix(GOLDEN), **changes)))
    return path


def test_a_file_of_other_names_or_sizes_is_not_merged(tmp_path: Path) -> None:
    entries = dict(read_imatrix(GOLDEN).entries)
    key, output = "blk.1.attn_k.weight", "output.weight"
    less = changed(tmp_path / "less", entries={name: entry for name, entry in entries.items() if name != key})
    more = changed(tmp_path / "more", entries={**entries, output: entries[key]})
    wide = changed(tmp_path / "wide", entries={**entries, key: entries["blk.1.ffn_down.weight"]})
    for path, says, options in (
        (less, f"has no entry for '{key}', this run has one", {}),
        (more, f"has an entry for '{output}', this run has none", {}),
        (GOLDEN, f"has no entry for '{output}', this run has one", {"process_output": True}),
        (wide, f"512 values and 1 counts for '{key}', which has 1 x 256 columns", {}),
    ):
        with pytest.raises(InputError) as caught:
            ready(tmp_path / "i.gguf", merge=(path,), **options)
        assert str(caught.value) == f"{path}: {says}"


def test_what_was_made_of_something_else_is_not_resumed(tmp_path: Path) -> None:
    path, other = tmp_path / "i.gguf", tmp_path / "other.txt"
    made(path, limit=2)
    other.write_text(TEXT.read_text().replace("a", "o"))
    model = checkpoints.build("llama", tmp_path / "model")
    for says, changes in (
        (f"was made of other tokens than those of {other}", {"texts": (other,)}),
        (f"was made of another model than {model}", {"model": model}),
        ("was made with a context of 32 tokens, not 64", {"context": 64}),
        ("has 2 chunks in it, only 1 are wanted", {"limit": 1}),
        ("has no entry for 'output.weight', this run has one", {"process_output": True}),
    ):
        with pytest.raises(InputError) as caught:
            ready(path, resume=True, **{"limit": 2, **changes})
        assert str(caught.value) == f"{path}: {says}"
    with pytest.raises(InputError, match="does not say which chunks are in it, so it cannot be resumed"):
        ready(changed(tmp_path / "theirs"), resume=True)


def test_no_path_of_a_disk_gets_into_the_file(tmp_path: Path) -> None:
    theirs = changed(tmp_path / "theirs", datasets=("/home/someone/a.txt", r"C:\Users\someone\b.txt"))
    path = tmp_path / "i.gguf"
    assert made(path, limit=1, merge=(theirs,)).datasets == ("a.txt", "b.txt", "sample.txt")
    assert str(EXAMPLES).encode() not in path.read_bytes()


@pytest.mark.parametrize(
    ("changes", "kind", "says"),
    [
        ({"texts": ()}, UsageError, "missing option '--text'"),
        ({"texts": (TEXT, TEXT)}, UsageError, "is given twice"),
        ({"limit": 0}, UsageError, "cannot measure 0 chunks"),
        ({"context": -1}, UsageError, "a context of -1 tokens is too short"),
        ({"special": True, "texts": (), "merge": (GOLDEN,)}, UsageError, "--special: there is no text to read"),
        ({"context": 4, "texts": (), "merge": (GOLDEN,)}, UsageError, "a context of 4 tokens is too short"),
        ({"context": 100_000}, InputError, "200000 are needed"),
    ],
)
def test_requests_that_make_no_sense_are_refused(
    changes: dict[str, Any], kind: type[QuantizeError], says: str, tmp_path: Path
) -> None:
    with pytest.raises(kind, match=says):
        ready(tmp_path / "i.gguf", **changes)


def test_an_output_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match=r"absent/i\.gguf: no such file or directory"):
        made(tmp_path / "absent" / "i.gguf", limit=1)
