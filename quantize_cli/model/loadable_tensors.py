"""The tensors that llama.cpp loads of each architecture. It refuses a file with any other.

From its src/models/*.cpp (`load_arch_tensors`) and `llama_model_base::create_tensor_qkv`.
"""

from collections.abc import Collection, Iterable, Mapping
from re import compile as regex

_LAYER = regex(r"blk\.(0|[1-9]\d{0,8})\.(.+)")
_SCALES = (".scale", ".input_scale")
"""Scales of NVFP4 that every product may have beside its weight."""

_WHOLE = ("token_embd.weight", "output_norm.weight", "output.weight")
_ATTENTION = (
    "attn_norm.weight", "attn_qkv.weight", "attn_qkv.bias", "attn_q.weight", "attn_q.bias", "attn_k.weight",
    "attn_k.bias", "attn_v.weight", "attn_v.bias", "attn_output.weight", "ffn_norm.weight",
)  # fmt: skip
_FEED_FORWARD = ("ffn_gate.weight", "ffn_up.weight", "ffn_down.weight")
_FEED_FORWARD_BIASES = ("ffn_gate.bias", "ffn_up.bias", "ffn_down.bias")
_EXPERTS = ("ffn_gate_inp.weight", "ffn_gate_exps.weight", "ffn_up_exps.weight", "ffn_down_exps.weight")
_SHARED = ("ffn_gate_shexp.weight", "ffn_up_shexp.weight", "ffn_down_shexp.weight")
_HEAD_NORMS = ("attn_q_norm.weight", "attn_k_norm.weight")
_POST_NORMS = ("post_attention_norm.weight", "post_ffw_norm.weight")
_LONG_ROPE = ("rope_factors_long.weight", "rope_factors_short.weight")

_SCALED = (
    "output.weight", "attn_q.weight", "attn_k.weight", "attn_v.weight", "attn_qkv.weight", "attn_output.weight",
)  # fmt: skip
_SCALED_FEED_FORWARD = ("cohere2", "llama", "mistral3", "qwen3", "qwen3moe", "qwen3next")
_LAYER_NORMS = ("attn_norm.weight", "attn_norm.bias", "ffn_norm.weight", "ffn_norm.bias")
_FUSED = ("attn_qkv.weight", "attn_output.weight")
_FUSED_BIASES = ("attn_qkv.bias", "attn_output.bias")
_PLAIN_FEED_FORWARD = ("ffn_up.weight", "ffn_down.weight")
_PLAIN_BIASES = ("ffn_up.bias", "ffn_down.bias")
_PROJECTIONS = tuple(name for name in _ATTENTION if "norm" not in name)

_ENCODER = (
    "token_embd.weight", "token_types.weight", "position_embd.weight", "token_embd_norm.weight", "token_embd_norm.bias",
    "cls.weight", "cls.bias", "cls.output.weight", "cls.output.bias",
)  # fmt: skip
_ENCODER_NORMS = (
    "attn_output_norm.weight",
    "attn_output_norm.bias",
    "layer_output_norm.weight",
    "layer_output_norm.bias",
)

