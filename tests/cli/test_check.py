"""quantize check and quantize models, as a shell runs them."""

from pathlib import Path

from quantize_cli import plugins
from quantize_cli.runtime.family import FAMILIES
from tests import checkpoints
from tests.cli.console import MODEL, assert_refused, document, quantize, succeeded


def test_exit_codes_tell_a_problem_from_what_cannot_be_read(tmp_path: Path) -> None:
    assert "llama" in succeeded("check", MODEL, cwd=tmp_path)
    checkpoints.build("llama", tmp_path / "m", files={"tokenizer.model": None})
    done = quantize("check", tmp_path / "m", "--type", "f16")
    assert (done.returncode, done.stderr.endswith("1 problem, 1 of which convert refuses\n")) == (1, True)
    assert done.stdout.splitlines()[1].startswith("tokenizer  refuses")
    assert_refused(quantize("check", tmp_path / "nothing"), 3, "no such file or directory")


def test_models_lists_what_the_registries_hold() -> None:
    listed = document("models")
    assert [family["model_type"] for family in listed["families"]] == list(plugins.names("families"))
    assert [scheme["scheme"] for scheme in listed["schemes"]] == list(plugins.names("schemes"))
    for family in listed["families"]:
        known = FAMILIES.get(family["architecture"])
        assert family["embed"] == (known is not None)
        assert family["run"] == family["eval"] == (known is not None and not known.encoder)
    assert not any(family["train"] and FAMILIES[family["architecture"]].only_runs for family in listed["families"])
