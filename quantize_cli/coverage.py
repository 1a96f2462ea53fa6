"""What works for which models: read from the registries of families and schemes, and from what the runtime knows."""

from dataclasses import dataclass

from quantize_cli import plugins
from quantize_cli.runtime.family import FAMILIES


@dataclass(frozen=True)
class Works:
    """What can be done with a checkpoint."""

    convert: bool
    run: bool
    eval: bool
    train: bool
    embed: bool


@dataclass(frozen=True)
class FamilyCoverage:
    """One family: how a checkpoint and a GGUF file call it, and what works."""

    name: str
    """The model_type of config.json."""
    architecture: str
    """`general.architecture` of the file."""
    class_name: str
    """What class names of transformers begin with."""
    works: Works


@dataclass(frozen=True)
class SchemeCoverage:
    """One way in which other tools store quantized weights."""

    name: str
    methods: tuple[str, ...]
    """What `quant_method` of config.json calls it."""
    needs_config: bool
    """Whether only a configuration can tell it, and no names of tensors."""
    works: Works


def families() -> tuple[FamilyCoverage, ...]:
    """All families, by name."""
    return tuple(_family(name) for name in plugins.names("families"))


def schemes() -> tuple[SchemeCoverage, ...]:
    """All schemes, by name. Their weights are dequantized where they are read, so all works that works with floats."""
    return tuple(_scheme(name) for name in plugins.names("schemes"))


def _family(name: str) -> FamilyCoverage:
    family = plugins.load("families", name)
    return FamilyCoverage(name, family.ARCHITECTURE, family.CLASS, _works(family.ARCHITECTURE))


def _works(architecture: str) -> Works:
    known = FAMILIES.get(architecture)
    predicts = known is not None and not known.encoder
    return Works(
        convert=True,
        run=predicts,
        eval=predicts,
        train=predicts and known is not None and not known.only_runs,
        embed=known is not None,
    )


def _scheme(name: str) -> SchemeCoverage:
    scheme = plugins.load("schemes", name).SCHEME
    works = [_works(architecture) for architecture in FAMILIES]
    union = Works(
        convert=True,
        run=any(each.run for each in works),
        eval=any(each.eval for each in works),
        train=any(each.train for each in works),
        embed=any(each.embed for each in works),
    )
    return SchemeCoverage(name, scheme.methods, not scheme.marks, union)
