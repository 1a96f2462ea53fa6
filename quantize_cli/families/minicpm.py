"""MiniCPM 1: Llama with what embeddings, what is added to the stream, and logits are multiplied by."""

from collections.abc import Sequence

from quantize_cli.families.decoder import decoder, rope
from quantize_cli.families.decoder import llama as architecture
from quantize_cli.families.decoder.config import Config, count, number
from quantize_cli.formats.gguf.layout import Value, f32
from quantize_cli.model.tensor import Tensor

ARCHITECTURE = "minicpm"
CLASS = "MiniCPM"
TOKENIZERS = ("spm",)
DEFAULTS = {
    "vocab_size": 32000,
    "hidden_size": 4096,
    "intermediate_size": 11008,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": None,
    "max_position_embeddings": 2048,
    "rms_norm_eps": 1e-6,
    "scale_emb": 1,
    "dim_model_base": 1,
    "scale_depth": 1,
    "tie_word_embeddings": True,
}
"""What MiniCPMConfig of its checkpoints fills in."""
FIXED = {"num_experts": (0,), "use_sparse_attention": (False,)}

PREFIX = decoder.PREFIX
SLOTS = decoder.with_adjacent_pairs({**decoder.EMBEDDING, **decoder.ATTENTION, **decoder.FEED_FORWARD})


def metadata(config: Config) -> dict[str, Value]:
    hidden, layers = count(config, "hidden_size"), count(config, "num_hidden_layers")
    entries = decoder.metadata(ARCHITECTURE, config)
    return {
        **(entries if rope.states_base(config) else rope.unless_usual(entries)),
        "minicpm.embedding_scale": f32(number(config, "scale_emb")),
        "minicpm.residual_scale": f32(number(config, "scale_depth") / layers**0.5),
        "minicpm.logit_scale": f32(hidden / count(config, "dim_model_base")),
    }


def tensors(config: Config, stored: Sequence[Tensor]) -> list[Tensor]:
    return [*architecture.rotary_tensors(config), *decoder.tensors(SLOTS, config, stored)]


def remarks(config: Config, placed: Sequence[Tensor]) -> tuple[str, ...]:
    return decoder.remarks(ARCHITECTURE, config, placed, DEFAULTS, FIXED)
