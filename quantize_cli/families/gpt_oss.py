"""gpt-oss: experts with biases, gates and ups by turns, in MXFP4 or in floats; a sink beside each head's scores."""

from collections.abc import Mapping, Sequence

from quantize_cli.families.decoder import decoder, experts, windows
from quantize_cli.families.decoder.config import Config, count, number
from quantize_cli.families.decoder.rope import parameters
from quantize_cli.families.decoder.slots import Slot
from quantize_cli.formats.gguf.layout import Value, f32, u32
from quantize_cli.model.tensor import Tensor

ARCHITECTURE = "gpt-oss"
CLASS = "GptOss"
TOKENIZERS = ("bpe",)
DEFAULTS = {
    "vocab_size": 201088,
    "hidden_size": 2880,
    "intermediate_size": 2880,
    "num_hidden_layers": 36,
    "num_attention_heads": 64,
    "num_key_value_heads": 8,
    "head_dim": 64,
    "max_position_embeddings": 131072,
    "rms_norm_eps": 1e-5,
    "sliding_window": 128,
    "tie_word_embeddings": False,
    "num_local_experts": 128,
    "num_experts_per_tok": 4,
    "rope_theta": 150000.0,
}
"""What transformers' GptOssConfig fills in."""
ALIASES = {"num_experts": "num_local_experts", "experts_per_token": "num_experts_per_tok"}
FIXED = {"attention_bias": (True,), "swiglu_alpha": (1.702,), "swiglu_limit": (7.0,)}
_PERIOD = 2
_BETAS = ("beta_fast", "beta_slow")
"""What llama.cpp takes anyway, and other values than these are refused; its converter writes them."""

PREFIX = decoder.PREFIX
_MODULE = "layers.{}.mlp.experts."
_GATE = Slot("blk.{}.ffn_gate_exps.bias", ("experts", "expert_feed_forward"))
_BIASES = (_GATE, Slot("blk.{}.ffn_up_exps.bias", ("experts", "expert_feed_forward")))
_MATRICES = experts.GATE_AND_UP.parts
_IN = ("experts", "hidden", "expert_gate_and_up")
SLOTS = {
    **decoder.EMBEDDING,
    **decoder.ATTENTION,
    **decoder.ATTENTION_BIASES,
    **decoder.OUTPUT_BIAS,
    "layers.{}.self_attn.sinks": Slot("blk.{}.attn_sinks.weight", ("heads",)),
    "layers.{}.post_attention_layernorm.weight": Slot("blk.{}.post_attention_norm.weight", ("hidden",)),
    "layers.{}.mlp.router.weight": experts.ROUTER,
    "layers.{}.mlp.router.bias": Slot("blk.{}.ffn_gate_inp.bias", ("experts",)),
    f"{_MODULE}gate_up_proj": Slot("", _IN, transposed=True, parts=_MATRICES, alternate=True),
    f"{_MODULE}gate_up_proj.weight": Slot("", experts.GATE_AND_UP.shape, parts=_MATRICES, alternate=True),
    f"{_MODULE}gate_up_proj_bias": Slot("", ("experts", "expert_gate_and_up"), parts=_BIASES, alternate=True),
    f"{_MODULE}down_proj": Slot(experts.DOWN.target, ("experts", "expert_feed_forward", "hidden"), transposed=True),
    f"{_MODULE}down_proj.weight": experts.DOWN,
    f"{_MODULE}down_proj_bias": Slot("blk.{}.ffn_down_exps.bias", ("experts", "hidden")),
}


def metadata(config: Config) -> dict[str, Value]:
    rope = parameters(config)
    return {
        **decoder.metadata(ARCHITECTURE, _rounded(config)),
        **experts.metadata(ARCHITECTURE, config),
        **windows.metadata(ARCHITECTURE, config, _PERIOD),
        "gpt-oss.expert_feed_forward_length": u32(count(config, "intermediate_size")),
        **{f"gpt-oss.rope.scaling.yarn_{key}": f32(number(rope, key)) for key in _BETAS if key in rope},
    }


def tensors(config: Config, stored: Sequence[Tensor]) -> list[Tensor]:
    return decoder.tensors(SLOTS, config, stored, sizes=experts.sizes_of(config, "intermediate_size"))


def remarks(config: Config, placed: Sequence[Tensor]) -> tuple[str, ...]:
    converted = {*DEFAULTS, "initial_context_length"}
    remarks = decoder.remarks(ARCHITECTURE, config, placed, converted, FIXED)
    if _rounded(config) == config:
        return remarks
    return (*remarks, "config.json: rope key 'truncate' is false, llama.cpp rounds the bounds of YaRN to whole pairs")


def _rounded(config: Config) -> Config:
    """The config without YaRN's `truncate`, which every checkpoint has and llama.cpp's graph cannot heed."""
    changed = dict(config)
    for key in ("rope_parameters", "rope_scaling"):
        rope = config.get(key)
        if isinstance(rope, Mapping) and rope.get("truncate") is False:
            changed[key] = {name: value for name, value in rope.items() if name != "truncate"}
    return changed
