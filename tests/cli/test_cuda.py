"""Runs on backend.name=cuda, on whatever device this build is for: the emulated one, or a real one where there is one."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
from conftest import Study, call, digest_of, make_study
from toy import DECODER_MODEL, GOLDEN, MASK_MODEL, Toy, write

MODEL = GOLDEN / "hf_bert_mlm_sharded"  # hidden 64, 2 heads, intermediate 144
EMBEDDING_MODEL = GOLDEN / "hf_roberta_embedding"  # hidden 32, intermediate 72, GELU
SPLITS = {"train": [8, 8], "dev": [4, 4], "test": [3, 2]}
LOSS_ERROR = {"fp32": 1e-5, "tf32": 1e-2, "bf16": 3e-2}  # relative, as in tests/golden/test_model.c; tf32 reads 10 bits


@pytest.fixture(scope="session")
def device() -> str:
    """Name of the device. Ends the session with what CTest takes for skipped where there is none."""
    out = call("info").good().out
    found = re.search(r"^device 0: (.*)$", out, re.M)
    if not found:
        pytest.exit(f"no CUDA device: {out}", returncode=77)
    return found[1]


@pytest.fixture
def emulated(device: str) -> None:
    if "emulated" not in device:
        pytest.skip("asks a device to be what only the emulated one can be told to be")


def on_cuda(study: Study) -> Study:
    """As few clients and generations as it takes: two parts on two streams, a batch's pass run, recorded and then run again."""
    study.values["backend"]["name"] = "cuda"
    study.values["fed"].update(clients=3, rounds=1, local_generations=3)
    return study


@pytest.fixture
def study(tmp_path: Path, device: str) -> Study:  # noqa: ARG001
    return on_cuda(make_study(tmp_path, MODEL, Toy(vocabulary=89, splits=SPLITS)))


@pytest.fixture
def embedding_study(tmp_path: Path, device: str) -> Study:  # noqa: ARG001
    return on_cuda(make_study(tmp_path, EMBEDDING_MODEL, Toy.embedding(vocabulary=59, splits=SPLITS, bos=0)))


@pytest.fixture
def decoder_study(tmp_path: Path, device: str) -> Study:  # noqa: ARG001
    return on_cuda(make_study(tmp_path, DECODER_MODEL, Toy.decoder(splits=SPLITS)))


def rounds_of(path: Path) -> dict[str, np.ndarray]:
    with h5py.File(path) as file:
        return {name: file["rounds"][name][...] for name in ("z", "client/loss", "train_loss", "dev_loss", "test_loss")}


def check_against_cpu(study: Study, precision: str) -> None:
    """Losses before the search; in fp32 the whole search, which follows the order of the losses alone."""
    changes = {"perturb__rate": 0.3}
    found = rounds_of(study.finished(backend__precision=precision, **changes))
    expected = rounds_of(study.finished(backend__name="cpu", **changes))
    names = [name for name in found if name != "z"] if precision == "fp32" else ["train_loss", "dev_loss", "test_loss"]
    n_rows = len(found["z"]) if precision == "fp32" else 1
    for name in names:
        np.testing.assert_allclose(found[name][:n_rows], expected[name][:n_rows], rtol=LOSS_ERROR[precision], err_msg=name)
    np.testing.assert_array_equal(found["z"][:n_rows], expected["z"][:n_rows])


@pytest.mark.parametrize("precision", ["fp32", "tf32", "bf16"])
def test_as_on_the_cpu(study: Study, precision: str) -> None:
    """Broken by any kernel, copy or order of launches that is wrong where operations follow each other."""
    check_against_cpu(study, precision)


def test_embedding_as_on_the_cpu(embedding_study: Study) -> None:
    check_against_cpu(embedding_study, "fp32")


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_same_numbers_however_the_work_is_cut(study: Study, precision: str) -> None:
    """Whole clients and shares of one on a device that the ranks share; small batches; on the emulated device another order of threads,
    blocks and streams."""
    changes = {"backend__precision": precision, "perturb__rate": 0.3}
    expected = study.digest(**changes)
    assert study.digest(ranks=2, **changes) == expected
    assert study.digest(ranks=5, env={"FBT_EMULATION_SEED": "7"}, **changes) == expected
    assert study.digest(backend__batch_tokens=100, env={"FBT_EMULATION_SEED": "9"}, **changes) == expected


