"""The stages of a layer: matrices that are rounded together, as what they are given comes from the stages before."""

from collections.abc import Callable
from dataclasses import dataclass

from quantize_cli.calibration.runner.last_matrix import Ending, end_of_attention, end_of_feed_forward
from quantize_cli.runtime.layer import Layer
from quantize_cli.runtime.layer_runner import RecordLayer
from quantize_cli.runtime.transformer import Recording, Transformer


@dataclass(frozen=True)
class Stage:
    """Matrices of a layer whose inputs come from the stages before."""

    roles: tuple[str, ...]
    record: RecordLayer
    """What of a layer has to be run for that, from the start of a layer or of its second half."""
    ending: Callable[[Layer], Ending | None] | None = None
    """The one matrix of the stage, if its products are added to the stream."""

    @property
    def ends_half(self) -> bool:
        return self.ending is not None


def _record_projections(transformer: Transformer, recording: Recording, layer: Layer) -> None:
    """Queries, keys and values, without the attention that follows."""
    x = layer.attention_norm.record(recording.recorder, recording.stream)
    for projection in (layer.query, layer.key, layer.value):
        projection.record(recording.recorder, x)


_ATTENTION, _FEED_FORWARD = Transformer.record_attention, Transformer.record_feed_forward
STAGES = (
    Stage(("attention_query", "attention_key", "attention_value"), _record_projections),
    Stage(("attention_output",), _ATTENTION, end_of_attention),
    Stage(("ffn_gate", "ffn_up"), _FEED_FORWARD),
    Stage(("ffn_down",), _FEED_FORWARD, end_of_feed_forward),
)
"""In the order in which they act."""