LOADED: Mapping[str, tuple[Collection[str], Collection[str]]] = {
    "bert": (
        _ENCODER, (*_PROJECTIONS, "attn_output.bias", *_ENCODER_NORMS, *_PLAIN_FEED_FORWARD, *_PLAIN_BIASES),
    ),
    "bloom": (
        (*_WHOLE, "token_embd_norm.weight", "token_embd_norm.bias", "output_norm.bias"),
        (*_LAYER_NORMS, *_FUSED, *_FUSED_BIASES, *_PLAIN_FEED_FORWARD, *_PLAIN_BIASES),
    ),
    "cohere2": (("token_embd.weight", "output_norm.weight"), ("attn_norm.weight", *_PROJECTIONS, *_FEED_FORWARD)),
    "command-r": (
        ("token_embd.weight", "output_norm.weight"), ("attn_norm.weight", *_PROJECTIONS, *_HEAD_NORMS, *_FEED_FORWARD),
    ),
    "deepseek2": (
        _WHOLE,
        ("attn_norm.weight", "attn_q.weight", "attn_q_a.weight", "attn_q_a_norm.weight", "attn_q_b.weight",
         "attn_kv_a_mqa.weight", "attn_kv_a_norm.weight", "attn_k_b.weight", "attn_v_b.weight", "attn_kv_b.weight",
         "attn_output.weight", "ffn_norm.weight", *_FEED_FORWARD, *_EXPERTS, *_SHARED, "exp_probs_b.bias"),
    ),
    "exaone": ((*_WHOLE, "rope_freqs.weight"), (*_ATTENTION, *_FEED_FORWARD)),
    "falcon": (
        (*_WHOLE, "output_norm.bias"),
        ("attn_norm.weight", "attn_norm.bias", "attn_norm_2.weight", "attn_norm_2.bias", *_FUSED, *_PLAIN_FEED_FORWARD),
    ),
    "gemma": (("token_embd.weight", "output_norm.weight"), (*_ATTENTION, *_FEED_FORWARD)),
    "gemma2": (("token_embd.weight", "output_norm.weight"), (*_ATTENTION, *_POST_NORMS, *_FEED_FORWARD)),
    "gemma3": (
        (*_WHOLE, "dense_2.weight", "dense_3.weight"), (*_ATTENTION, *_POST_NORMS, *_HEAD_NORMS, *_FEED_FORWARD),
    ),
    "glm4": (_WHOLE, (*_ATTENTION, *_POST_NORMS, *_PLAIN_FEED_FORWARD)),
    "gpt2": (
        (*_WHOLE, "position_embd.weight", "output_norm.bias"),
        (*_LAYER_NORMS, *_FUSED, *_FUSED_BIASES, *_PLAIN_FEED_FORWARD, *_PLAIN_BIASES),
    ),
    "gpt-oss": (
        _WHOLE,
        (*_PROJECTIONS, "attn_norm.weight", "post_attention_norm.weight", "attn_output.bias", "attn_sinks.weight",
         *_EXPERTS, "ffn_gate_inp.bias", "ffn_gate_exps.bias", "ffn_up_exps.bias", "ffn_down_exps.bias"),
    ),
    "gptneox": (
        (*_WHOLE, "output_norm.bias"), (*_LAYER_NORMS, *_FUSED, *_FUSED_BIASES, *_PLAIN_FEED_FORWARD, *_PLAIN_BIASES),
    ),
    "granite": (
        (*_WHOLE, *_LONG_ROPE, "rope_freqs.weight"),
        (*_ATTENTION, "attn_output.bias", *_FEED_FORWARD, *_FEED_FORWARD_BIASES, *_EXPERTS, *_SHARED),
    ),
    "granitemoe": (
        (*_WHOLE, *_LONG_ROPE, "rope_freqs.weight"),
        (*_ATTENTION, "attn_output.bias", *_FEED_FORWARD, *_FEED_FORWARD_BIASES, *_EXPERTS, *_SHARED),
    ),
    "internlm2": (_WHOLE, (*_ATTENTION, *_FEED_FORWARD)),
    "llama": (
        (*_WHOLE, *_LONG_ROPE, "rope_freqs.weight"),
        (*_ATTENTION, "attn_output.bias", *_FEED_FORWARD, *_FEED_FORWARD_BIASES, *_EXPERTS, *_SHARED),
    ),
    "minicpm": (
        (*_WHOLE, *_LONG_ROPE, "rope_freqs.weight"),
        (*_ATTENTION, "attn_output.bias", *_FEED_FORWARD, *_FEED_FORWARD_BIASES, *_EXPERTS, *_SHARED),
    ),
    "modern-bert": (
        ("token_embd.weight", "token_embd_norm.weight", "output_norm.weight", "cls.weight", "cls.norm.weight",
         "cls.output.weight", "cls.output.bias"),
        ("attn_norm.weight", *_FUSED, *_PLAIN_FEED_FORWARD, "ffn_norm.weight"),
    ),
    "mpt": (
        (*_WHOLE, "position_embd.weight", "output_norm.bias"),
        (*_LAYER_NORMS, *_FUSED, *_FUSED_BIASES, *_PLAIN_FEED_FORWARD, *_PLAIN_BIASES, *_HEAD_NORMS,
         "attn_q_norm.bias", "attn_k_norm.bias", "ffn_act.scales"),
    ),
    "nomic-bert": (
        _ENCODER[:2] + _ENCODER[3:5],
        (*_PROJECTIONS, "attn_output.bias", *_ENCODER_NORMS, *_FEED_FORWARD, *_PLAIN_BIASES),
    ),
    "olmo": (("token_embd.weight", "output.weight"), (*_PROJECTIONS, *_FEED_FORWARD)),
    "olmo2": (_WHOLE, (*_PROJECTIONS, *_HEAD_NORMS, *_POST_NORMS, *_FEED_FORWARD)),
    "olmoe": (_WHOLE, (*_ATTENTION, *_HEAD_NORMS, *_EXPERTS)),
    "phi2": (
        (*_WHOLE, "output.bias", "output_norm.bias"),
        ("attn_norm.weight", "attn_norm.bias", *_PROJECTIONS, "attn_output.bias", *_PLAIN_FEED_FORWARD, *_PLAIN_BIASES),
    ),
    "phi3": (
        (*_WHOLE, *_LONG_ROPE), (*_ATTENTION, *_PLAIN_FEED_FORWARD),
    ),
    "qwen2": ((*_WHOLE, "output.bias"), (*_ATTENTION, *_FEED_FORWARD)),
    "qwen2moe": (_WHOLE, (*_ATTENTION, *_EXPERTS, *_SHARED, "ffn_gate_inp_shexp.weight")),
    "qwen3": ((*_WHOLE, "cls.output.weight"), (*_ATTENTION, *_HEAD_NORMS, *_FEED_FORWARD)),
    "qwen3moe": (_WHOLE, (*_ATTENTION, *_HEAD_NORMS, *_EXPERTS)),
    "smollm3": (_WHOLE, (*_ATTENTION, *_FEED_FORWARD)),
    "stablelm": (
        (*_WHOLE, "output_norm.bias"), (*_LAYER_NORMS, *_PROJECTIONS, *_HEAD_NORMS, *_FEED_FORWARD),
    ),
    "starcoder2": (
        (*_WHOLE, "output_norm.bias"),
        (*_LAYER_NORMS, *_PROJECTIONS, "attn_output.bias", *_PLAIN_FEED_FORWARD, *_PLAIN_BIASES),
    ),
}  # fmt: skip
"""By architecture: names outside of the layers, and names within each layer after "blk.<number>."."""


