"""The torch decoder computes what the runtime computes, for every family, and lets gradients through."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from quantize_cli.errors import InputError
from quantize_cli.formats.ggml import GgmlType
from quantize_cli.model.source import open_model
from quantize_cli.quants import decode
from quantize_cli.runtime.family import FAMILIES
from quantize_cli.runtime.transformer import Transformer, from_model
from tests.runtime.synthetic import Decoder as Description
from tests.runtime.synthetic import small, tokens, weights, write
from tests.runtime.test_transformer import DECODERS

torch = pytest.importorskip("torch")

from quantize_cli.train.decoder.decoder import Decoder  # noqa: E402
from quantize_cli.train.decoder.float_weights import float_weights  # noqa: E402
from quantize_cli.train.decoder.weights import Rows  # noqa: E402

DESCRIPTIONS = DECODERS | {
    "llama, narrower experts than heads, fused": Description("llama", fused=True, biased=True, experts=3),
    "qwen2, yarn by less than one": Description(
        "qwen2", fused=True, biased=True, metadata={"rope.scaling.type": "yarn", "rope.scaling.factor": 0.5}
    ),
    "qwen3, every head its own keys": Description("qwen3", key_value_heads=4, biased=True),
    "gemma2, window of one": Description("gemma2", metadata={"attention.sliding_window": 1}),
    "gemma2, without caps": Description(
        "gemma2", metadata={"attn_logit_softcapping": 0.0, "final_logit_softcapping": 0.0, "rope.dimension_count": 6}
    ),
}
MOST_DIFFERENT = 1e-4
"""Logits are near one; sums in another order move them by some 1e-6."""
MIXED_PRECISION, ALL_BFLOAT16 = 0.05, 0.15
"""Of logits' root mean square: bfloat16 has eight bits, and where all of it is bfloat16, tokens go to other experts."""


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """Threads that wait for each other make small models slow on a busy machine."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def transformer(folder: Path, description: Description) -> Transformer:
    path = write(folder / "model.gguf", description, weights(description))
    return from_model(open_model(path), threads=1, resident=False)


def built(folder: Path, name: str) -> tuple[Transformer, Decoder, Callable[[str], torch.Tensor]]:
    """The runtime's model, the torch decoder, and its weights."""
    reference = transformer(folder, DESCRIPTIONS[name])
    return reference, Decoder(reference), float_weights(open_model(reference.path)).__getitem__


def text(count: int = 100) -> torch.Tensor:
    return torch.from_numpy(tokens(count))[None]


def test_every_family_is_compared() -> None:
    assert {description.architecture for description in DESCRIPTIONS.values()} == {
        name for name, family in FAMILIES.items() if not family.only_runs
    }


@pytest.mark.parametrize("name", DESCRIPTIONS)
def test_logits_are_those_of_the_runtime(name: str, tmp_path: Path) -> None:
    reference, decoder, matrices = built(tmp_path, name)
    batch = np.stack([tokens(100), tokens(100, seed=2)])
    with torch.no_grad():
        actual = decoder(torch.from_numpy(batch), matrices)
    assert np.abs(actual.numpy() - reference.logits(batch)).max() < MOST_DIFFERENT


@pytest.mark.parametrize("count", [64, 65])
def test_factors_for_long_contexts_are_used_as_in_the_runtime(count: int, tmp_path: Path) -> None:
    reference, decoder, matrices = built(tmp_path, "phi3, long factors")
    with torch.no_grad():
        actual = decoder(text(count), matrices)[0]
    assert np.abs(actual.numpy() - reference.logits(tokens(count))).max() < MOST_DIFFERENT


