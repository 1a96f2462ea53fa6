"""What an error of an embedding costs is what the layers make of it, to first order."""

from pathlib import Path

import numpy as np

from quantize_cli.calibration.statistics import embedding
from quantize_cli.model.source import Model, open_model
from quantize_cli.runtime.transformer import from_model
from tests.runtime.synthetic import Decoder, weights, write


def model_of(folder: Path, decoder: Decoder) -> tuple[Model, dict[str, np.ndarray]]:
    made = weights(decoder)
    return open_model(write(folder / "model.gguf", decoder, made)), made


def test_the_cost_is_the_sum_over_all_that_read_the_stream(tmp_path: Path) -> None:
    model, made = model_of(tmp_path, Decoder("llama"))
    found, expected = embedding.metric(model, [0.5, 2.0, 3.0]), np.zeros((64, 64))
    for layer, mean_square in ((0, 0.5), (1, 2.0)):
        for norm, readers in (("attn_norm", ("attn_q", "attn_k", "attn_v")), ("ffn_norm", ("ffn_gate", "ffn_up"))):
            for reader in readers:
                seen = made[f"blk.{layer}.{reader}.weight"].astype(float) * made[f"blk.{layer}.{norm}.weight"]
                expected += seen.T @ seen / mean_square
    seen = made["output.weight"].astype(float) * made["output_norm.weight"]
    expected += seen.T @ seen / 3.0
    assert np.allclose(found, expected, rtol=1e-2, atol=1e-2)  # weights are rounded to bfloat16


def test_fused_matrices_cost_what_their_parts_do(tmp_path: Path) -> None:
    model, made = model_of(tmp_path, Decoder("phi3", fused=True))
    found, expected = embedding.metric(model, [1.0, 1e30, 1e30]), np.zeros((64, 64))
    for norm, reader in (("attn_norm", "attn_qkv"), ("ffn_norm", "ffn_up")):
        seen = made[f"blk.0.{reader}.weight"].astype(float) * made[f"blk.0.{norm}.weight"]
        expected += seen.T @ seen
    assert np.allclose(found, expected, rtol=1e-2, atol=1e-2)  # weights are rounded to bfloat16


def test_errors_that_are_said_to_cost_less_change_predictions_less(tmp_path: Path) -> None:
    """Along the cheapest directions, and as far along the dearest."""
    model, made = model_of(tmp_path, Decoder("llama", layers=1))
    directions = np.linalg.eigh(embedding.metric(model, [1.0, 1.0]))[1]
    wanted = from_model(model).logits(np.arange(40))
    moved = []
    for chosen in (directions[:, :8], directions[:, -8:]):
        error = 0.05 * np.random.default_rng(0).normal(size=(96, 8)) @ chosen.T
        changed = {**made, "token_embd.weight": made["token_embd.weight"] + error.astype(np.float32)}
        path = write(tmp_path / "changed.gguf", Decoder("llama", layers=1), changed)
        moved.append(np.square(from_model(open_model(path)).logits(np.arange(40)) - wanted).sum())
    assert moved[0] < 0.5 * moved[1]
