"""A job is a value: it prints, reads back equal, and makes the same file again."""

import pickle
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quantize_cli.errors import UsageError
from quantize_cli.pipeline import convert, job, plan_conversion
from quantize_cli.pipeline.job import Job
from tests.cli.console import MODEL

text = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=12)
path = st.from_regex(r"\A[a-zé ./-]{1,12}\Z").map(Path)
jobs = st.builds(
    Job,
    source=path, output=st.none() | path, bits=st.none() | st.sampled_from([4, 8]), type=st.none() | text,
    recipe=st.none() | path, pure=st.booleans(), tensors=st.lists(text, max_size=2).map(tuple),
    imatrix=st.none() | path, texts=st.lists(path, max_size=2).map(tuple),
    methods=st.lists(text, max_size=2).map(tuple),
    context=st.none() | st.integers(0, 4096), special=st.booleans(), size=st.none() | text,
    bits_per_weight=st.none() | st.floats(0.5, 16), types=st.lists(text, max_size=2).map(tuple),
    settings=st.lists(text, max_size=2).map(tuple), lora=st.lists(text, max_size=2).map(tuple),
    threads=st.none() | st.integers(1, 64),
)  # fmt: skip


@given(jobs)
def test_a_job_reads_back_equal(made: Job) -> None:
    assert job.from_json(made.to_json()) == made
    assert job.from_toml(made.to_toml()) == made
    assert pickle.loads(pickle.dumps(made)) == made


def test_a_job_saved_and_run_again_makes_the_same_file(tmp_path: Path) -> None:
    first = Job(MODEL, tmp_path / "a.gguf", type="q2_k", tensors=("blk.0.*=q8_0",), settings=("general.name=str:Mine",))
    convert(first)
    again = job.from_toml(first.to_toml().replace("a.gguf", "b.gguf"))
    convert(again)
    assert (tmp_path / "a.gguf").read_bytes() == (tmp_path / "b.gguf").read_bytes()


@pytest.mark.parametrize(
    ("written", "told"),
    [
        ("[]", "a json list"), ("{", "not json"), ("{}", "no 'source'"), ('{"source": 1}', "source = '1'"),
        ('{"source": "a", "bits": true}', "bits = 'True'"), ('{"source": "a", "colour": 1}', "unknown field 'colour'"),
    ],
)  # fmt: skip
def test_what_is_no_job_is_refused(written: str, told: str) -> None:
    with pytest.raises(UsageError, match=r"^job: ") as error:
        job.from_json(written)
    assert told in str(error.value)


@pytest.mark.parametrize("options", [{"bits": 4, "type": "q4_0"}, {"type": "q4_0", "size": "1MB"}])
def test_two_ways_to_choose_the_recipe_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="both choose the recipe"):
        plan_conversion(Job(MODEL, **options))


@pytest.mark.parametrize("options", [{"context": 0}, {"chunks": 0}, {"special": True}, {"context": 256}])
def test_options_on_texts_without_a_text_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="there is no text to"):
        plan_conversion(Job(MODEL, **options))
