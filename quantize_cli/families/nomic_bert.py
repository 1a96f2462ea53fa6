"""Nomic BERT: BERT with rotary positions and gated feed-forwards, without biases of matrices."""

from collections.abc import Sequence

from quantize_cli.families.decoder import decoder, keys
from quantize_cli.families.decoder.config import Config, count, number
from quantize_cli.families.decoder.slots import Slot, place
from quantize_cli.families.encoder import encoder
from quantize_cli.formats.checkpoint import Checkpoint
from quantize_cli.formats.gguf.layout import Value, f32
from quantize_cli.model.tensor import Tensor

ARCHITECTURE = "nomic-bert"
CLASS = "NomicBert"
TOKENIZERS = ("wordpiece",)
DEFAULTS = {
    "vocab_size": 30522,
    "hidden_size": 768,
    "intermediate_size": 3072,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "max_position_embeddings": 8192,
    "max_trained_positions": 2048,
    "type_vocab_size": 2,
    "layer_norm_eps": 1e-12,
    "rotary_emb_base": 1000,
    "tie_word_embeddings": True,
}
"""What the model's own NomicBertConfig fills in."""
ALIASES = {
    "n_embd": "hidden_size",
    "n_inner": "intermediate_size",
    "n_layer": "num_hidden_layers",
    "n_head": "num_attention_heads",
    "n_positions": "max_position_embeddings",
    "layer_norm_epsilon": "layer_norm_eps",
}
FIXED = {
    "activation_function": ("swiglu",), "causal": (False,), "prenorm": (False,), "qkv_proj_bias": (False,),
    "mlp_fc1_bias": (False,), "mlp_fc2_bias": (False,), "rotary_emb_fraction": (1.0,),
    "rotary_emb_interleaved": (False,), "rotary_emb_scale_base": (), "use_rms_norm": (False,),
    "parallel_block": (False,), "scale_attn_weights": (True,), "scale_attn_by_inverse_layer_idx": (False,),
    "moe_every_n_layers": (0,),
}  # fmt: skip
_IDLE = {
    "parallel_block_tied_norm", "dense_seq_output", "fused_bias_fc", "fused_dropout_add_ln", "pad_vocab_size_multiple",
    "use_xentropy", "rotary_scaling_factor", "last_layer_subset", "max_trained_positions", "num_experts", "moe_top_k",
    "moe_impl", "moe_resid_pdrop", "moe_normalize_expert_weights", "expert_choice_router", "ffn_div", "router_aux_loss",
}  # fmt: skip
"""Keys that say how to train or to speed up. The scaling factor is for texts beyond those that it was trained on."""
_TRAINED = {(8192, 2048): 2048, (2048, 2048): 512}
"""By the positions that the config has and those that it calls trained, the positions of llama.cpp's converter."""

PREFIX = ""
_LAYER = "encoder.layers.{}."
_NORMS = {
    "emb_ln": "token_embd_norm",
    f"{_LAYER}norm1": "blk.{}.attn_output_norm",
    f"{_LAYER}norm2": "blk.{}.layer_output_norm",
}
SLOTS = {
    "embeddings.word_embeddings.weight": Slot("token_embd.weight", ("vocabulary", "hidden")),
    "embeddings.token_type_embeddings.weight": Slot("token_types.weight", ("types", "hidden")),
    f"{_LAYER}attn.Wqkv.weight": Slot("blk.{}.attn_qkv.weight", ("queries_keys_values", "hidden")),
    f"{_LAYER}attn.out_proj.weight": Slot("blk.{}.attn_output.weight", ("hidden", "hidden")),
    f"{_LAYER}mlp.fc11.weight": Slot("blk.{}.ffn_up.weight", ("feed_forward", "hidden")),
    f"{_LAYER}mlp.fc12.weight": Slot("blk.{}.ffn_gate.weight", ("feed_forward", "hidden")),
    f"{_LAYER}mlp.fc2.weight": Slot("blk.{}.ffn_down.weight", ("hidden", "feed_forward")),
    **{f"{name}.weight": Slot(f"{target}.weight", ("hidden",)) for name, target in _NORMS.items()},
    **{f"{name}.bias": Slot(f"{target}.bias", ("hidden",)) for name, target in _NORMS.items()},
}


def metadata(config: Config) -> dict[str, Value]:
    stated = count(config, "max_position_embeddings")
    positions = _TRAINED.get((stated, count(config, "max_trained_positions")), stated)
    base = f32(number(config, "rotary_emb_base"))
    return {**encoder.metadata(ARCHITECTURE, config, positions), f"{ARCHITECTURE}.rope.freq_base": base}


def tokenizer_metadata(_checkpoint: Checkpoint, config: Config) -> dict[str, Value]:
    return encoder.token_types(config)


def tensors(config: Config, stored: Sequence[Tensor]) -> list[Tensor]:
    whole = decoder.sizes_of({**config, "num_key_value_heads": config["num_attention_heads"]})
    return place(SLOTS, {**whole, "types": count(config, "type_vocab_size")}, stored, PREFIX)


def remarks(config: Config, _placed: Sequence[Tensor]) -> tuple[str, ...]:
    encoder.refuse_uneven_heads(config)
    return keys.check(config, ARCHITECTURE, {*DEFAULTS, *_IDLE}, FIXED)
