"""Which rank computes where, and whether its device has the memory."""

from __future__ import annotations

import re
import resource

import h5py
import pytest
from conftest import Study, call


@pytest.mark.parametrize("ranks", [1, 3])
def test_devices_are_named(mask: Study, ranks: int) -> None:
    """In the dry run and in the run file, every rank once."""
    out = call("run", mask.config, "--dry-run", ranks=ranks).good().out
    assert re.findall(r"^# rank (\d+): \S+ \S+", out, re.M) == [str(i) for i in range(ranks)]
    with h5py.File(mask.finished(ranks=ranks)) as file:
        lines = file["environment"].attrs["devices"].splitlines()
    assert [line.split(":")[0] for line in lines] == [f"rank {i}" for i in range(ranks)]


def test_memory_is_told_by_part(mask: Study) -> None:
    """Weights once for all ranks of a device, projection and batches for each; tables stay in the file where nobody else reads them."""

    def parts(ranks: int) -> tuple[float, float, float, float, float]:
        out = call("run", mask.config, "--dry-run", *mask.set(cma__dimension=3000), ranks=ranks).good().out
        found = re.search(r"memory of rank 0 in fp32: ([\d.]+) MB of weights, ([\d.]+) MB of lookup tables(.*), "
                          r"([\d.]+) MB of projection, 1 x ([\d.]+) MB for batches of at most \d+ rows", out)
        total = re.search(r"memory of its device: ([\d.]+) MB for (\d) ranks?, [\d.]+ MB are free here$", out, re.M)
        assert found and total and total[2] == str(ranks)
        assert (found[3] == " (they stay in the file)") == (ranks == 1)
        return float(total[1]), float(found[1]), float(found[2]), float(found[4]), float(found[5])

    total, weights, tables, projection, batches = parts(1)
    assert projection > weights > 0
    assert total == pytest.approx(weights + projection + batches, abs=0.3)
    total, weights, tables, projection, batches = parts(3)
    assert weights + tables + 3 * projection < total + 0.3 < weights + tables + 3 * (projection + batches) + 0.8


def test_weights_are_shared(mask: Study) -> None:
    """Ranks of one node use one copy, and compute the same; a lone rank has nobody to share with."""
    result = mask.run(ranks=3, run__output=mask.output())
    assert re.search(r"weights on .* are shared by 3 ranks", result.good().err)
    assert "are shared by" not in mask.run(run__output=mask.output()).good().err


@pytest.mark.thorough
@pytest.mark.parametrize("ranks", [1, 2])
def test_too_little_memory(mask: Study, ranks: int) -> None:
    """Refused before the first round, with what to change; not by the system in the middle of one."""

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_AS, (8 << 30, 8 << 30))

    changes = {"cma__population": 400_000, "backend__batch_tokens": 2_000_000_000}
    said = mask.run(ranks=ranks, before=limit, **changes).sentence("would take", "weights", "are free", "backend.batch_tokens")
    found = re.search(r"batches of (\d+) rows .* lower backend.batch_tokens to about (\d+)", said)
    assert found and 1000 < int(found[2]) < int(found[1])
    assert not mask.folder.joinpath("run.h5").exists()
