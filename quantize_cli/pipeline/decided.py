"""What is decided of a file to be: its plan, what errors cost, who rounds, and where it goes."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from quantize_cli.certificate import statement
from quantize_cli.model.source import Model
from quantize_cli.pipeline.plan import Plan
from quantize_cli.pipeline.quantize import Rounding

if TYPE_CHECKING:
    from quantize_cli.certificate.certify import CertificateRequest


@dataclass(frozen=True)
class Decisions:
    """A plan, and who decides the codes of its weights."""

    plan: Plan
    """Of the model as one file."""
    rounding: Rounding
    method: str = "none"
    """As a certificate names it."""
    calibration: statement.Calibration | None = None
    """The text that errors were weighed on, as a certificate names it."""
    experts_without_tokens: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    """By name, the experts that it never reached; of some methods known when the file is written."""
    training: statement.Training | None = None
    """What the weights were trained on, and how."""


@dataclass(frozen=True)
class PlannedConversion:
    """What is decided of a conversion, and the files it makes."""

    source: Model = field(repr=False)
    """As it is stored."""
    decided: Decisions = field(repr=False)
    output: Path
    files: Mapping[Path, Plan] = field(repr=False)
    """What is written: `output` itself, or its parts."""
    order: "CertificateRequest | None" = field(default=None, repr=False)
    """The certificate that is asked for, for which the files have room."""

    @property
    def plan(self) -> Plan:
        """The whole model as one file; of several files, before it is split."""
        return next(iter(self.files.values())) if len(self.files) == 1 else self.decided.plan
