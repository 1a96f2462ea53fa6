"""quantize inspect: what a file says, safe to look at."""

from pathlib import Path

import numpy as np

from tests import checkpoints
from tests.cli.console import MODEL, document, quantize, succeeded
from tests.formats.build import STRING, gguf_bytes, string, tensor, value


def test_a_checkpoint_is_shown_with_its_config_and_tensors() -> None:
    found = document("inspect", MODEL)
    assert (found["format"], found["metadata"]["hidden_size"], len(found["tensors"])) == ("safetensors", 256, 39)
    assert found["nbytes"] == (MODEL / "model.safetensors").stat().st_size
    assert (found["types"], found["bits_per_weight"]) == ({"BF16": 39}, 16.0)


def test_a_gguf_file_is_shown_with_offsets(tmp_path: Path) -> None:
    path = tmp_path / "out.gguf"
    succeeded("convert", MODEL, "-o", path)
    found = document("inspect", path)
    assert (found["format"], found["nbytes"]) == ("GGUF v3", path.stat().st_size)
    assert len(found["metadata"]["tokenizer.ggml.tokens"]) == 1024
    assert found["metadata"]["llama.attention.layer_norm_rms_epsilon"] == 1e-5
    assert found["types"] == {"Q4_K": 25, "Q6_K": 5, "F32": 9}
    said = succeeded("inspect", path)
    line = next(line for line in said.splitlines() if line.startswith("output.weight"))
    assert line.split() == ["output.weight", "1024", "x", "256", "q6_k", "215040", str(found["tensors"][0]["offset"])]
    assert "(1024 items)" in said


def test_names_a_terminal_would_obey_are_escaped(tmp_path: Path) -> None:
    path = tmp_path / "hostile.gguf"
    hostile = "\x1b]0;title\x07\x1b[2J\r\n\u202e\u2028"
    path.write_bytes(
        gguf_bytes([value(f"a{hostile}", STRING, string(hostile))], [tensor(f"t{hostile}", [1], 0)], bytes(32))
    )
    done = quantize("inspect", path)
    assert (done.returncode, done.stderr) == (0, "")
    assert all(line.isprintable() for line in done.stdout.split("\n"))
    assert r"\x1b]0;title\x07" in done.stdout
    assert document("inspect", path)["tensors"][0]["name"] == f"t{hostile}"


def test_numbers_json_has_no_word_for_are_text(tmp_path: Path) -> None:
    path = tmp_path / "a.gguf"
    path.write_bytes(gguf_bytes([value("a", 6, np.float32(np.nan).tobytes())]))
    assert document("inspect", path)["metadata"] == {"a": "nan"}


def test_a_name_that_is_no_utf8_is_no_obstacle(tmp_path: Path) -> None:
    path = tmp_path / "caf\udce9.safetensors"
    checkpoints.save_safetensors(path, {"a": np.ones((2, 3), np.float32)})
    assert document("inspect", path)["path"] == str(path)
    assert r"caf\udce9.safetensors" in succeeded("inspect", path)


def test_an_empty_file_of_weights_is_shown(tmp_path: Path) -> None:
    checkpoints.save_safetensors(tmp_path / "a.safetensors", {})
    assert document("inspect", tmp_path / "a.safetensors")["weights"] == 0