def test_weights_of_a_quantized_file_are_what_its_blocks_stand_for(tmp_path: Path) -> None:
    sizes = {"expert_feed_forward_length": 32}
    description = Description("qwen2moe", experts=4, expert_feed_forward=32, metadata=sizes)
    path = write(tmp_path / "q.gguf", description, weights(description), lambda name: GgmlType.Q8_0)
    model = open_model(path)
    matrices = float_weights(model)
    assert matrices["blk.0.ffn_up_exps.weight"].shape == (4 * 32, 64)
    for tensor in model.tensors:
        if tensor.name in matrices:
            expected = decode(tensor.type, tensor.read(0, tensor.row_count))
            assert np.array_equal(matrices[tensor.name].numpy(), expected)
    assert set(matrices) == {tensor.name for tensor in model.tensors if "norm" not in tensor.name}


def test_a_shared_gate_stored_as_a_vector_is_a_matrix_of_one_row(tmp_path: Path) -> None:
    description = DESCRIPTIONS["qwen2moe"]
    tensors = weights(description)
    for name in [name for name in tensors if "gate_inp_shexp" in name]:
        tensors[name] = tensors[name][0]
    path = write(tmp_path / "model.gguf", description, tensors)
    reference = from_model(open_model(path), resident=False)
    matrices = float_weights(open_model(path))
    assert matrices["blk.0.ffn_gate_inp_shexp.weight"].shape == (1, 64)
    with torch.no_grad():
        actual = Decoder(reference)(text(), matrices.__getitem__)[0]
    assert np.abs(actual.numpy() - reference.logits(tokens(100))).max() < MOST_DIFFERENT


def test_a_weight_that_is_not_finite_is_named(tmp_path: Path) -> None:
    tensors = weights(Description("llama"))
    tensors["blk.1.ffn_up.weight"][3, 5] = np.nan
    path = write(tmp_path / "model.gguf", Description("llama"), tensors)
    with pytest.raises(InputError, match=r"blk.1.ffn_up.weight.* nan at row 3, column 5"):
        float_weights(open_model(path))


@pytest.mark.parametrize("name", ["llama", "gemma2", "qwen2moe", "gpt2", "phi3"])
def test_gradients_are_differences_of_the_loss(name: str, tmp_path: Path) -> None:
    """In a random direction of all matrices at once."""
    _, decoder, matrix_of = built(tmp_path, name)
    decoder.double()
    matrices = {t: matrix_of(t).double() for t in float_weights(open_model(tmp_path / "model.gguf"))}
    generator = torch.Generator().manual_seed(0)
    direction = {t: torch.randn(m.shape, generator=generator, dtype=m.dtype) / m.shape[1] for t, m in matrices.items()}

    def loss(along: float) -> torch.Tensor:
        moved = {t: (m + along * direction[t]).requires_grad_() for t, m in matrices.items()}
        kept.update(moved)
        return torch.nn.functional.cross_entropy(decoder(text(40), moved.__getitem__)[0, :-1], text(40)[0, 1:])

    kept: dict[str, torch.Tensor] = {}
    loss(0.0).backward()
    slope = sum(float((m.grad * direction[t]).sum()) for t, m in kept.items() if m.grad is not None)
    assert {t for t, m in kept.items() if m.grad is None} == set()
    step = 2e-3
    with torch.no_grad():
        difference = float(loss(step) - loss(-step)) / (2 * step)
    assert slope == pytest.approx(difference, rel=2e-2)


@pytest.mark.parametrize("name", ["llama", "llama, experts", "gemma3"])
def test_checkpointing_changes_no_gradient(name: str, tmp_path: Path) -> None:
    _, decoder, matrix_of = built(tmp_path, name)
    gradients = []
    for checkpointing in (False, True):
        decoder.checkpointing = checkpointing
        leaves = {t: matrix_of(t).clone().requires_grad_() for t in float_weights(open_model(tmp_path / "model.gguf"))}
        decoder(text(30), leaves.__getitem__).square().mean().backward()
        gradients.append([leaf.grad for leaf in leaves.values()])
    assert all(torch.equal(a, b) for a, b in zip(*gradients, strict=True))


