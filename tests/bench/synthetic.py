"""A Llama-shaped checkpoint of any size, its weights random, written without holding it in memory."""

import json
import shutil
from collections.abc import Iterator
from math import prod
from pathlib import Path

import ml_dtypes
import numpy as np

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "tiny-llama"
HIDDEN, FEED_FORWARD, HEADS, KV_HEADS, VOCABULARY = 2048, 5632, 32, 4, 32000


def shapes(layers: int) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Stored names and shapes, as a 1.1 billion parameter Llama (22 layers) has them."""
    head = HIDDEN // HEADS
    yield "lm_head.weight", (VOCABULARY, HIDDEN)
    yield "model.embed_tokens.weight", (VOCABULARY, HIDDEN)
    for layer in range(layers):
        prefix = f"model.layers.{layer}"
        yield f"{prefix}.input_layernorm.weight", (HIDDEN,)
        yield f"{prefix}.post_attention_layernorm.weight", (HIDDEN,)
        yield f"{prefix}.mlp.down_proj.weight", (HIDDEN, FEED_FORWARD)
        yield f"{prefix}.mlp.gate_proj.weight", (FEED_FORWARD, HIDDEN)
        yield f"{prefix}.mlp.up_proj.weight", (FEED_FORWARD, HIDDEN)
        yield f"{prefix}.self_attn.k_proj.weight", (KV_HEADS * head, HIDDEN)
        yield f"{prefix}.self_attn.o_proj.weight", (HIDDEN, HIDDEN)
        yield f"{prefix}.self_attn.q_proj.weight", (HIDDEN, HIDDEN)
        yield f"{prefix}.self_attn.v_proj.weight", (KV_HEADS * head, HIDDEN)
    yield "model.norm.weight", (HIDDEN,)


def build(directory: Path, layers: int) -> int:
    """Write the checkpoint; gives the bytes of its weights."""
    directory.mkdir(parents=True, exist_ok=True)
    config = json.loads((EXAMPLE / "config.json").read_text())
    config.update(
        hidden_size=HIDDEN, intermediate_size=FEED_FORWARD, num_attention_heads=HEADS, num_key_value_heads=KV_HEADS,
        num_hidden_layers=layers, vocab_size=VOCABULARY, head_dim=HIDDEN // HEADS, max_position_embeddings=2048,
    )  # fmt: skip
    (directory / "config.json").write_text(json.dumps(config))
    for name in ("tokenizer.model", "tokenizer_config.json"):
        shutil.copy(EXAMPLE / name, directory / name)
    return _write_weights(directory / "model.safetensors", dict(shapes(layers)))


def _write_weights(path: Path, tensors: dict[str, tuple[int, ...]]) -> int:
    header, end = {}, 0
    for name, shape in tensors.items():
        header[name] = {"dtype": "BF16", "shape": shape, "data_offsets": [end, end + 2 * prod(shape)]}
        end += 2 * prod(shape)
    encoded = json.dumps(header).encode()
    rng = np.random.default_rng(0)
    pool = (rng.standard_normal(1 << 23) * 0.02).astype(ml_dtypes.bfloat16)
    with path.open("wb") as file:
        file.write(len(encoded).to_bytes(8, "little") + encoded)
        for shape in tensors.values():
            left = prod(shape)
            while left:  # a different stretch of the pool each time
                start = int(rng.integers(len(pool) // 2))
                piece = pool[start : start + min(left, len(pool) // 2)]
                file.write(piece.tobytes())
                left -= len(piece)
    return end
