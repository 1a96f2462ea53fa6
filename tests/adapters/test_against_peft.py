"""PEFT loads our adapters, and computes what the merged model does here: `make compare`, where peft is installed."""

from pathlib import Path

import numpy as np
import pytest

from quantize_cli.adapters.merge import merged
from quantize_cli.adapters.peft import write_peft
from quantize_cli.model.source import open_model
from quantize_cli.runtime.transformer import from_model
from tests import checkpoints
from tests.adapters.adapters import adapter_for
from tests.cli.console import MODEL

pytestmark = pytest.mark.slow
MOST_DIFFERENT = 1e-4
"""Logits are of some ten; products are added up in another order."""


@pytest.mark.parametrize("family", ["example", *checkpoints.FAMILIES])
def test_peft_computes_what_the_merged_model_does(family: str, tmp_path: Path) -> None:
    torch, peft = pytest.importorskip("torch"), pytest.importorskip("peft")
    transformers = pytest.importorskip("transformers")
    checkpoint = MODEL if family == "example" else checkpoints.build(family, tmp_path / "m")
    model, tokens = open_model(checkpoint), np.arange(3, 43, dtype=np.int32)
    write_peft(tmp_path / "a", adapter_for(model), model)
    base = transformers.AutoModelForCausalLM.from_pretrained(checkpoint, dtype=torch.float32)
    adapted = peft.PeftModel.from_pretrained(base, tmp_path / "a").eval()
    with torch.no_grad():
        expected = adapted(torch.from_numpy(tokens[None]).long()).logits[0].numpy()
    logits = from_model(merged(model, adapter_for(model))).logits(tokens)
    assert np.abs(logits - expected).max() < MOST_DIFFERENT * max(1.0, np.abs(expected).max())
