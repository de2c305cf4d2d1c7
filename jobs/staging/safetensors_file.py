"""A safetensors file written tensor by tensor, so that a model larger than the memory can be converted."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path

import numpy as np
import numpy.typing as npt

ITEM_BYTES = {"F32": 4, "F16": 2, "BF16": 2}


@dataclass(frozen=True)
class Tensor:
    """A tensor to write. `make`: its values in row-major order; those of BF16 as 16-bit patterns, for which NumPy has no type."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    make: Callable[[], npt.NDArray[np.generic]]

    @property
    def n_bytes(self) -> int:
        """Size in the file."""
        return ITEM_BYTES[self.dtype] * prod(self.shape)


def write_safetensors(path: Path, tensors: Sequence[Tensor]) -> None:
    """Writes a header (its length, then JSON, padded to 8 bytes) and the tensors behind it, of which one is in memory at a time."""
    header: dict[str, object] = {"__metadata__": {"format": "pt"}}
    end = 0
    for tensor in tensors:
        begin, end = end, end + tensor.n_bytes
        header[tensor.name] = {"dtype": tensor.dtype, "shape": list(tensor.shape), "data_offsets": [begin, end]}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for tensor in tensors:
            values = np.ascontiguousarray(tensor.make())
            if values.nbytes != tensor.n_bytes:
                raise ValueError(f"{tensor.name}: {values.nbytes} bytes where {tensor.n_bytes} were announced")
            file.write(values.data)
