"""Experts of a mixture become stacks, however they are stored, and what other tools quantized keeps its codes."""

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from quantize_cli import quants
from quantize_cli.errors import InputError
from quantize_cli.formats.ggml import GgmlType
from quantize_cli.model.rows import SlabOfEach
from quantize_cli.model.source import Model, open_model
from quantize_cli.model.sources import LOSSLESS, Held
from quantize_cli.model.stacks import Stacked, stack
from quantize_cli.model.tensor import from_array
from quantize_cli.pipeline import plan, plan_json, recipe
from tests import checkpoints, oracle
from tests.golden.families.make_golden import TOKENS
from tests.golden.families.variants import VARIANTS, build, golden
from tests.schemes.quantized import COLUMNS, ROWS
from tests.schemes.test_gptq import gptq, settings
from tests.tokenizers.converted import convert

ONE_BY_ONE = {"mixtral": ("w1", "w3", "w2"), "qwen2_moe": ("gate_proj", "up_proj", "down_proj")}
ONE_BY_ONE |= dict.fromkeys(("qwen3_moe", "olmoe", "deepseek_v2"), ONE_BY_ONE["qwen2_moe"])
"""By family, what it calls the three matrices of an expert."""
MIXTRAL = "model.layers.{}.block_sparse_moe.experts.{}.{}"


def experts_of(name: str) -> list[str]:
    return [key for key in golden(name)["stored"] if ".experts." in key]


def stacked(name: str) -> dict[str, np.ndarray | None]:
    """The experts of a variant as newer transformers hold them."""
    tensors: dict[str, np.ndarray | None] = dict.fromkeys(experts_of(name))
    stored, gate, up, down = golden(name)["stored"], *ONE_BY_ONE[name]
    for layer in range(2):
        module = next((key for key in tensors if f"layers.{layer}." in key), "").split(".experts.")[0]
        count = sum(f"layers.{layer}." in key and f".{down}." in key for key in experts_of(name))
        if not count:  # a layer without experts
            continue
        parts = {}
        for part in (gate, up, down):
            names = [f"{module}.experts.{number}.{part}.weight" for number in range(count)]
            parts[part] = np.stack([checkpoints.numbers(one, tuple(stored[one])) for one in names])
        own = f"model.layers.{layer}.mlp.experts"
        tensors |= {f"{own}.gate_up_proj": np.concatenate([parts[gate], parts[up]], axis=1)}
        tensors |= {f"{own}.down_proj": parts[down]}
    return tensors


def numbers_of(model: Model) -> dict[str, np.ndarray]:
    return {t.name: np.asarray(t.read(0, t.row_count)).reshape(t.shape) for t in model.tensors}


@pytest.mark.parametrize("name", ONE_BY_ONE)
def test_stacks_are_read_as_experts_one_by_one_are(name: str, tmp_path: Path) -> None:
    single = numbers_of(open_model(build(name, tmp_path / "a")))
    together = numbers_of(open_model(build(name, tmp_path / "b", tensors=stacked(name))))
    assert single.keys() == together.keys()
    assert all(np.array_equal(single[key], together[key]) for key in single)


@pytest.mark.parametrize("name", ONE_BY_ONE)
def test_a_missing_expert_is_named(name: str, tmp_path: Path) -> None:
    missing = next(key for key in experts_of(name) if "layers.1" in key and ".experts.2." in key)
    directory = build(name, tmp_path, tensors={missing: None})
    with pytest.raises(InputError, match=f"'{missing.removeprefix('model.')}' is missing from the checkpoint, 11 of"):
        open_model(directory)


def test_an_expert_of_another_shape_is_named(tmp_path: Path) -> None:
    directory = build("mixtral", tmp_path, tensors={MIXTRAL.format(0, 1, "w2.weight"): np.zeros((64, 95), np.float32)})
    with pytest.raises(InputError, match=r"experts\.1\.w2\.weight' has shape \[64, 95\], the config says \[64, 96\]"):
        open_model(directory)


def test_more_experts_than_the_config_has_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"w1\.weight' is of expert 3, the config has 3 experts"):
        open_model(build("mixtral", tmp_path / "a", config={"num_local_experts": 3}))
    with pytest.raises(InputError, match="'num_experts_per_tok' is 5, more than the 4 experts"):
        open_model(build("mixtral", tmp_path / "b", config={"num_experts_per_tok": 5}))


