"""ModernBERT: an encoder with rotary positions, gated feed-forwards, and windows to both sides in most layers."""

from collections.abc import Sequence
from typing import Any

from quantize_cli.errors import InputError
from quantize_cli.families.decoder import decoder, keys
from quantize_cli.families.decoder.config import Config, count, number
from quantize_cli.families.decoder.slots import Slot, place
from quantize_cli.families.encoder import encoder
from quantize_cli.formats.checkpoint import Checkpoint
from quantize_cli.formats.gguf.layout import Value, f32, flag, text, u32
from quantize_cli.model.tensor import Tensor

ARCHITECTURE = "modern-bert"
CLASS = "ModernBert"
TOKENIZERS = ("bpe",)
DEFAULTS = {
    "vocab_size": 50368,
    "hidden_size": 768,
    "intermediate_size": 1152,
    "num_hidden_layers": 22,
    "num_attention_heads": 12,
    "max_position_embeddings": 8192,
    "norm_eps": 1e-5,
    "hidden_activation": "gelu",
    "local_attention": 128,
    "classifier_pooling": "cls",
    "tie_word_embeddings": True,
}
"""What transformers' ModernBertConfig fills in."""
FIXED = {
    "hidden_activation": (keys.EXACT_GELU, *keys.SILU), "attention_bias": (False,), "mlp_bias": (False,),
    "norm_bias": (False,), "classifier_pooling": ("cls", "mean"),
}  # fmt: skip
_CONVERTED = {
    "layer_norm_eps", "layer_types", "rope_parameters", "global_rope_theta", "local_rope_theta",
    "global_attn_every_n_layers", "embedding_dropout", "classifier_activation", "classifier_bias", "decoder_bias",
    "deterministic_flash_attn", "initializer_cutoff_factor", "sparse_prediction", "sparse_pred_ignore_index",
    "reference_compile", "repad_logits_with_loss", "repad_logits_with_grad",
}  # fmt: skip
_PERIOD, _BASES = 3, {"full_attention": 160000.0, "sliding_attention": 10000.0}
_OLD_BASES = {"full_attention": "global_rope_theta", "sliding_attention": "local_rope_theta"}
_UNUSED = ("head.", "decoder.")

PREFIX = "model."
SLOTS = {
    "embeddings.tok_embeddings.weight": Slot("token_embd.weight", ("vocabulary", "hidden")),
    "embeddings.norm.weight": Slot("token_embd_norm.weight", ("hidden",)),
    "layers.{}.attn_norm.weight": Slot("blk.{}.attn_norm.weight", ("hidden",), optional=True),
    "layers.{}.attn.Wqkv.weight": Slot("blk.{}.attn_qkv.weight", ("queries_keys_values", "hidden")),
    "layers.{}.attn.Wo.weight": Slot("blk.{}.attn_output.weight", ("hidden", "hidden")),
    "layers.{}.mlp_norm.weight": Slot("blk.{}.ffn_norm.weight", ("hidden",)),
    "layers.{}.mlp.Wi.weight": Slot("blk.{}.ffn_up.weight", ("gate_and_up", "hidden")),
    "layers.{}.mlp.Wo.weight": Slot("blk.{}.ffn_down.weight", ("hidden", "feed_forward")),
    "final_norm.weight": Slot("output_norm.weight", ("hidden",)),
}


def metadata(config: Config) -> dict[str, Value]:
    period, epsilon = _period(config), f32(number(config, "norm_eps"))
    values = {
        "block_count": u32(count(config, "num_hidden_layers")),
        "context_length": u32(count(config, "max_position_embeddings")),
        "embedding_length": u32(count(config, "hidden_size")),
        "feed_forward_length": u32(count(config, "intermediate_size")),
        "attention.head_count": u32(count(config, "num_attention_heads")),
        "rope.freq_base": f32(_base(config, "full_attention")),
        "rope.freq_base_swa": f32(_base(config, "sliding_attention")),
        "rope.scaling.type": text("none"),
        # The converter writes this one, llama.cpp reads the other.
        "attention.layer_norm_rms_epsilon": epsilon,
        "attention.layer_norm_epsilon": epsilon,
        "attention.causal": flag(False),
        "classifier.pooling_type": u32(2 if config["classifier_pooling"] == "cls" else 1),
        "attention.sliding_window": u32(count(config, "local_attention")),
        "vocab_size": u32(count(config, "vocab_size")),
        "hidden_activation": text(str(config["hidden_activation"])),
    }
    if period != _PERIOD or "global_attn_every_n_layers" in config:
        values["attention.sliding_window_pattern"] = u32(period)
    return {f"{ARCHITECTURE}.{key}": value for key, value in values.items()}


def tokenizer_metadata(checkpoint: Checkpoint, _config: Config) -> dict[str, Value]:
    """A text begins and ends with tokens, whatever the tokenizer does not say."""
    if (checkpoint.json("tokenizer.json") or {}).get("post_processor") is not None:
        return {}
    return {f"tokenizer.ggml.add_{role}_token": flag(True) for role in ("bos", "eos", "sep")}


def tensors(config: Config, stored: Sequence[Tensor]) -> list[Tensor]:
    used = [tensor for tensor in stored if not tensor.name.startswith(_UNUSED)]
    sizes = decoder.sizes_of({**config, "num_key_value_heads": config["num_attention_heads"]})
    placed = place(SLOTS, sizes, used, PREFIX)
    for layer in range(1, sizes["layers"]):
        if not any(tensor.name == f"blk.{layer}.attn_norm.weight" for tensor in placed):
            raise InputError(f"tensor 'layers.{layer}.attn_norm.weight' is missing from the checkpoint")
    return placed


def remarks(config: Config, _placed: Sequence[Tensor]) -> tuple[str, ...]:
    encoder.refuse_uneven_heads(config)
    unknown = keys.check(config, ARCHITECTURE, {*DEFAULTS, *_CONVERTED}, FIXED)
    return *unknown, *keys.approximated_gelu(config, "hidden_activation")


def _base(config: Config, kind: str) -> float:
    """The rotary base of one kind of layer; InputError for scaling, which llama.cpp does not apply here."""
    rope: Any = config.get("rope_parameters")
    stated = rope.get(kind) if isinstance(rope, dict) else None
    if isinstance(stated, dict):
        keys.refuse_other(ARCHITECTURE, "rope_type", stated.get("rope_type"), ("default",))
        return number(stated, "rope_theta") if "rope_theta" in stated else _BASES[kind]
    old = _OLD_BASES[kind]
    return number(config, old) if config.get(old) is not None else _BASES[kind]


def _period(config: Config) -> int:
    """Of so many layers the first sees everything; InputError for any other pattern."""
    layers, kinds = count(config, "num_hidden_layers"), config.get("layer_types")
    if not isinstance(kinds, list):
        stated = config.get("global_attn_every_n_layers")
        return _PERIOD if stated is None else count(config, "global_attn_every_n_layers")
    periods: list[int] = [_PERIOD, *range(1, layers + 1)]
    for period in periods:
        if kinds == [f"{'sliding' if layer % period else 'full'}_attention" for layer in range(layers)]:
            return period
    raise InputError("config.json: key 'layer_types' is no pattern whose first layer of a few sees everything")