@pytest.mark.parametrize("precision", ["tf32", "bf16"])
def test_falls_back_to_fp32(study: Study, precision: str) -> None:
    """Two models on one device, of which the second takes the place of the first, on any number of ranks. Broken by weights of the one
    that are taken for the other's by who shares them."""
    changes = {"backend__precision": precision, "backend__precision_guard": "fallback", "backend__precision_guard_tau": 1,
               "cma__population": 16, "cma__alpha": 0.02, "fed__rounds": 2, "fed__local_generations": 1}
    path = study.finished(**changes)
    with h5py.File(path) as file:
        assert file["rounds/precision_tau"][1] < 1 and file["rounds/precision_fell_back"][:].tolist() == [0, 1, 1]
    assert digest_of(path) == study.digest(ranks=2, env={"FBT_EMULATION_SEED": "7"}, **changes)


def test_embedding_on_any_number_of_ranks(embedding_study: Study) -> None:
    """The label texts are embedded by every rank for itself."""
    expected = embedding_study.digest()
    assert embedding_study.digest(ranks=2, env={"FBT_EMULATION_SEED": "5"}) == expected


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_decoder_as_on_the_cpu(decoder_study: Study, precision: str) -> None:
    """Broken by a prefix that another sequence sees, by rows counted from the wrong level, by tokens perturbed elsewhere."""
    check_against_cpu(decoder_study, precision)


def test_decoder_however_the_work_is_cut(decoder_study: Study) -> None:
    """Broken by bits that depend on which sequences of a batch share rows."""
    changes = {"backend__precision": "bf16", "perturb__rate": 0.3}
    expected = decoder_study.digest(**changes)
    assert decoder_study.digest(ranks=2, backend__batch_tokens=60, env={"FBT_EMULATION_SEED": "3"}, **changes) == expected


def with_long_labels(study: Study) -> Study:
    write(study.data, replace(study.toy, label_texts=[[5, 9], [5, 11, 9]]))
    study.values["model"]["label_scoring"] = "sum"
    return study


@pytest.mark.parametrize("precision", ["fp32", "tf32", "bf16"])
def test_long_labels_as_on_the_cpu(decoder_study: Study, precision: str) -> None:
    """Broken by a token that is looked up in another row's logits, scratch memory that two streams share, a graph that is replayed with
    scratch memory that is gone."""
    check_against_cpu(with_long_labels(decoder_study), precision)


def test_long_labels_however_the_work_is_cut(decoder_study: Study) -> None:
    """Broken by a product whose bits depend on how many rows are read."""
    study = with_long_labels(decoder_study)
    changes = {"backend__precision": "bf16", "perturb__rate": 0.3}
    expected = study.digest(**changes)
    assert study.digest(ranks=2, backend__batch_tokens=60, env={"FBT_EMULATION_SEED": "3"}, **changes) == expected


@pytest.mark.usefixtures("emulated")
def test_ranks_take_devices_in_turn(study: Study) -> None:
    """Three ranks on two devices: who has which stands in the dry run and in the run file, and the log names the one that two share."""
    two = {"FBT_EMULATION_DEVICES": "2"}
    out = call("run", study.config, "--dry-run", ranks=3, env=two).good().out
    planned = re.findall(r"^# rank (\d): .* \((GPU-[0-9a-f-]+)\)$", out, re.M)
    assert [rank for rank, _ in planned] == ["0", "1", "2"]
    assert planned[0][1] == planned[2][1] != planned[1][1]
    path = study.output()
    result = study.run(ranks=3, env=two, run__output=path, fed__local_generations=1).good()
    assert f"weights on {planned[0][1]} are shared by 2 ranks" in result.err
    with h5py.File(path) as file:
        named = re.findall(r"^rank (\d): .* \((GPU-[0-9a-f-]+)\)$", file["environment"].attrs["devices"], re.M)
    assert named == planned


@pytest.mark.usefixtures("emulated")
@pytest.mark.parametrize("ranks", [1, 2])
def test_bits_that_depend_on_the_batch_are_noticed(study: Study, ranks: int) -> None:
    """Sequences of up to 16 rows are summed in another order alone, which the trials of algorithms do not see. Broken by a run that goes
    on, and by a look at too few rows to tell."""
    said = study.run(ranks=ranks, env={"FBT_EMULATION_FEW_DIFFER": "1"}, backend__precision="fp32").sentence("alone than in a batch of")
    assert "backend.batch_tokens" in said
    assert not study.folder.joinpath("run.h5").exists()


