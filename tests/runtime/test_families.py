"""Every family computes what transformers and llama.cpp compute, from a checkpoint and from the file made of it."""

from pathlib import Path

import numpy as np
import pytest

from quantize_cli import plugins
from quantize_cli.errors import InputError
from quantize_cli.model.source import open_model
from quantize_cli.runtime.adjustments import slopes
from quantize_cli.runtime.cache import Cache
from quantize_cli.runtime.family import FAMILIES
from quantize_cli.runtime.transformer import from_model
from tests import oracle
from tests.golden.families.make_golden import TOKENS
from tests.golden.families.variants import VARIANTS, build, golden
from tests.tokenizers.converted import write

SUMS = 1e-5
"""Of the largest logit: float32 sums in another order; transformers' float32 is no closer to the exact result."""
OTHER_GELU = 1e-4
"""The same, where the config asks for the tanh formula and the family's models were trained with the exact GELU."""
TABLED_GELU = 2e-3
"""The same, where llama.cpp looks GELU up in a table of float16."""
LONGER_THAN_LLAMA_CPP = {"minicpm-longrope-untied"}
"""llama.cpp takes the long factors for the room of its test, which is larger than the text."""
RUN = [
    name for name in VARIANTS if plugins.load("families", golden(name)["config"]["model_type"]).ARCHITECTURE in FAMILIES
]
"""Variants of architectures that the runtime knows."""
OTHERWISE_IN_LLAMA_CPP = {"gemma2-scaled"}
"""Converted with a warning that llama.cpp computes something else."""


def tokens() -> np.ndarray:
    return np.array(TOKENS, np.int32)


def bound_of(name: str, architecture: str | None) -> float:
    config, family = golden(name)["config"], FAMILIES[str(architecture)]
    is_exact = config["model_type"] == "mpt" or "gelu" in (config.get("hidden_act"), config.get("activation"))
    return SUMS if is_exact == family.exact_gelu else OTHER_GELU


@pytest.mark.parametrize("name", RUN)
def test_logits_of_a_checkpoint_are_those_of_transformers(name: str, tmp_path: Path) -> None:
    expected = golden(name)["logits"]
    model = open_model(build(name, tmp_path / name))
    actual = from_model(model, threads=1).logits(tokens())[-1]
    differing = np.abs(actual[: len(expected["kept"])] - np.array(expected["kept"])).max()
    assert differing < bound_of(name, model.architecture) * expected["largest"]


@pytest.mark.parametrize("name", sorted(set(RUN) - LONGER_THAN_LLAMA_CPP - OTHERWISE_IN_LLAMA_CPP))
def test_logits_of_its_file_are_those_of_llama_cpp(name: str, tmp_path: Path) -> None:
    # Of another name: by "phi3" in it llama.cpp asks for tokens that Phi 3 has.
    model = write(open_model(build(name, tmp_path / "model")), tmp_path / "model.gguf")
    actual = from_model(open_model(tmp_path / "model.gguf"), threads=1).logits(tokens())
    expected = oracle.Model(tmp_path / "model.gguf", exact=True).logits(tokens())
    bound = TABLED_GELU if FAMILIES[str(model.architecture)].gelu else 10 * SUMS
    assert np.abs(actual - expected).max() < bound * np.abs(expected).max()


@pytest.mark.parametrize("name", ["cohere2", "bloom", "mpt", "gpt_neox", "olmo3", "smollm3", "falcon-new-bf16"])
def test_a_cached_text_continues_as_if_it_were_whole(name: str, tmp_path: Path) -> None:
    transformer = from_model(open_model(build(name, tmp_path / name)), threads=1)
    cache = Cache(transformer.hyperparameters, len(TOKENS))
    pieces = [transformer.logits(piece, cache) for piece in np.split(tokens(), [17, 18, 30])]
    whole = transformer.logits(tokens())
    assert np.abs(np.concatenate(pieces) - whole).max() < 10 * SUMS * np.abs(whole).max()


@pytest.mark.parametrize("name", ["cohere", "granite", "olmo2", "bloom"])
def test_layers_that_only_the_runtime_knows_are_neither_trained_nor_rounded(name: str, tmp_path: Path) -> None:
    model = open_model(build(name, tmp_path / name))
    with pytest.raises(InputError, match=f"architecture '{model.architecture}' is only run"):
        from_model(model, resident=False)


def test_slopes_of_heads_that_are_no_power_of_two_lie_between() -> None:
    """The first eight of twelve heads are those of eight, the others every second of sixteen (the paper's appendix)."""
    assert slopes(8, 8.0).tolist() == [2.0**-number for number in range(1, 9)]
    assert slopes(12, 8.0)[:8].tolist() == slopes(8, 8.0).tolist()
    assert np.allclose(slopes(12, 8.0)[8:], slopes(16, 8.0)[:8:2])
    assert slopes(8, 0.0).size == 0