def test_checkpointing_keeps_less(tmp_path: Path) -> None:
    _, decoder, matrix_of = built(tmp_path, "llama")
    kept = {}
    for checkpointing in (False, True):
        decoder.checkpointing, sizes = checkpointing, []
        with torch.autograd.graph.saved_tensors_hooks(lambda t, s=sizes: s.append(t.numel()) or t, lambda t: t):
            decoder(text(30), lambda name: matrix_of(name).requires_grad_())
        kept[checkpointing] = sum(sizes)
    assert kept[True] < kept[False] / 2


def test_norms_and_biases_get_no_gradient_unless_asked_for(tmp_path: Path) -> None:
    _, decoder, matrix_of = built(tmp_path, "gpt2")
    assert not any(parameter.requires_grad for parameter in decoder.parameters())
    decoder.norm.weight.requires_grad_()
    decoder(text(10), matrix_of).square().mean().backward()
    assert decoder.norm.weight.grad is not None


@pytest.mark.parametrize("name", ["llama", "llama, experts", "qwen3, yarn", "gemma2", "gemma3", "phi3", "gpt2"])
def test_bfloat16_autocast_stays_near(name: str, tmp_path: Path) -> None:
    reference, decoder, matrix_of = built(tmp_path, name)
    expected = torch.from_numpy(reference.logits(tokens(100)))
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        stream = decoder.embed(text(), matrix_of)
        turns = decoder.turns(100)
        block = decoder.blocks[0]
        assert block(stream, turns[block.window > 0], matrix_of).dtype == torch.float32
        actual = decoder(text(), matrix_of)[0]
    assert actual.dtype == torch.float32
    assert (actual - expected).square().mean().sqrt() < MIXED_PRECISION * expected.square().mean().sqrt()


@pytest.mark.parametrize("name", ["llama", "gemma2", "gpt2", "qwen3, yarn"])
def test_gradients_under_autocast_point_the_same_way(name: str, tmp_path: Path) -> None:
    """Also where blocks are computed again in the backward pass, which must then be under autocast too."""
    _, decoder, matrix_of = built(tmp_path, name)
    gradients = []
    for mixed, decoder.checkpointing in ((False, False), (True, False), (True, True)):
        leaves = {t: matrix_of(t).clone().requires_grad_() for t in float_weights(open_model(tmp_path / "model.gguf"))}
        with torch.autocast("cpu", torch.bfloat16, enabled=mixed):
            loss = torch.nn.functional.cross_entropy(decoder(text(40), leaves.__getitem__)[0, :-1], text(40)[0, 1:])
        loss.backward()
        gradients.append(torch.cat([leaf.grad.flatten() for leaf in leaves.values() if leaf.grad is not None]))
    exact, kept, recomputed = gradients
    assert exact.dtype == kept.dtype == torch.float32
    assert torch.nn.functional.cosine_similarity(exact, kept, dim=0) > 0.99
    assert torch.equal(kept, recomputed)


@pytest.mark.parametrize("name", ["llama", "llama, experts", "gemma2", "gpt2"])
def test_all_in_bfloat16_stays_near(name: str, tmp_path: Path) -> None:
    reference, decoder, _ = built(tmp_path, name)
    matrices = float_weights(open_model(reference.path), dtype=torch.bfloat16)
    expected = torch.from_numpy(reference.logits(tokens(100)))
    with torch.no_grad():
        actual = decoder(text(), matrices.__getitem__)[0]
    assert (actual - expected).square().mean().sqrt() < ALL_BFLOAT16 * expected.square().mean().sqrt()


def test_turns_first_made_for_inference_may_be_trained_with(tmp_path: Path) -> None:
    _, decoder, matrix_of = built(tmp_path, "llama")
    with torch.inference_mode():
        decoder(text(20), matrix_of)
    leaf = matrix_of("blk.0.attn_q.weight").clone().requires_grad_()
    decoder(text(20), lambda name: leaf if name == "blk.0.attn_q.weight" else matrix_of(name)).sum().backward()
    assert leaf.grad is not None


