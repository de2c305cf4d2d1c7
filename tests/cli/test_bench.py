"""fedbpt bench: what it measures adds up."""

from __future__ import annotations

import json
from typing import Any

import pytest
from conftest import call

SMALL = ("--shape", "minilm-l6", "--samples", 2, "--candidates", 3, "--copies", 2, "--length", 9, "--prompt-mode", "input",
         "--prompt-tokens", 4, "--threads", 2, "--repeats", 1)


@pytest.fixture(scope="module")
def found() -> dict[str, Any]:
    (result,) = json.loads(call("bench", *SMALL, "--precision", "fp32", "--json").good().out)
    return result


def test_bench_adds_up(found: dict[str, Any]) -> None:
    """Broken by an operation that is timed twice or not at all, and by products or bytes that are counted wrongly."""
    rows = 2 * 3 * 2 * (9 + 4)
    assert found["batch"]["rows"] == rows
    operations = found["operations"]
    layers = sum(operations[name]["gflop"] for name in ("qkv", "output", "up", "down"))
    assert layers == pytest.approx(2e-9 * 6 * 12 * 384 * 384 * rows, rel=1e-4)  # 12 h^2 weights a layer; nothing is pruned
    assert sum(operation["seconds"] for operation in operations.values()) <= found["profiled_seconds"]
    assert sum(operation["share"] for operation in operations.values()) > 0.5
    qkv = operations["qkv"]
    assert qkv["gbyte"] == pytest.approx(4e-9 * 6 * (rows * (384 + 3 * 384) + 3 * 384 * 384), rel=1e-4)
    down = operations["down"]  # with the residual
    assert down["gbyte"] == pytest.approx(4e-9 * 6 * (rows * (4 * 384 + 2 * 384) + 4 * 384 * 384), rel=1e-4)
    rate = (layers + operations["prompt"]["gflop"]) / found["seconds"]
    assert found["matrix_gflops"] == pytest.approx(rate, rel=1e-3)
    assert found["fraction_of_peak"] == pytest.approx(found["matrix_gflops"] / found["peak_gflops"], rel=1e-3)
    assert found["tokens_per_s"] == pytest.approx(rows / found["seconds"], rel=1e-3)


def test_bench_names_the_bound(found: dict[str, Any]) -> None:
    """An operation is held to the slower of peak and copy. Broken by the faster, and by a bound that nothing decides."""
    for name, operation in found["operations"].items():
        at_peak = operation["gflop"] / found["peak_gflops"]
        at_copy = operation["gbyte"] / found["copy_gbyte_per_s"]
        assert operation["bound"] == ("peak" if at_peak > at_copy else "copy"), name
        if operation["seconds"] > 0:
            assert operation["fraction_of_attainable"] == pytest.approx(max(at_peak, at_copy) / operation["seconds"], rel=1e-3)
    assert found["operations"]["embed"]["bound"] == "copy"


def test_unknown_shape() -> None:
    call("bench", "--shape", "gpt-9").sentence("gpt-9", "roberta-large")


def test_precision_that_no_processor_has() -> None:
    call("bench", *SMALL, "--precision", "tf32").sentence("tf32", "cpu does not have", "fp32 or bf16")