@pytest.mark.usefixtures("emulated")
def test_too_little_device_memory(study: Study) -> None:
    """Refused before the first round with what to lower; what is told to be enough is enough."""
    changes = {"cma__population": 4000, "fed__local_generations": 1}
    little = {"FBT_EMULATION_MEMORY_MB": "100"}
    said = study.run(env=little, **changes).sentence("would take", "are free", "backend.batch_tokens")
    assert not study.folder.joinpath("run.h5").exists()
    enough = int(re.search(r"lower backend.batch_tokens to about (\d+)", said)[1])
    call("run", study.config, *study.set(backend__batch_tokens=enough, **changes), "--dry-run", env=little).good()


def test_sizes_that_no_kernel_takes(study: Study) -> None:
    """Said when the model is opened and by the dry run, not by the first batch."""
    words = ("hidden_size 60", "3 heads of 20", "intermediate_size 100", "multiples of 8", "backend.name to cpu")
    study.toy.vocabulary = 97
    write(study.data, study.toy)
    settings = study.set(model__path=MASK_MODEL)
    call("run", study.config, *settings).sentence(*words)
    call("bench", MASK_MODEL, "--backend", "cuda", "--length", 20).sentence(*words)
    assert "multiples of 8" in call("run", study.config, *settings, "--dry-run").err
    assert not study.folder.joinpath("run.h5").exists()


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_bench_by_kernel(device: str, precision: str) -> None:
    """Kernels behind products have a share of their own. Broken by marks that are set twice or not at all, and by bytes, operations
    or rates that are counted wrongly."""
    out = call("bench", EMBEDDING_MODEL, "--backend", "cuda", "--precision", precision, "--readout", "embedding", "--samples", 2,
               "--candidates", 2, "--copies", 2, "--length", 9, "--prompt-mode", "input", "--prompt-tokens", 4, "--repeats", 1,
               "--json").good().out  # fmt: skip
    (found,) = json.loads(out)
    assert found["machine"]["device"] in device
    rows, width, inner, layers, item = 2 * 2 * 2 * (9 + 4), 32, 72, 2, 4 if precision == "fp32" else 2
    gflop = {"qkv": 3 * width * width, "output": width * width, "up": width * inner, "down": width * inner}
    gbyte = {"activation": 2 * rows * inner * item, "norm": 2 * 2 * rows * width * item,
             "attention": 4 * rows * width * item, "qkv": (4 * rows * width + 3 * width * width) * item}  # fmt: skip
    operations = found["operations"]
    for name, weights in gflop.items():
        assert operations[name]["gflop"] == pytest.approx(2e-9 * layers * rows * weights, rel=1e-4), name
    for name, n_bytes in gbyte.items():
        assert operations[name]["gbyte"] == pytest.approx(1e-9 * layers * n_bytes, rel=1e-4), name
    for name in ("prompt", "embed", "readout", "attention", *gflop, *gbyte):
        one = operations[name]
        assert one["seconds"] > 0, name
        ideal_s = max(one["gflop"] / found["peak_gflops"], one["gbyte"] / found["copy_gbyte_per_s"])
        assert one["fraction_of_attainable"] == pytest.approx(ideal_s / one["seconds"], rel=1e-3), name
    assert sum(one["seconds"] for one in operations.values()) <= found["profiled_seconds"]
    assert found["tokens_per_s"] == pytest.approx(rows / found["seconds"], rel=1e-3)
    assert found["fraction_of_nominal"] == pytest.approx(found["matrix_gflops"] / found["nominal_gflops"], rel=1e-3)
    assert found["streams"]["number"] == 2 and 0 < found["streams"]["seconds"] < 10 * found["seconds"]
    assert found["nominal_gflops"] == {"bf16": 4 * 4096, "fp32": 4 * 256}.get(precision)   # four processors at 1 GHz
    assert 0 < found["fraction_of_peak"] == pytest.approx(found["matrix_gflops"] / found["peak_gflops"], rel=1e-3)
