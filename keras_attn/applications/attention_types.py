import dataclasses
from collections.abc import Callable
from keras_attn.layers.rectangular_attention import RectangularAttention2D

@dataclasses.dataclass(frozen=True)
class AttentionType:
    stages: tuple = (2, 3, 4, 5)
    mixing: Callable | None = None
    block_gate: Callable | None = None
    stage_gate: Callable | None = None

NO_ATTENTION = AttentionType(stages=())

def get(a):
    return {None: NO_ATTENTION, "cram": AttentionType((4,), stage_gate=lambda name: RectangularAttention2D(initial_margin=1.0, name=name))}[a]
