"""Some of the inputs that `make fuzz` reads by the hundred thousand, and the fuzzer itself."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.fuzz import campaign, worker
from tests.fuzz.readers import READERS, Reader
from tests.fuzz.worker import Batch

_INPUTS = {"template": 3}
"""Where it is not the number below: each input of a template is a process of its own."""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="inputs are read in forked processes")
@pytest.mark.parametrize("name", READERS)
def test_a_spoiled_file_is_read_or_refused(name: str, tmp_path: Path) -> None:
    outcome = campaign.run([name], _INPUTS.get(name, 200), 5, 1, tmp_path / "scratch", tmp_path / "kept")
    assert outcome.inputs == _INPUTS.get(name, 200)
    assert [f"{finding.kind}: {finding.detail}" for finding, _ in outcome.kept] == []


@pytest.mark.parametrize("name", READERS)
def test_an_input_is_the_same_each_time(name: str) -> None:
    seeds = READERS[name].seeds()
    spoiled = [worker.spoiled(Batch(name, 0, 9, 1), number, seeds)[1] for number in range(9)]
    assert spoiled == [worker.spoiled(Batch(name, 0, 9, 1), number, seeds)[1] for number in range(9)]
    assert len(set(spoiled)) > 1


def _allocate() -> None:
    b"x" * (200 << 20)


def _divide() -> None:
    raise ZeroDivisionError


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="the system does not say what is resident")
@pytest.mark.parametrize(
    ("fail", "kind"),
    [(_allocate, "memory"), (_divide, "ZeroDivisionError at ?"), (os.abort, "killed by SIGABRT")],
)
def test_what_may_not_be_is_found_and_kept(
    fail: Callable[[], None], kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (seed,) = READERS["recipe"].seeds()

    def read(folder: Path, name: str) -> None:
        if (folder / name).read_bytes() != seed.files[name]:
            fail()

    monkeypatch.setitem(READERS, "odd", Reader(1, lambda: [seed], read))
    outcome = campaign.run(["odd"], 20, 0, 2, tmp_path / "scratch", tmp_path / "kept")
    assert (outcome.inputs, outcome.counts) == (20, {f"odd: {kind}": 20})
    assert [path.is_file() for _, path in outcome.kept] == [True] * 3
