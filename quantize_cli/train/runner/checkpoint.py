"""What a training has reached, in a directory beside its output, so that it can be gone on with.

    training.json             what is trained on what: the record
    start.gguf                what it starts from, unless a file was named
    phase-0.safetensors       the parameters of a phase that is done, and what happened in it
    checkpoint.safetensors    the same of the phase that is in progress, with the optimizer's moments

Each file is whole at any time, whenever the process ends. Tensors carry names of ours and numbers, nothing is pickled.
"""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from quantize_cli.errors import InputError, OutputError, not_written
from quantize_cli.formats.json_object import read_object
from quantize_cli.formats.output import atomic_file, staging_directory
from quantize_cli.formats.quoted import quoted
from quantize_cli.formats.unfinished import remove_unfinished
from quantize_cli.progress import Report
from quantize_cli.train.runner.loop import PhaseTrainer, from_table

_RECORD, _CHECKPOINT, _START = "training.json", "checkpoint.safetensors", "start.gguf"
_PROGRESS, _PHASE = "progress", "phase"
_OF_BITS = ("threads", "torch")
"""Of the record: what only changes how sums are rounded."""
_AGAIN_HINT = "--force starts again"
_EXISTS_HINT = "--resume continues it, --force replaces it"


class Checkpoints:
    """The directory of one training."""

    def __init__(self, output: Path) -> None:
        """Of the training whose result will be `output`."""
        self.directory = output.with_name(output.name + ".training")
        self.start = self.directory / _START

    def refuse_existing(self, resume: bool, force: bool) -> None:
        """OutputError where there is something that would be lost, or no directory can be."""
        if self.directory.is_symlink() or (self.directory.exists() and not self.directory.is_dir()):
            raise OutputError(f"{self.directory}: is no directory")
        if self.directory.exists() and not resume and not force:
            raise OutputError(f"{self.directory}: already exists", _EXISTS_HINT)

    def prepare(self, resume: bool) -> bool:
        """Make the directory, empty of what other trainings left; gives whether there is one to go on with."""
        try:
            self.directory.mkdir(exist_ok=True)
        except OSError as error:
            raise not_written(self.directory, error) from error
        remove_unfinished(self.directory)
        if resume and (self.directory / _RECORD).exists():
            return True
        self.start.unlink(missing_ok=True)
        self.clear()
        self.directory.mkdir(exist_ok=True)
        return False

    def clear(self) -> None:
        """Remove all but the file that training started from, and the directory if that is not in it."""
        for path in (
            self.directory / _RECORD,
            self.directory / _CHECKPOINT,
            *self.directory.glob("phase-*.safetensors"),
        ):
            path.unlink(missing_ok=True)
        if self.directory.is_dir() and not any(self.directory.iterdir()):
            self.directory.rmdir()

    # --- the record --------------------------------------------------------------------------------------------------

    def write_record(self, record: Mapping[str, Any], start_sha256: str | None, start: Mapping[str, Any]) -> None:
        """`record` is what must stay the same; `start` what the file that training starts from does not tell itself."""
        path, document = self.directory / _RECORD, {"job": record, "start_sha256": start_sha256, "start": start}
        data = json.dumps(document, ensure_ascii=False, indent=1).encode()
        try:
            with atomic_file(path, len(data)) as output:
                output.write(data, 0)
        except OSError as error:
            raise not_written(path, error) from error

    def start_table(self) -> dict[str, Any]:
        return dict(self._record()["start"])

    def refuse_other(self, record: Mapping[str, Any], report: Report) -> None:
        """InputError that names the first thing in which what was begun differs from `record`."""
        begun = self._record()["job"]
        for name in sorted(record.keys() | begun.keys()):
            was, is_now = begun.get(name), record.get(name)
            if was == is_now:
                continue
            difference = f"{self.directory}: was begun with {name} {_spelled(was)}, not {_spelled(is_now)}"
            if name not in _OF_BITS:
                raise InputError(difference, hint=_AGAIN_HINT)
            report.warn(f"{difference}; the result may differ in its last bits")

    def refuse_other_start(self, sha256: str | None) -> None:
        """InputError unless training began with a file of this digest."""
        begun = self._record()["start_sha256"]
        if begun != sha256:
            was, is_now = _spelled(begun), _spelled(sha256)
            raise InputError(
                f"{self.directory}: was begun with a start file of digest {was}, not {is_now}", hint=_AGAIN_HINT
            )

    def _record(self) -> dict[str, Any]:
        path = self.directory / _RECORD
        record = read_object(path, unique_keys=True)
        parts = (record.get("job"), record.get("start"))
        if not all(isinstance(part, dict) for part in parts) or "start_sha256" not in record:
            raise InputError(f"{path}: is no record of a training", hint=_AGAIN_HINT)
        return record

    # --- states ------------------------------------------------------------------------------------------------------

    def save(self, number: int, trainer: PhaseTrainer) -> None:
        """The state of phase `number`, which is in progress."""
        self._write(_CHECKPOINT, number, trainer, trainer.tensors())

    def save_done(self, number: int, trainer: PhaseTrainer) -> None:
        """The end of phase `number`."""
        tensors = {name: value for name, value in trainer.tensors().items() if name.startswith("parameter.")}
        self._write(f"phase-{number}.safetensors", number, trainer, tensors)

    def restore_done(self, number: int, trainer: PhaseTrainer) -> bool:
        """Give a phase the parameters of its end, if it was done; gives whether it was."""
        path = self.directory / f"phase-{number}.safetensors"
        if not path.exists():
            return False
        self._restore(path, number, trainer)
        return True

    def restore(self, number: int, trainer: PhaseTrainer) -> bool:
        """Take up a phase where it was saved; gives whether it was."""
        path = self.directory / _CHECKPOINT
        return path.exists() and self._restore(path, number, trainer)

    def _write(self, name: str, number: int, trainer: PhaseTrainer, tensors: Mapping[str, Tensor]) -> None:
        path = self.directory / name
        metadata = {_PHASE: str(number), _PROGRESS: json.dumps(trainer.progress.table())}
        try:
            with staging_directory([path]) as staged:
                save_file(dict(tensors), staged[path], metadata)
                with staged[path].open("rb") as file:
                    os.fsync(file.fileno())
        except (OSError, SafetensorError) as error:
            raise OutputError(f"{path}: {str(error).lower()}") from error

    def _restore(self, path: Path, number: int, trainer: PhaseTrainer) -> bool:
        try:
            with safe_open(path, framework="pt") as file:
                metadata = file.metadata()
                if metadata[_PHASE] != str(number):
                    return False
                trainer.restore(_Lazily(file), from_table(json.loads(metadata[_PROGRESS])))
        except (OSError, SafetensorError, KeyError, TypeError, ValueError, RuntimeError) as error:
            raise InputError(f"{path}: is damaged: {' '.join(str(error).lower().split())}", hint=_AGAIN_HINT) from error
        return True


class _Lazily(Mapping[str, Tensor]):
    """The tensors of a safetensors file, each read when it is asked for."""

    def __init__(self, file: Any) -> None:
        self._file, self._names = file, file.keys()

    def __getitem__(self, name: str) -> Tensor:
        if name not in self._names:
            raise KeyError(name)
        tensor: Tensor = self._file.get_tensor(name)
        return tensor

    def __iter__(self) -> Any:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)


def _spelled(value: object) -> str:
    """A value of the record; a digest by its first digits."""
    text = value if isinstance(value, str) else json.dumps(value)
    return quoted(text[:16] + "..." if len(text) == 64 else text)