@pytest.mark.parametrize(
    ("name", "key", "value"),
    [
        ("qwen2_moe", "norm_topk_prob", True), ("qwen2_moe", "decoder_sparse_step", 2),
        ("qwen2_moe", "qkv_bias", False), ("qwen3_moe", "norm_topk_prob", False),
        ("qwen3_moe", "mlp_only_layers", [0]), ("olmoe", "clip_qkv", 8.0), ("olmoe", "num_key_value_heads", 2),
        ("granitemoe", "hidden_act", "gelu"), ("mixtral", "hidden_act", "gelu"),
    ],
)  # fmt: skip
def test_mixtures_that_llama_cpp_computes_otherwise_are_refused(
    name: str, key: str, value: Any, tmp_path: Path
) -> None:
    tensors: dict[str, np.ndarray | None] = {}
    if key == "num_key_value_heads":
        shapes = {kind: (32, 64) if "proj" in kind else (32,) for kind in ("k_proj", "v_proj", "k_norm")}
        names = {f"model.layers.{i}.self_attn.{kind}.weight": shape for i in (0, 1) for kind, shape in shapes.items()}
        tensors = {one: np.ones(shape, np.float32) for one, shape in names.items()}
    with pytest.raises(InputError, match=rf"^config\.json: key '{key}' is "):
        open_model(build(name, tmp_path, config={key: value}, tensors=tensors))


def quantized_experts(directory: Path, spared: str = "") -> Path:
    """A Mixtral whose gates and ups are of four bits, all but `spared`."""
    stored, tensors = gptq(4, symmetric=True), {}
    for module in (MIXTRAL.format(layer, number, w) for layer in (0, 1) for number in range(4) for w in ("w1", "w3")):
        if module != spared:
            tensors |= {f"{module}.weight": None, **{module + end: values for end, values in stored.parts.items()}}
    return build("mixtral", directory, tensors=tensors, config={"quantization_config": settings(4)})


def test_experts_of_four_bits_keep_their_codes(tmp_path: Path) -> None:
    made = plan.make(open_model(quantized_experts(tmp_path)), recipe.named("q4_0"))
    step = next(step for step in made.steps if step.tensor.name == "blk.1.ffn_up_exps.weight")
    assert step.reason.endswith("repacked from gptq, 4 bits, without loss")
    ranges = [(at, min(at + 55, 4 * ROWS)) for at in range(0, 4 * ROWS, 55)]
    blocks = np.concatenate([pickle.loads(pickle.dumps(step.tensor)).read(*range_) for range_ in ranges])
    expected = np.tile(gptq(4, symmetric=True).weights, (4, 1))
    assert np.array_equal(quants.decode(GgmlType.Q4_0, blocks), expected)
    assert plan_json.from_json(plan_json.to_json(made)) == made


def test_experts_are_stored_in_one_way(tmp_path: Path) -> None:
    directory = quantized_experts(tmp_path, spared=MIXTRAL.format(0, 2, "w1"))
    with pytest.raises(
        InputError, match=r"2\.w1\.weight' is f32, and .*0\.w1\.weight' of the same stack is gptq, 4 bits"
    ):
        open_model(directory)


def test_a_stack_says_what_the_worst_of_its_matrices_loses() -> None:
    class Held4:
        def __init__(self, how: str, *types: GgmlType) -> None:
            self.how, self.block_types = how, types

        def rows(self, start: int, stop: int) -> np.ndarray:
            return np.zeros((stop - start, COLUMNS), np.float32)

        def repacking(self, type_: GgmlType) -> str:
            return self.how

        def blocks(self, type_: GgmlType, start: int, stop: int) -> np.ndarray:
            return np.zeros((stop - start, 36), np.uint8)

    best, other = Held4(LOSSLESS, GgmlType.Q4_0, GgmlType.Q8_0), Held4("minima rounded", GgmlType.Q8_0)
    assert Stacked((best, best), 2).repacking(GgmlType.Q4_0) == LOSSLESS
    assert Stacked((best, other), 2).repacking(GgmlType.Q8_0) == "minima rounded"
    assert Stacked((best, other, Held4("")), 2).repacking(GgmlType.Q8_0) == ""
    assert Stacked((best, other), 2).block_types == (GgmlType.Q8_0,)
    assert Stacked((best, Held(np.zeros((2, 4)))), 2).block_types == ()
    assert Stacked((best, other), 2).scale_beside(GgmlType.Q8_0) is None


def test_rows_of_stacks_are_those_of_their_matrices() -> None:
    values = np.random.default_rng(0).normal(size=(3, 6, 4)).astype(np.float32)
    whole = stack("a", [from_array(str(number), matrix) for number, matrix in enumerate(values)])
    upper = whole.rows_of_each(2, 3)
    assert (whole.shape, upper.shape) == ((3, 6, 4), (3, 3, 4))
    for start in range(10):
        for stop in range(start, 10):
            assert np.array_equal(whole.read(start, stop), values.reshape(18, 4)[start:stop])
            assert np.array_equal(upper.read(start, stop), values[:, 2:5].reshape(9, 4)[start:stop])
    with pytest.raises(InputError, match="9 rows are 3 of each 6, no whole range"):
        upper.as_stored(upper.read(0, 9))
    assert isinstance(upper.source, SlabOfEach)


