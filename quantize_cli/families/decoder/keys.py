"""Which keys of config.json a family understands, and what is said of the others.

A family's file states its keys as data: `DEFAULTS` become keys or tensors of the file or are checked in its own
words, `FIXED` must have a value that llama.cpp's graph of the architecture computes with. What no computation depends
on is listed here once for all families. What is left is unknown: it may change the model, so it is named in a warning.
"""

from collections.abc import Collection, Mapping
from typing import Any

from quantize_cli.errors import InputError
from quantize_cli.families.decoder.config import Config, spelled

Fixed = Mapping[str, tuple[Any, ...]]
"""By key, the values llama.cpp computes with; what transformers fills in is among them."""

SILU = ("silu", "swish")
TANH_GELU = ("gelu_new", "gelu_pytorch_tanh", "gelu_fast", "gelu_accurate")
EXACT_GELU = "gelu"
"""Spellings of one function each."""

FIXED_EVERYWHERE: Fixed = {
    "partial_rotary_factor": (1.0,), "rotary_pct": (1.0,), "rope_interleaved": (False,), "alibi": (False,),
    "attn_logit_softcapping": (), "final_logit_softcapping": (), "clip_qkv": (), "no_rope_layers": (),
    "logit_scale": (1.0,), "logits_scaling": (1.0,), "embedding_multiplier": (1.0,),
    "residual_multiplier": (1.0,), "attention_multiplier": (), "use_qk_norm": (False,), "qk_layernorm": (False,),
    "qk_norm": (False,), "use_parallel_residual": (False,), "is_encoder_decoder": (False,), "use_mrope": (False,),
    "add_cross_attention": (False,), "is_decoder": (True, False), "attention_chunk_size": (),
}  # fmt: skip
"""Keys of relatives of these families, whose graphs compute what they ask for; ours do not."""

_IDLE_WORDS = """
    model_type architectures auto_map bos_token_id eos_token_id pad_token_id unk_token_id sep_token_id cls_token_id
    decoder_start_token_id forced_bos_token_id forced_eos_token_id tokenizer_class vocab_file prefix torch_dtype
    dtype transformers_version use_cache initializer_range initializer_factor pretraining_tp attention_dropout
    hidden_dropout hidden_dropout_prob attention_probs_dropout_prob embd_pdrop attn_pdrop resid_pdrop
    embedding_dropout resid_dropout classifier_dropout summary_type summary_use_proj summary_activation
    summary_proj_to_labels summary_first_dropout mlp_dropout layerdrop gradient_checkpointing use_bfloat16
    torchscript pruned_heads chunk_size_feed_forward tf_legacy_loss tie_encoder_decoder cross_attention_hidden_size
    return_dict return_dict_in_generate output_attentions output_hidden_states output_scores output_past
    attn_implementation use_flash_attn use_flash_attention use_flash_attention_2 fp16 bf16 fp32 seq_length
    num_labels id2label label2id problem_type finetuning_task n_special predict_special_tokens task_specific_params
    temperature top_k top_p typical_p min_p max_length min_length max_new_tokens min_new_tokens do_sample
    early_stopping num_beams num_beam_groups diversity_penalty length_penalty repetition_penalty
    encoder_no_repeat_ngram_size no_repeat_ngram_size bad_words_ids suppress_tokens begin_suppress_tokens
    exponential_decay_length_penalty remove_invalid_values num_return_sequences cache_implementation
    quantization_config compression_config quant_config model_name base_model_name base_model_name_or_path
    is_llama_config transformers.js_config pipeline_tag library_name license router_aux_loss_coef
    output_router_logits reorder_and_upcast_attn max_sequence_length model_max_length onnx_export
    neftune_noise_alpha trust_remote_code
"""
"""Keys that say how to train, load, sample or label, or how wide a sum is kept, and not what is computed."""
_IDLE = frozenset(_IDLE_WORDS.split())
_IDLE_PREFIXES = ("_", "unsloth", "transformers_", "torch_", "axolotl", "wandb", "mergekit", "llamafactory")
_NAMED_KEYS = 8


def check(config: Config, architecture: str, converted: Collection[str], fixed: Fixed) -> tuple[str, ...]:
    """Warnings for keys nobody knows; InputError for a known key whose value llama.cpp's graph has no place for."""
    everywhere = {key: values for key, values in FIXED_EVERYWHERE.items() if key not in converted}
    fixed = {**everywhere, **fixed}
    for key, allowed in fixed.items():
        if key in config:
            refuse_other(architecture, key, config[key], allowed)
    known = {*converted, *fixed, *_IDLE}
    unknown = sorted(
        key for key, value in config.items()
        if key not in known and value is not None and not key.startswith(_IDLE_PREFIXES)
    )  # fmt: skip
    return (unknown_keys(unknown),) if unknown else ()


def approximated_gelu(config: Config, key: str) -> tuple[str, ...]:
    """A warning for the exact GELU: ggml looks it up in a table of float16, which is as far from it as the other."""
    if config.get(key) != EXACT_GELU:
        return ()
    return (f"config.json: key '{key}' is '{EXACT_GELU}', llama.cpp computes it by the tanh formula",)


def refuse_other(architecture: str, key: str, value: object, allowed: tuple[Any, ...]) -> None:
    """InputError unless the value is one of those allowed, or says nothing: null, or an empty list."""
    if value is None or value in allowed or value in ([], {}) or (not value and not allowed):
        return
    choices = " or ".join(str(choice).lower() if isinstance(choice, bool) else str(choice) for choice in allowed)
    computes = f"computes with {choices} only" if allowed else "has no place for it"
    raise InputError(
        f"config.json: key '{key}' is {spelled(value)}, llama.cpp's '{architecture}' {computes}",
        hint="the file would compute something else; if the model's own code ignores the key, remove it",
    )


def unknown_keys(keys: list[str]) -> str:
    """One line for all of them."""
    named = ", ".join(spelled(key) for key in keys[:_NAMED_KEYS])
    more = f" and {len(keys) - _NAMED_KEYS} more" if len(keys) > _NAMED_KEYS else ""
    noun, change = ("keys", "what they change") if len(keys) > 1 else ("key", "what it changes")
    return f"config.json: nothing is known of {noun} {named}{more}: {change} is not in the file"
