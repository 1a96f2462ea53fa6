"""Tells quantized checkpoints and adapters by their configuration files, or by the names of their tensors."""

from collections.abc import Mapping
from typing import Any

from quantize_cli.errors import InputError
from quantize_cli.formats.checkpoint import Checkpoint, adapter
from quantize_cli.formats.quoted import quoted

_HINT = "convert the original checkpoint in f32, f16 or bf16: a second rounding would add to the first"
_FILES = ("quantize_config.json", "quant_config.json", "hf_quant_config.json")
"""Files of GPTQ, AWQ and ModelOpt beside config.json."""
_NAME_ENDINGS = (
    (".g_idx", "gptq"), (".qweight", "gptq or awq"), (".weight_packed", "compressed-tensors"),
    (".weight_scale_2", "modelopt"), (".weight_scale_inv", "fp8"), (".SCB", "bitsandbytes"),
    (".weight.absmax", "bitsandbytes"), (".quant_state.bitsandbytes__nf4", "bitsandbytes"),
    (".quant_state.bitsandbytes__fp4", "bitsandbytes"), (".W_q", "hqq"), ("_blocks", "mxfp4"),
    ("._weight_qdata", "torchao"), (".weight._data", "quanto"), (".weight_scale", "compressed-tensors or modelopt"),
)  # fmt: skip
"""Endings of tensor names that only one method writes, the clearest first."""
_CODES = frozenset(("I8", "U8", "I32", "F8_E4M3", "F8_E5M2"))
_LORA = (".lora_A.", ".lora_B.", ".lora_embedding_A", ".lora_embedding_B", ".lora_magnitude_vector")


def refuse_adapter(checkpoint: Checkpoint) -> None:
    """FormatError when there are tensors of a LoRA adapter, alone or beside those of their model."""
    if any(part in tensor.name for tensor in checkpoint.tensors for part in _LORA):
        raise adapter(checkpoint.path, checkpoint.directory)


def refuse_quantized(checkpoint: Checkpoint) -> tuple[str, ...]:
    """InputError naming the method when the weights are quantized; a warning when only the configuration says so.

    A merged model in floats often keeps the configuration.
    """
    where, settings = _quantization_config(checkpoint)
    telltale = _telltale(checkpoint)
    method = _method(settings) if settings else None
    codes = next((tensor for tensor in checkpoint.tensors if tensor.dtype in _CODES), None)
    if telltale is None and (method is None or codes is None):
        if method is None:
            return ()
        return (f"{where}: states that the weights are quantized with {method}, but they are floats and taken as such",)
    if method is not None:
        raise InputError(f"{where}: the weights are quantized with {method}", hint=_HINT)
    assert telltale is not None
    name, kind = telltale
    raise InputError(f"{checkpoint.path}: quantized with {kind}, as tensor {quoted(name)} tells", hint=_HINT)


def _quantization_config(checkpoint: Checkpoint) -> tuple[str, Mapping[str, Any]]:
    config = checkpoint.config or {}
    for key in ("quantization_config", "compression_config"):
        if isinstance(config.get(key), dict) and config[key]:
            return f"{checkpoint.directory}/config.json", config[key]
    for name in _FILES:
        if settings := checkpoint.json(name):
            inner = settings.get("quantization")
            method = {"quant_method": "awq" if name == "quant_config.json" else "gptq"}
            if name == "hf_quant_config.json":
                method = {"quant_method": "modelopt"}
            return f"{checkpoint.directory}/{name}", {**method, **(inner if isinstance(inner, dict) else settings)}
    return "", {}


def _telltale(checkpoint: Checkpoint) -> tuple[str, str] | None:
    """A tensor whose name or dtype shows a method, and the method."""
    for ending, kind in _NAME_ENDINGS:
        name = next((tensor.name for tensor in checkpoint.tensors if tensor.name.endswith(ending)), None)
        if name is not None:
            return name, kind
    fp8 = next((tensor.name for tensor in checkpoint.tensors if tensor.dtype.startswith("F8_")), None)
    return None if fp8 is None else (fp8, "fp8")


def _method(settings: Mapping[str, Any]) -> str:
    """ "gptq, 4 bits"."""
    method = settings.get("quant_method") or settings.get("quant_algo") or "an unnamed method"
    bits = settings.get("bits", settings.get("w_bit"))
    if bits is None:
        bits = next((width for width in (4, 8) if settings.get(f"load_in_{width}bit") is True), None)
    details = [str(method)[:40] if str(method).isprintable() else quoted(str(method))]
    if isinstance(settings.get("quant_algo"), str) and "quant_method" in settings:
        details.append(quoted(settings["quant_algo"]))
    if isinstance(bits, int) and 0 < bits <= 32:
        details.append(f"{bits} bits")
    elif isinstance(settings.get("format"), str):
        details.append(quoted(settings["format"]))
    return ", ".join(details)
