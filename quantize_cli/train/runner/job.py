"""Everything a person asked of a training, as one value."""

from dataclasses import dataclass
from pathlib import Path

from quantize_cli.pipeline.job import Job


@dataclass(frozen=True)
class TrainJob:
    """What is to be trained. Each field but `conversion` is an option of `quantize train`."""

    conversion: Job
    """Source, output, types; what training starts from is made by it, unless `start` names a file."""
    data: tuple[Path, ...]
    """Texts, or JSON lines with a text or messages each."""
    method: str = "efficientqat"
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
