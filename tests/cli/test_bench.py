"""fedbpt bench: what it measures adds up."""

from __future__ import annotations

import json
import re
from typing import Any

import h5py
import numpy as np
import pytest
from conftest import Result, Study, call
from toy import EMBEDDING_MODEL, MASK_MODEL

SMALL = ("--shape", "minilm-l6", "--samples", 2, "--candidates", 3, "--copies", 2, "--length", 9, "--prompt-mode", "input",
         "--prompt-tokens", 4, "--threads", 2, "--repeats", 1)


@pytest.fixture(scope="module")
def bench() -> Result:
    return call("bench", *SMALL, "--precision", "fp32", "--json").good()


@pytest.fixture(scope="module")
def found(bench: Result) -> dict[str, Any]:
    (result,) = json.loads(bench.out)
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


def test_bench_counts_a_decoder_both_ways() -> None:
    """Three prompts of 4 rows stand in front of 12 texts of 9 tokens. Broken by rows of prompts that are computed for every
    sequence, or that the time and count of whole sequences leave out, and by --layers."""
    words = ("bench", "--shape", "smollm2-135m", "--layers", 2, *SMALL[2:], "--precision", "fp32", "--json")
    (result,) = json.loads(call(*words).good().out)
    h, keys, wide, n_texts, whole_rows, rows = 576, 192, 1536, 12, 12 * (9 + 4), 12 * 9 + 3 * 4
    assert result["batch"]["rows"] == whole_rows
    assert result["operations"]["up"]["gflop"] == pytest.approx(2e-9 * h * 2 * wide * (rows + n_texts), rel=1e-4)
    first_layer = h * (h + 2 * keys) + h * h + 3 * h * wide
    saved = 2e-9 * (whole_rows - rows) * (first_layer + h * 2 * keys)  # the last layer: keys and values alone
    assert result["whole_gflop"] - result["gflop"] == pytest.approx(saved, rel=0.02)  # and a little attention
    assert result["whole_seconds"] > 0


def test_bench_of_a_data_set(mask: Study) -> None:
    """The first samples, as they are. Broken by rows of other samples, or of the prompt where it stands in the text."""
    words = ("bench", MASK_MODEL, "--data", mask.data, "--samples", 5, "--candidates", 2, "--copies", 2, "--repeats", 1,
             "--precision", "fp32", "--threads", 1)
    (result,) = json.loads(call(*words, "--json").good().out)
    with h5py.File(mask.data) as file:
        lengths = np.diff(file["train/offsets"][:6])
    assert result["batch"]["rows"] == 2 * 2 * lengths.sum() and result["batch"]["length"] == lengths.max()
    assert result["batch"]["data"] == str(mask.data)
    refused = call(*words, "--length", 9)
    assert refused.code == 1 and "leave these options out" in refused.err
    call(*words, "--samples", 1000).sentence("--samples is 1000", "training samples")
    call("bench", EMBEDDING_MODEL, *words[2:]).sentence("97 words", "the model has 71")


def test_bench_counts_an_encoder_one_way(found: dict[str, Any]) -> None:
    assert found["whole_gflop"] == found["whole_seconds"] == 0


def test_bench_warns_of_slow_products(bench: Result, found: dict[str, Any]) -> None:
    """Broken by a warning of what memory bounds, of attention, or of what is fast enough, and by one left out."""
    slow = {name for name, operation in found["operations"].items()
            if name != "attention" and operation["bound"] == "peak" and 0 < operation["fraction_of_peak"] < 0.8}
    assert set(re.findall(r"bench: warning: fp32: the products of (\w+) reach [\d.]+% of the peak", bench.err)) == slow


def test_unknown_shape() -> None:
    call("bench", "--shape", "gpt-9").sentence("gpt-9", "roberta-large")
    call("bench", "--shape", "bert-base", "--layers", 13).sentence("bert-base has 12 layers")
    call("bench", "--shape", "llama-2-7b", "--length", 32, "--prompt-tokens", 32).sentence("--length is 32", "--prompt-tokens, 32")
    call("bench", "--shape", "bert-base", "--length", 513).sentence("--length is 513", "512 positions")
    call("bench", "--shape", "roberta-large", "--prompt-mode", "input", "--length", 480).sentence("--length is 480", "50 rows", "512 positions")


def test_precision_that_no_processor_has() -> None:
    call("bench", *SMALL, "--precision", "tf32").sentence("tf32", "cpu does not have", "fp32, bf16 or int8")


def test_bench_counts_integers_as_bytes() -> None:
    """Broken by weights in int8 that are counted as wide as activations, which are bf16 or fp32 by the processor."""
    (found,) = json.loads(call("bench", *SMALL, "--precision", "int8", "--json").good().out)
    assert found["precision"] == "int8"
    rows = found["batch"]["rows"]
    n_bytes = 1e9 * found["operations"]["qkv"]["gbyte"] / 6 - 3 * 384 * 384
    assert n_bytes / (rows * (384 + 3 * 384)) in (pytest.approx(2, rel=1e-4), pytest.approx(4, rel=1e-4))


def test_cma_alone() -> None:
    """Broken by a generation that is timed twice or not at all, and by operations counted for another population."""
    found = json.loads(call("bench", "--cma-es", "--candidates", 7, "--json").good().out)
    ours = found[0]
    assert (ours["dimension"], ours["population"], ours["generations"]) == (500, 7, 300)
    assert ours["gflop"] == pytest.approx(1e-9 * (2 * 7 + 1) * 500**2)
    assert 0 < ours["seconds_median"] < 1 and 0 < ours["seconds_mean"] < 1
    assert all(other["way"].startswith("pycma") for other in found[1:] if not other["way"].startswith("fedbpt"))


@pytest.mark.parametrize(("name", "way"), [("cma", "fedbpt, separable"), ("lm-ma", "fedbpt, lm-ma"), ("openai-es", "fedbpt, openai-es"), ("bdpl", "fedbpt, bdpl")])
def test_other_searches(name: str, way: str) -> None:
    """In many dimensions, beside pycma's forms for those where it is installed."""
    words = ("--cma-es", "--optimiser", name, "--dimension", 5000, "--candidates", 6, "--json")
    own, *theirs = json.loads(call("bench", *words).good().out)
    assert (own["way"], own["dimension"], own["population"]) == (way, 5000, 6) and 0 < own["seconds_median"] and "gflop" not in own
    assert [other["way"].split(", ")[1] for other in theirs] in ([], ["separable", "VkD"])


@pytest.mark.parametrize(("words", "told"), [(("models/mine", "--cma-es"), "leave models/mine out"),
                                             (("--optimiser", "lm-ma"), "options of --cma-es"),
                                             (("--cma-es", "--candidates", 1), "at least 2")])
def test_cma_refuses(words: tuple[object, ...], told: str) -> None:
    result = call("bench", *words)
    assert result.code == 1 and told in result.err
