"""XLM-RoBERTa: RoBERTa with the unigram tokenizer of many languages."""

from functools import partial

from quantize_cli.families.encoder import roberta

ARCHITECTURE = roberta.ARCHITECTURE
CLASS = "XLMRoberta"
TOKENIZERS = ("unigram",)
DEFAULTS = {
    "vocab_size": 30522,
    "hidden_size": 768,
    "intermediate_size": 3072,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "max_position_embeddings": 512,
    "type_vocab_size": 2,
    "layer_norm_eps": 1e-12,
    "hidden_act": "gelu",
    "pad_token_id": 1,
    "tie_word_embeddings": True,
}
"""What transformers' XLMRobertaConfig fills in."""
FIXED, SLOTS, PREFIX = roberta.FIXED, roberta.SLOTS, roberta.PREFIX
metadata, tokenizer_metadata, tensors = roberta.metadata, roberta.tokenizer_metadata, roberta.tensors
remarks = partial(roberta.remarks, DEFAULTS)
