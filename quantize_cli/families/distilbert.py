"""DistilBERT: BERT without types of tokens, and with names of its own."""

from collections.abc import Sequence

from quantize_cli.families.decoder import keys
from quantize_cli.families.decoder.config import Config, count
from quantize_cli.families.decoder.slots import Slot, biases, place
from quantize_cli.families.encoder import encoder
from quantize_cli.formats.checkpoint import Checkpoint
from quantize_cli.formats.gguf.layout import Value
from quantize_cli.model.tensor import Tensor

ARCHITECTURE = "bert"
CLASS = "DistilBert"
TOKENIZERS = ("wordpiece",)
DEFAULTS = {
    "vocab_size": 30522,
    "hidden_size": 768,
    "intermediate_size": 3072,
    "num_hidden_layers": 6,
    "num_attention_heads": 12,
    "max_position_embeddings": 512,
    "activation": "gelu",
    "tie_word_embeddings": True,
}
"""What transformers' DistilBertConfig fills in."""
ALIASES = {
    "dim": "hidden_size",
    "hidden_dim": "intermediate_size",
    "n_layers": "num_hidden_layers",
    "n_heads": "num_attention_heads",
}
FIXED = {"activation": (keys.EXACT_GELU, *keys.TANH_GELU)}
_IDLE = {"dropout", "qa_dropout", "seq_classif_dropout", "sinusoidal_pos_embds"}
_FIXED_BY_THE_CLASS = {"layer_norm_eps": 1e-12, "type_vocab_size": 1}
_UNUSED = ("vocab_transform.", "vocab_layer_norm.", "vocab_projector.", "distilbert.embeddings.position_ids")

PREFIX = "distilbert."
_LAYER = "transformer.layer.{}."
_EMBEDDINGS = {
    "embeddings.word_embeddings.weight": Slot("token_embd.weight", ("vocabulary", "hidden")),
    "embeddings.position_embeddings.weight": Slot(encoder.POSITIONS, ("positions", "hidden")),
}
_WITH_BIASES = {
    "embeddings.LayerNorm.weight": Slot("token_embd_norm.weight", ("hidden",)),
    f"{_LAYER}attention.q_lin.weight": Slot("blk.{}.attn_q.weight", ("hidden", "hidden")),
    f"{_LAYER}attention.k_lin.weight": Slot("blk.{}.attn_k.weight", ("hidden", "hidden")),
    f"{_LAYER}attention.v_lin.weight": Slot("blk.{}.attn_v.weight", ("hidden", "hidden")),
    f"{_LAYER}attention.out_lin.weight": Slot("blk.{}.attn_output.weight", ("hidden", "hidden")),
    f"{_LAYER}sa_layer_norm.weight": Slot("blk.{}.attn_output_norm.weight", ("hidden",)),
    f"{_LAYER}ffn.lin1.weight": Slot("blk.{}.ffn_up.weight", ("feed_forward", "hidden")),
    f"{_LAYER}ffn.lin2.weight": Slot("blk.{}.ffn_down.weight", ("hidden", "feed_forward")),
    f"{_LAYER}output_layer_norm.weight": Slot("blk.{}.layer_output_norm.weight", ("hidden",)),
}
SLOTS = {**_EMBEDDINGS, **_WITH_BIASES, **biases(_WITH_BIASES)}


def metadata(config: Config) -> dict[str, Value]:
    positions = count(config, "max_position_embeddings")
    return encoder.metadata(ARCHITECTURE, {**config, **_FIXED_BY_THE_CLASS}, positions)


def tokenizer_metadata(_checkpoint: Checkpoint, _config: Config) -> dict[str, Value]:
    return encoder.token_types(_FIXED_BY_THE_CLASS)


def tensors(config: Config, stored: Sequence[Tensor]) -> list[Tensor]:
    used = [tensor for tensor in stored if not tensor.name.startswith(_UNUSED)]
    return place(SLOTS, encoder.sizes_of({**config, **_FIXED_BY_THE_CLASS}), used, PREFIX)


def remarks(config: Config, _placed: Sequence[Tensor]) -> tuple[str, ...]:
    encoder.refuse_uneven_heads(config)
    unknown = keys.check(config, ARCHITECTURE, {*DEFAULTS, *_IDLE}, FIXED)
    return *unknown, *keys.approximated_gelu(config, "activation")