def test_pieces_run_alone_are_the_whole(tmp_path: Path) -> None:
    _, decoder, matrix_of = built(tmp_path, "gemma3")
    with torch.no_grad():
        stream, turns = decoder.embed(text(40), matrix_of), decoder.turns(40)
        for block in decoder.blocks:
            stream = block(stream, turns[block.window > 0], matrix_of)
        assert torch.equal(decoder.head(stream, matrix_of), decoder(text(40), matrix_of))


def test_more_positions_than_learned_are_refused(tmp_path: Path) -> None:
    _, decoder, matrix_of = built(tmp_path, "gpt2")
    with pytest.raises(InputError, match="the model has 128 positions, 129 are needed"):
        decoder(text(129), matrix_of)


class Counting:
    """Weights that note what they are asked for, and form products themselves."""

    def __init__(self, matrix_of: Callable[[str], torch.Tensor]) -> None:
        self.matrix_of = matrix_of
        self.asked: list[Rows] = []

    def __call__(self, name: str) -> torch.Tensor:
        return self.matrix_of(name)

    def multiply(self, rows: Rows, x: torch.Tensor) -> torch.Tensor:
        self.asked.append(rows)
        return x @ rows.of(self.matrix_of(rows.name)).T


@pytest.mark.parametrize("name", ["llama, experts", "phi3", "gemma2"])
def test_weights_may_form_their_products(name: str, tmp_path: Path) -> None:
    reference, decoder, matrix_of = built(tmp_path, name)
    multiplying = Counting(matrix_of)
    with torch.no_grad():
        actual = decoder(text(), multiplying)[0]
    assert np.abs(actual.numpy() - reference.logits(tokens(100))).max() < MOST_DIFFERENT
    asked = {rows.name for rows in multiplying.asked}
    embedding = set() if "token_embd.weight" in asked else {"token_embd.weight"}
    assert asked | embedding == set(float_weights(open_model(reference.path)))
    counts = {rows.count for rows in multiplying.asked if "attn_qkv" in rows.name}
    assert counts <= {64 + 2 * 32}


def test_tensors_may_begin_in_the_middle_of_what_they_are_read_from(tmp_path: Path) -> None:
    """As where a checkpoint holds as one what a GGUF file holds as several: rows are counted from a tensor's own."""
    reference, _, matrix_of = built(tmp_path, "llama, experts")
    model = open_model(reference.path)
    model = replace(model, tensors=[replace(tensor, first_row=1000) for tensor in model.tensors])
    multiplying = Counting(matrix_of)
    with torch.no_grad():
        actual = Decoder(from_model(model, resident=False))(text(), multiplying)[0]
    assert np.abs(actual.numpy() - reference.logits(tokens(100))).max() < MOST_DIFFERENT
    assert {rows.first for rows in multiplying.asked if "up_exps" in rows.name} <= {96 * expert for expert in range(8)}
    assert {rows.first for rows in multiplying.asked if "attn" in rows.name} == {0}


def test_a_stack_of_experts_is_asked_for_once(tmp_path: Path) -> None:
    _, decoder, matrix_of = built(tmp_path, "llama, experts")
    asked: list[str] = []
    with torch.no_grad():
        decoder(text(), lambda name: asked.append(name) or matrix_of(name))
    assert asked.count("blk.0.ffn_up_exps.weight") == 1


def test_equally_likely_experts_are_chosen_as_in_the_runtime(tmp_path: Path) -> None:
    description = replace(DESCRIPTIONS["llama, experts"], layers=1)
    tensors = weights(description)
    tensors["blk.0.ffn_gate_inp.weight"][:] = 0
    path = write(tmp_path / "model.gguf", description, tensors)
    reference = from_model(open_model(path), resident=False)
    with torch.no_grad():
        actual = Decoder(reference)(text(), float_weights(open_model(path)).__getitem__)[0]
    assert np.abs(actual.numpy() - reference.logits(tokens(100))).max() < MOST_DIFFERENT


def test_a_float_checkpoint_gives_its_weights(tmp_path: Path) -> None:
    model = open_model(small(tmp_path))
    assert float_weights(model)["blk.0.attn_q.weight"].dtype == torch.float32
