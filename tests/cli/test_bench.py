"""fedbpt bench: what it measures adds up."""

from __future__ import annotations

import json

import pytest

from conftest import call

SMALL = ("--shape", "minilm-l6", "--samples", 2, "--candidates", 3, "--copies", 2, "--length", 9, "--prompt-mode", "input",
         "--prompt-tokens", 4, "--threads", 2, "--repeats", 1)


def test_bench_adds_up() -> None:
    """Broken by an operation that is timed twice or not at all, and by products that are counted wrongly."""
    (found,) = json.loads(call("bench", *SMALL, "--precision", "fp32", "--json").good().out)
    rows = 2 * 3 * 2 * (9 + 4)
    assert found["batch"]["rows"] == rows
    operations = found["operations"]
    layers = sum(operations[name]["gflop"] for name in ("qkv", "output", "up", "down"))
    assert layers == pytest.approx(2e-9 * 6 * 12 * 384 * 384 * rows, rel=1e-4)  # 12 h^2 weights a layer; nothing is pruned
    assert sum(operation["seconds"] for operation in operations.values()) <= found["profiled_seconds"]
    rate = (layers + operations["prompt"]["gflop"]) / found["seconds"]
    assert found["matrix_gflops"] == pytest.approx(rate, rel=1e-3)
    assert found["fraction_of_peak"] == pytest.approx(found["matrix_gflops"] / found["peak_gflops"], rel=1e-3)


def test_unknown_shape() -> None:
    call("bench", "--shape", "gpt-9").sentence("gpt-9", "roberta-large")
