"""The file holds what was trained, bit for bit, and all else as the start file has it."""

import itertools
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from quantize_cli import pipeline, quants  # noqa: E402
from quantize_cli.certificate import statement  # noqa: E402
from quantize_cli.errors import OutputError  # noqa: E402
from quantize_cli.formats.ggml import GgmlType  # noqa: E402
from quantize_cli.formats.gguf import shards  # noqa: E402
from quantize_cli.formats.output import MAY_OVERWRITE, OverwriteGuard  # noqa: E402
from quantize_cli.model.source import Model, open_model  # noqa: E402
from quantize_cli.model.tensor import from_array  # noqa: E402
from quantize_cli.pipeline.executor import Threads  # noqa: E402
from quantize_cli.pipeline.job import Job  # noqa: E402
from quantize_cli.pipeline.plan import Step, lay_out_steps  # noqa: E402
from quantize_cli.pipeline.recipe import named  # noqa: E402
from quantize_cli.pipeline.write import write  # noqa: E402
from quantize_cli.progress import SILENT  # noqa: E402
from quantize_cli.runtime.transformer import from_model  # noqa: E402
from quantize_cli.train.decoder.decoder import Decoder  # noqa: E402
from quantize_cli.train.runner.export import TrainedModel, write_trained  # noqa: E402
from quantize_cli.train.runner.phase import Writing  # noqa: E402
from quantize_cli.train.runner.start import named_start  # noqa: E402
from quantize_cli.train.weights.factory import trained_matrix  # noqa: E402
from quantize_cli.train.weights.trained_matrix import TrainedMatrix  # noqa: E402
from tests.cli.console import MODEL  # noqa: E402
from tests.train import starts  # noqa: E402

EQUAL = 1e-6
"""Nats: what the divergence of a file from the model that was trained may be. Of equal weights, float32 sums differ."""


def decoded(model: Model) -> dict[str, np.ndarray]:
    return {tensor.name: quants.decode(tensor.type, tensor.read(0, tensor.row_count)) for tensor in model.tensors}


def stored(model: Model) -> dict[str, bytes]:
    return {tensor.name: tensor.read(0, tensor.row_count).tobytes() for tensor in model.tensors}


def export(start: Path, trained: dict[str, TrainedMatrix], output: Path, guard: OverwriteGuard = MAY_OVERWRITE) -> None:
    source = open_model(MODEL)
    claims = statement.Training("text", "0" * 64, "qat", 1, 64)
    model = TrainedModel(source, named_start(start, source, Job(MODEL)), trained, claims)
    write_trained(model, output, None, Writing(guard, 1, SILENT))


def matrices(model: Model, leave: int = 0) -> dict[str, TrainedMatrix]:
    """All matrices of a file but the last few, changed as training might change them."""
    random, trained = torch.Generator().manual_seed(0), {}
    for tensor in [tensor for tensor in model.tensors if len(tensor.shape) > 1][: -leave or None]:
        blocks = np.ascontiguousarray(tensor.read(0, tensor.row_count)).view(np.uint8)
        matrix = trained_matrix(tensor.type, blocks, quants.decode(tensor.type, blocks))
        with torch.no_grad():
            for group in matrix.groups():
                for parameter in group.parameters:
                    parameter += 0.1 * group.unit * torch.randn(parameter.shape, generator=random)
        trained[tensor.name] = matrix
    return trained


@pytest.fixture(scope="module")
def every_type(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The example with random weights, its matrices one after the other in each type there is."""
    path, model = tmp_path_factory.mktemp("types") / "start.gguf", open_model(MODEL)
    types, steps = itertools.cycle(quants.supported()), []
    for tensor in model.tensors:
        weights = quants.decode(tensor.type, tensor.read(0, tensor.row_count))
        kept = from_array(tensor.name, weights.reshape(tensor.shape))
        if len(tensor.shape) > 1:
            type_ = next(types)
            blocks = starts.blocks(type_, rows=tensor.row_count, columns=tensor.columns)
            kept = kept.rounded(type_, blocks if type_ in starts.SCALED else _numbers(type_, blocks))
        steps.append(Step(kept, kept.type, "made up"))
    write({path: lay_out_steps(named("q2_k"), steps, model.metadata, {})}, Threads(1))
    return path


def _numbers(type_: GgmlType, blocks: np.ndarray) -> np.ndarray:
    """Rows as `Tensor.read` gives them."""
    return blocks.view(quants.find(type_).block) if quants.find(type_).block.names is None else blocks


def test_the_file_holds_what_the_forward_passes_give(every_type: Path, tmp_path: Path) -> None:
    trained, output = matrices(open_model(every_type)), tmp_path / "out.gguf"
    assert {matrix.type for matrix in trained.values()} == set(quants.supported())
    export(every_type, trained, output)
    written = decoded(open_model(output))
    for name, matrix in trained.items():
        with torch.no_grad():
            assert np.array_equal(matrix().numpy().view(np.int32), written[name].view(np.int32)), matrix.type


def test_all_else_is_kept(every_type: Path, tmp_path: Path) -> None:
    start, output = open_model(every_type), tmp_path / "out.gguf"
    trained = matrices(start, leave=3)
    export(every_type, trained, output)
    before, after = stored(start), stored(open_model(output))
    assert list(before) == list(after)
    assert {name for name in before if before[name] != after[name]} == set(trained)
    old, new = (shards.read_model(path)[0].metadata for path in (every_type, output))
    assert list(new) == list(old)
    assert all(np.array_equal(new[key].data, old[key].data) for key in new)


def test_no_file_is_replaced_that_must_not_be(every_type: Path, tmp_path: Path) -> None:
    output = tmp_path / "out.gguf"
    output.write_bytes(b"kept")
    with pytest.raises(OutputError, match="already exists"):
        export(every_type, {}, output, OverwriteGuard(force=False))
    assert output.read_bytes() == b"kept"
    assert list(tmp_path.iterdir()) == [output]


@pytest.mark.parametrize("type_", ["q2_k", "q3_k_m"])
def test_the_file_computes_what_the_trained_model_does(type_: str, tmp_path: Path) -> None:
    """The divergence of the file's logits by the runtime, in float32, from those of the decoder that was trained."""
    start, output = tmp_path / "start.gguf", tmp_path / "out.gguf"
    pipeline.convert(Job(MODEL, start, type=type_))
    trained = matrices(open_model(start))
    export(start, trained, output)
    file = open_model(output)
    tensors = [from_array(tensor.name, decoded(file)[tensor.name].reshape(tensor.shape)) for tensor in file.tensors]
    tokens = np.random.default_rng(0).integers(0, 500, 32)
    runtime = torch.from_numpy(from_model(replace(file, tensors=tensors), 1).logits(tokens.astype(np.int32)))
    decoder = Decoder(from_model(file, 1, resident=False))
    with torch.no_grad():
        logits = decoder(torch.from_numpy(tokens)[None], lambda name: trained[name]())[0]
    log_p, log_q = (torch.log_softmax(part.double(), -1) for part in (logits, runtime))
    assert (log_p.exp() * (log_p - log_q)).sum(-1).mean() <= EQUAL
