"""Everything a person asked of a training, as one value."""

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from quantize_cli.pipeline.job import Job

_FREE = {"conversion", "data", "start", "resume", "save_minutes", "save_float"}
_FREE_OF_CONVERSION = {"source", "output", "recipe", "imatrix", "texts", "certify", "threads"}
"""Fields that may change when a training goes on; those that name files, since files are known by their digests."""


@dataclass(frozen=True)
class TrainJob:
    """What is to be trained. Each field but `conversion` is an option of `quantize train`."""

    conversion: Job
    """Source, output, types; what training starts from is made by it, unless `start` names a file."""
    data: tuple[Path, ...]
    """Texts, or JSON lines with a text or messages each."""
    method: str = "qat"
    start: Path | None = None
    """A GGUF file whose codes training starts from."""
    steps: int | None = None
    """End to end; None for the method's own choice."""
    block_steps: int | None = None
    """For each block."""
    batch: int = 4
    """Chunks a step."""
    context: int = 256
    """Tokens of a chunk."""
    seed: int = 0
    learning_rate: float | None = None
    """In units of a weight's step (of adapters: absolute); None for the method's own choice."""
    held_out: float = 0.03
    """Share of the chunks that no step sees."""
    patience: int | None = None
    """Looks at what is held out that may pass without a gain; None never stops early."""
    save_minutes: float = 10.0
    resume: bool = False
    device: str = "auto"
    bfloat16: bool = False
    gradient_checkpointing: bool = False
    rank: int = 8
    alpha: float = 16.0
    targets: tuple[str, ...] = ()
    """Globs of the matrices that get adapters; none for all of attention and feed-forward."""
    base: str | None = None
    """qlora: nf4, or none for the file of `start` or of `conversion`."""
    merge: bool = False
    """qlora: merge the adapters and quantize again."""
    save_float: Path | None = None
    """Where to write the float weights behind the codes: a .gguf file, or a directory as the source is one."""

    def table(self) -> dict[str, Any]:
        """What training depends on besides the contents of files, as JSON can hold it."""
        own = {field.name: getattr(self, field.name) for field in fields(self) if field.name not in _FREE}
        conversion = {key: value for key, value in self.conversion.table().items() if key not in _FREE_OF_CONVERSION}
        return conversion | {key: list(value) if isinstance(value, tuple) else value for key, value in own.items()}