def in_mxfp4(directory: Path) -> Path:
    """A gpt-oss as published: experts in blocks of 32 codes and powers of two."""
    random, tensors = np.random.default_rng(0), dict[str, np.ndarray | None]()
    for layer in range(2):
        for name, rows, columns in (("gate_up_proj", 192, 64), ("down_proj", 64, 96)):
            module, count = f"model.layers.{layer}.mlp.experts.{name}", columns // 32
            tensors |= {module: None, f"{module}_scales": random.integers(110, 130, (4, rows, count), np.uint8)}
            tensors[f"{module}_blocks"] = random.integers(0, 256, (4, rows, count, 16), np.uint8)
    return build("gpt_oss", directory, tensors=tensors, config={"quantization_config": {"quant_method": "mxfp4"}})


def test_experts_in_mxfp4_are_kept(tmp_path: Path) -> None:
    model = open_model(in_mxfp4(tmp_path / "m"))
    made = plan.make(model, recipe.named("keep"))
    steps = {step.tensor.name: step for step in made.steps}
    plain = {tensor.name: tensor for tensor in model.tensors}
    for name in ("ffn_gate_exps", "ffn_up_exps", "ffn_down_exps"):
        step, whole = steps[f"blk.1.{name}.weight"], plain[f"blk.1.{name}.weight"]
        assert (step.type, step.reason.endswith("from mxfp4, without loss")) == (GgmlType.MXFP4, True)
        parts = [step.tensor.read(at, min(at + 55, whole.row_count)) for at in range(0, whole.row_count, 55)]
        decoded = quants.decode(GgmlType.MXFP4, np.concatenate(parts))
        assert np.array_equal(decoded, whole.read(0, whole.row_count))
    assert plan_json.from_json(plan_json.to_json(made)) == made


@pytest.mark.parametrize(
    ("name", "bound"),
    [
        ("gpt_oss", 5e-3), ("gpt_oss-bf16", 1e-4), ("deepseek_v2", 1e-4), ("deepseek_v3", 1e-4),
        ("deepseek_v3-yarn-bf16", 1e-4),
    ],
)  # fmt: skip
def test_llama_cpp_computes_what_our_runtime_does_not_know(name: str, bound: float, tmp_path: Path) -> None:
    """It rounds the bounds of YaRN, which the first config forbids."""
    convert(build(name, tmp_path / "m"), tmp_path / "m.gguf")
    logits = oracle.Model(tmp_path / "m.gguf", exact=True).logits(np.array(TOKENS, np.int32))[-1]
    expected = golden(name)["logits"]
    differing = np.abs(logits[: len(expected["kept"])] - np.array(expected["kept"])).max()
    assert differing < bound * expected["largest"]


def test_layers_of_deepseek_have_the_feed_forward_that_the_config_says(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"tensor 'layers\.1\.mlp\.gate_proj\.weight' is missing"):
        open_model(build("deepseek_v2", tmp_path / "a", config={"first_k_dense_replace": 2}))
    extra = {"model.layers.2.eh_proj.weight": np.zeros((2, 2), np.float32)}
    model = open_model(build("deepseek_v3", tmp_path / "b", tensors=extra))
    assert len(model.tensors) == len(golden("deepseek_v3")["tensors"])
    with pytest.raises(InputError, match=r"kv_b_proj\.weight' has shape \[112, 32\], the config says \[128, 32\]"):
        open_model(build("deepseek_v3", tmp_path / "c", config={"v_head_dim": 16}))
    lite = open_model(build("deepseek_v2-lite-bf16", tmp_path / "d"))
    assert any("llama.cpp loads no such model of 3 layers" in warning for warning in lite.warnings)


def test_every_second_row_is_read_from_any_range() -> None:
    values = np.arange(4 * 6 * 5, dtype=np.float32).reshape(4, 6, 5)
    whole = from_array("a", values)
    assert np.array_equal(whole.every_second(1).read(2, 11), values.reshape(24, 5)[1::2][2:11])
    turned = whole.transposed()
    assert turned.shape == (4, 5, 6)
    assert np.array_equal(turned.read(3, 17), values.swapaxes(1, 2).reshape(20, 6)[3:17])
    assert turned.read(3, 3).shape == (0, 6)
    vectors = from_array("b", values.reshape(12, 10)).every_second(1)
    assert (vectors.shape, vectors.read(0, 12).tolist()) == ((12, 5), values.reshape(12, 10)[:, 1::2].tolist())


def test_the_size_of_a_mixture_counts_its_experts(tmp_path: Path) -> None:
    model = open_model(build("mixtral", tmp_path))
    assert model.metadata["general.size_label"].data == "4x193K"


def test_no_family_of_experts_lacks_a_second_configuration() -> None:
    families = [name for name in VARIANTS if "-" not in name and any("expert" in key for key in golden(name)["config"])]
    assert {
        "mixtral",
        "qwen2_moe",
        "qwen3_moe",
        "olmoe",
        "granitemoe",
        "granitemoeshared",
        "gpt_oss",
        "deepseek_v2",
        "deepseek_v3",
    } == set(families)
    assert all(any(other.startswith(f"{name}-") for other in VARIANTS) for name in families)
