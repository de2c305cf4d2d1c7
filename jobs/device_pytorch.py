#!/usr/bin/env python3
"""Times what `fedbpt bench --shape roberta-large` times, in PyTorch on the same device: the peer of jobs/device_day.py, part fast.

An encoder of that shape with random weights in bfloat16, post-norm, exact GELU, scaled_dot_product_attention; sequences of equal
length, so that padding costs nothing and a packed batch is the padded one. Eagerly and by torch.compile. Embeddings are in it, prompts
and the head are not, in PyTorch's favour.

Prints a JSON list. Exit code 77 where there is no PyTorch, or no device for it."""

from __future__ import annotations

import argparse
import json
import sys
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

try:
    import torch
    from torch import nn
    from torch.nn import functional
except ImportError:
    print("there is no PyTorch in this Python", file=sys.stderr)
    sys.exit(77)


@dataclass(frozen=True)
class Shape:
    layers: int
    width: int
    heads: int
    inner: int
    words: int


SHAPES = {"roberta-large": Shape(24, 1024, 16, 4096, 50265), "minilm-l6": Shape(6, 384, 12, 1536, 30522)}


class Layer(nn.Module):
    """BERT's layer: a norm behind each of its two sums."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.n_heads = shape.heads
        self.qkv, self.output = nn.Linear(shape.width, 3 * shape.width), nn.Linear(shape.width, shape.width)
        self.up, self.down = nn.Linear(shape.width, shape.inner), nn.Linear(shape.inner, shape.width)
        self.norm1, self.norm2 = nn.LayerNorm(shape.width), nn.LayerNorm(shape.width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        n, length, width = x.shape
        query, key, value = self.qkv(x).view(n, length, 3, self.n_heads, width // self.n_heads).permute(2, 0, 3, 1, 4)
        seen = functional.scaled_dot_product_attention(query, key, value)
        x = self.norm1(x + self.output(seen.transpose(1, 2).reshape(n, length, width)))
        return self.norm2(x + self.down(functional.gelu(self.up(x))))


class Encoder(nn.Module):
    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.words, self.places = nn.Embedding(shape.words, shape.width), nn.Embedding(512, shape.width)
        self.norm = nn.LayerNorm(shape.width)
        self.layers = nn.Sequential(*(Layer(shape) for _ in range(shape.layers)))

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        return self.layers(self.norm(self.words(tokens) + self.places.weight[: tokens.shape[1]]))


def best_seconds(run: Callable[[], object], repeats: int, device: torch.device) -> float:
    """Of so many runs, behind two that warm up and compile."""
    seconds = []
    for i in range(repeats + 2):
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        start = time.perf_counter()
        run()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        if i > 1:
            seconds.append(time.perf_counter() - start)
    return min(seconds)


@torch.inference_mode()
def measure(arguments: argparse.Namespace) -> list[dict[str, Any]]:
    """A row a way and number of samples. A way that this PyTorch does not have says why instead."""
    device, shape = torch.device(arguments.device), SHAPES[arguments.shape]
    torch.manual_seed(1)
    encoder = Encoder(shape).to(device, torch.bfloat16).eval()
    ways = {"eager": encoder, "compiled": torch.compile(encoder)}
    found = []
    for n_samples in arguments.samples:
        tokens = torch.randint(shape.words, (10 * n_samples, arguments.length), device=device)  # 5 candidates x 2 copies
        for way, model in ways.items():
            row: dict[str, Any] = {"way": way, "samples": n_samples, "length": arguments.length, "rows": tokens.numel()}
            try:
                row["seconds"] = best_seconds(lambda model=model, tokens=tokens: model(tokens), arguments.repeats, device)
            except Exception as error:  # noqa: BLE001  # a compiler that is not there, or memory: the other way still counts
                row["error"] = f"{type(error).__name__}: {error}"[:300]
            found.append(row)
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cuda", help="cuda (default) or cpu")
    parser.add_argument("--shape", choices=sorted(SHAPES), default="roberta-large")
    parser.add_argument("--length", type=int, default=71, help="tokens of a sequence (71)")
    parser.add_argument("--samples", type=int, nargs="+", default=[8], help="numbers of samples, each 10 sequences (8)")
    parser.add_argument("--repeats", type=int, default=10)
    arguments = parser.parse_args()
    if arguments.device == "cuda" and not torch.cuda.is_available():
        print("PyTorch has no device here", file=sys.stderr)
        return 77
    device = torch.cuda.get_device_name() if arguments.device == "cuda" else "cpu"
    print(json.dumps([row | {"torch": torch.__version__, "device": device} for row in measure(arguments)]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
