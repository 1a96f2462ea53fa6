"""Methods are told apart by what they offer; what does not go together is refused by name."""

from pathlib import Path

import numpy as np
import pytest

from quantize_cli import quants
from quantize_cli.calibration import hqq
from quantize_cli.calibration.rounding import better_search
from quantize_cli.calibration.runner.methods import Methods, choose, sequential_tensors
from quantize_cli.errors import UsageError
from quantize_cli.formats.ggml import GgmlType
from quantize_cli.model.source import open_model
from tests.calibration.naive import weights
from tests.runtime.synthetic import small

KNOWN = "awq, gptq, hqq, imatrix, smoothquant, zeroquant"


@pytest.mark.parametrize(
    ("names", "has_text", "has_importance", "best", "spelled"),
    [
        ((), False, False, False, "none"),
        ((), False, False, True, "best"),
        ((), False, True, False, "imatrix"),
        ((), False, True, True, "imatrix, best"),
        ((), True, False, False, "gptq"),
        ((), True, False, True, "imatrix, best"),
        (("imatrix",), True, False, False, "imatrix"),
        (("imatrix",), False, True, False, "imatrix"),
        (("zeroquant",), True, False, False, "zeroquant"),
        (("hqq",), False, False, False, "hqq"),
        (("hqq",), False, True, False, "hqq"),
        (("awq",), True, False, False, "awq, imatrix"),
        (("awq", "smoothquant"), True, False, False, "awq, smoothquant, imatrix"),
        (("awq", "gptq"), True, False, False, "awq, gptq"),
        (("gptq", "awq"), True, False, False, "awq, gptq"),
        (("awq", "hqq"), True, False, False, "awq, hqq"),
    ],
)
def test_what_is_not_said_is_chosen(
    names: tuple[str, ...], has_text: bool, has_importance: bool, best: bool, spelled: str
) -> None:
    assert choose(names, has_text, has_importance, best).spelled == spelled


@pytest.mark.parametrize(
    ("names", "has_text", "has_importance", "message", "hint"),
    [
        (("magic",), True, False, "--method magic: not known", f"known: {KNOWN}"),
        (("_search",), True, False, "--method _search: not known", f"known: {KNOWN}"),
        (("gptq", "gptq"), True, False, "--method gptq is given twice", None),
        (("gptq", "hqq"), True, False, "--method gptq and hqq both decide the codes", "give one of them"),
        (("imatrix", "zeroquant"), True, False, "--method imatrix and zeroquant both decide", "give one of them"),
        ((), True, True, "--imatrix and --calibrate both say what errors cost", "give one of them"),
        (("gptq",), False, False, "--method gptq: needs a text", "--calibrate FILE"),
        (("gptq",), False, True, "--method gptq: needs a text", "--calibrate FILE"),
        (("zeroquant",), False, False, "--method zeroquant: needs a text", "--calibrate FILE"),
        (("imatrix",), False, False, "--method imatrix: needs a text", "--calibrate FILE"),
        (("awq",), False, False, "--method awq: needs a text", "--calibrate FILE"),
        (("awq", "hqq"), False, False, "--method awq: needs a text", "--calibrate FILE"),
        (("hqq",), True, False, "--method hqq: makes no use of a text", "leave --calibrate out"),
    ],
)
def test_what_does_not_go_together_is_refused(
    names: tuple[str, ...], has_text: bool, has_importance: bool, message: str, hint: str | None
) -> None:
    with pytest.raises(UsageError, match=f"^{message}") as refused:
        choose(names, has_text, has_importance, best=False)
    assert (refused.value.hint is None) is (hint is None)
    assert (refused.value.hint or "").startswith(hint or "")


@pytest.mark.parametrize("name", ["gptq", "hqq", "zeroquant"])
def test_the_better_search_is_for_what_the_reference_chooses(name: str) -> None:
    with pytest.raises(UsageError, match=f"--method {name}: does not choose as --search best would"):
        choose((name,), has_text=name != "hqq", has_importance=False, best=True)


@pytest.mark.parametrize(
    ("methods", "encode"),
    [
        (Methods(), quants.encode),
        (Methods(rounding="imatrix"), quants.encode),
        (Methods(best=True), better_search.encode),
        (Methods(rounding="gptq", best=True), better_search.encode),
        (Methods(rounding="hqq"), hqq.encode),
    ],
)
def test_rows_on_their_own_are_encoded_as_the_methods_say(methods: Methods, encode: object) -> None:
    assert callable(encode)
    wanted, importance = weights(2, 256), np.linspace(0, 1, 256, dtype=np.float32)
    found = methods.encode(GgmlType.Q4_K, wanted, importance)
    assert np.array_equal(encode(GgmlType.Q4_K, wanted, importance), found)


@pytest.mark.parametrize(
    ("rounding", "sequential"), [(None, False), ("hqq", False), ("imatrix", False), ("gptq", True)]
)
def test_only_a_sequence_knows_what_tensors_multiply(rounding: str | None, sequential: bool, tmp_path: Path) -> None:
    methods = Methods(rounding=rounding)
    assert methods.is_sequential is sequential
    assert ("blk.0.attn_q.weight" in sequential_tensors(open_model(small(tmp_path)), methods)) is sequential