def not_loaded(architecture: str, names: Iterable[str], layers: int | None = None) -> list[str]:
    """The tensors among `names` that llama.cpp does not load; none for an architecture that we do not list.

    `layers` is the number of layers in the metadata.
    """
    if architecture not in LOADED:
        return []
    whole, layer = LOADED[architecture]
    return [name for name in names if not _is_loaded(name, whole, layer, layers)]


def takes_scale(architecture: str, name: str) -> bool:
    """Whether llama.cpp multiplies the products of this tensor by a scale beside it, where the file has one.

    It loads scales in every architecture. Those of feed-forwards are used in few.
    """
    match = _LAYER.fullmatch(name)
    inside = match[2] if match else name
    if inside in _SCALED:
        return True
    return architecture in _SCALED_FEED_FORWARD and inside in (*_FEED_FORWARD, *_EXPERTS[1:])


def _is_loaded(name: str, whole: Collection[str], layer: Collection[str], layers: int | None) -> bool:
    match = _LAYER.fullmatch(name)
    inside, names = (match[2], layer) if match else (name, whole)
    if match and layers is not None and int(match[1]) >= layers:
        return False
    for scale in _SCALES:
        inside = f"{inside.removesuffix(scale)}.weight" if inside.endswith(scale) else inside
    return inside in names
