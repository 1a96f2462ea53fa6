"""What a training has reached is kept in files that are whole, and belongs to one job."""

from pathlib import Path

import pytest

torch = pytest.importorskip("torch")

from safetensors import safe_open  # noqa: E402

from quantize_cli.errors import InputError, OutputError  # noqa: E402
from quantize_cli.progress import SILENT, Report  # noqa: E402
from quantize_cli.train.runner.checkpoint import Checkpoints  # noqa: E402
from quantize_cli.train.runner.loop import PhaseTrainer  # noqa: E402
from tests.train.test_loop import CPU, Valley, trained  # noqa: E402

RECORD = {"batch": 4, "method": "qat", "data_sha256": "a" * 64, "torch": "1", "threads": 2}


@pytest.fixture
def checkpoints(tmp_path: Path) -> Checkpoints:
    made = Checkpoints(tmp_path / "out.gguf")
    assert made.prepare(resume=False) is False
    made.write_record(RECORD, "b" * 64, {"method": "gptq"})
    return made


def begun(steps: int) -> PhaseTrainer:
    return trained(PhaseTrainer(Valley().phase(), CPU, False), until=steps)


def test_a_phase_in_progress_comes_back(checkpoints: Checkpoints) -> None:
    trainer, other = begun(5), PhaseTrainer(Valley().phase(), CPU, False)
    checkpoints.save(1, trainer)
    assert checkpoints.restore(1, other)
    assert other.progress == trainer.progress
    assert other.tensors().keys() == trainer.tensors().keys()
    assert all(torch.equal(value, other.tensors()[name]) for name, value in trainer.tensors().items())


def test_a_checkpoint_of_another_phase_is_not_taken(checkpoints: Checkpoints) -> None:
    checkpoints.save(1, begun(5))
    other = PhaseTrainer(Valley().phase(), CPU, False)
    assert not checkpoints.restore(2, other)
    assert other.progress.step == 0


def test_the_end_of_a_phase_has_no_moments(checkpoints: Checkpoints) -> None:
    checkpoints.save_done(0, begun(40))
    with safe_open(checkpoints.directory / "phase-0.safetensors", framework="pt") as file:
        assert sorted(file.keys()) == ["parameter.0", "parameter.1"]
    assert checkpoints.restore_done(0, PhaseTrainer(Valley().phase(), CPU, False))
    assert not checkpoints.restore_done(1, PhaseTrainer(Valley().phase(), CPU, False))


def test_an_existing_directory_is_refused_with_a_hint(checkpoints: Checkpoints) -> None:
    with pytest.raises(OutputError, match=r"out\.gguf\.training: already exists$") as caught:
        checkpoints.refuse_existing(resume=False, force=False)
    assert caught.value.hint == "--resume continues it, --force replaces it"
    checkpoints.refuse_existing(resume=True, force=False)
    checkpoints.refuse_existing(resume=False, force=True)


def test_a_file_in_its_place_is_refused(tmp_path: Path) -> None:
    (tmp_path / "out.gguf.training").write_text("")
    with pytest.raises(OutputError, match="is no directory"):
        Checkpoints(tmp_path / "out.gguf").refuse_existing(resume=False, force=True)


def test_another_job_is_refused_by_what_differs(checkpoints: Checkpoints) -> None:
    checkpoints.refuse_other(RECORD, SILENT)
    with pytest.raises(InputError, match=r"was begun with batch '4', not '8'$") as caught:
        checkpoints.refuse_other({**RECORD, "batch": 8}, SILENT)
    assert caught.value.hint == "--force starts again"
    with pytest.raises(InputError, match=r"was begun with data_sha256 'a{16}\.\.\.', not 'c{16}\.\.\.'$"):
        checkpoints.refuse_other({**RECORD, "data_sha256": "c" * 64}, SILENT)
    with pytest.raises(InputError, match=r"was begun with a start file of digest 'b{16}\.\.\.', not 'd{16}\.\.\.'$"):
        checkpoints.refuse_other_start("d" * 64)


def test_another_torch_is_a_warning(checkpoints: Checkpoints) -> None:
    warnings: list[str] = []
    checkpoints.refuse_other({**RECORD, "torch": "2"}, Report(warn=warnings.append))
    assert [warning.partition(": ")[2] for warning in warnings] == [
        "was begun with torch '1', not '2'; the result may differ in its last bits"
    ]


def test_what_is_damaged_is_refused(checkpoints: Checkpoints) -> None:
    checkpoints.save(0, begun(5))
    path = checkpoints.directory / "checkpoint.safetensors"
    path.write_bytes(path.read_bytes()[:-3])
    with pytest.raises(InputError, match=r"checkpoint\.safetensors: is damaged: "):
        checkpoints.restore(0, PhaseTrainer(Valley().phase(), CPU, False))
    (checkpoints.directory / "training.json").write_text("{}")
    with pytest.raises(InputError, match=r"training\.json: is no record of a training$"):
        checkpoints.start_table()


def test_clearing_leaves_only_what_was_started_from(checkpoints: Checkpoints) -> None:
    checkpoints.save(0, begun(3))
    checkpoints.save_done(0, begun(3))
    checkpoints.start.write_text("x")
    checkpoints.clear()
    assert list(checkpoints.directory.iterdir()) == [checkpoints.start]
    checkpoints.start.unlink()
    checkpoints.clear()
    assert not checkpoints.directory.exists()
