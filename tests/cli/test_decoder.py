"""Runs of a decoder, which computes once what sequences begin with: all that encoders' runs do, in the same numbers."""

from __future__ import annotations

import os
import re
import signal
import subprocess
from pathlib import Path

import pytest
from conftest import SANITIZED, Study, call, command, digest_of, environment, last_round, wait_for_rounds
from toy import Toy, write, write_settings

MIXED = {"perturb__rate": 0.4, "fed__participation": 0.6}


def in_mode(study: Study, mode: str) -> Study:
    study.toy = Toy.decoder(mode=mode)
    write(study.data, study.toy)
    study.values["prompt"]["mode"] = mode
    return study


@pytest.mark.parametrize("scope", ["text", "all"])
@pytest.mark.parametrize("mode", ["cat", "add"])
def test_cuts(decoder: Study, mode: str, scope: str) -> None:
    """Broken by a bit that depends on which sequences a batch shares rows of, or by a copy that is perturbed elsewhere."""
    study = in_mode(decoder, mode)
    changes = {"perturb__scope": scope, **MIXED}
    expected = study.digest(**changes)
    for ranks in (3,) if SANITIZED else (3, 5):
        assert study.digest(ranks=ranks, **changes) == expected, f"{ranks} ranks"
    for batch_tokens in (1, 60, 10_000_000):
        assert study.digest(backend__batch_tokens=batch_tokens, backend__threads=2, **changes) == expected, f"{batch_tokens} tokens"


def test_modes_and_scopes_differ(decoder: Study) -> None:
    """Digests that never change would pass the test above."""
    digests = [in_mode(decoder, mode).digest(perturb__scope=scope, **MIXED) for mode in ("cat", "add") for scope in ("text", "all")]
    assert len(set(digests)) == 4


def start(study: Study, path: Path, ranks: int, **changes: object) -> subprocess.Popen[str]:
    words = ("run", study.config, *study.set(run__output=path, **changes))
    return subprocess.Popen(command(words, ranks), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment({}),
                            start_new_session=True)


@pytest.mark.parametrize("name", ["decoder", "labels"])
def test_kill_and_resume(name: str, request: pytest.FixtureRequest) -> None:
    """Killed with all its ranks in some round, and finished by other numbers of ranks."""
    study = request.getfixturevalue(name)
    changes = {"fed__rounds": 30, "fed__local_generations": 4, **MIXED}
    path = study.output()
    with start(study, path, 2, **changes) as process:
        wait_for_rounds(path, process, 3)
        os.killpg(process.pid, signal.SIGKILL)
    assert last_round(path) < 30
    call("run", study.config, "--resume", *study.set(run__output=path, **changes), ranks=3).good()
    assert digest_of(path) == study.digest(**changes)


def test_sweep(decoder: Study) -> None:
    """Runs of a sweep, which keep the model open from one to the next, have the numbers of runs alone."""
    values = {"name": "trial", "base": decoder.config.name, "output": str(decoder.folder / "runs"),
              "grid": {"fed.protocol": ["nvflare", "synchronous"]}}
    sweep = write_settings(decoder.folder / "sweep.yaml", values)
    call("sweep", sweep, ranks=2).good()
    found = {digest_of(path) for path in (decoder.folder / "runs").glob("*.h5")}
    assert found == {decoder.digest(fed__protocol=protocol) for protocol in values["grid"]["fed.protocol"]}


def planned_rows(study: Study, prompt_tokens: int, **changes: object) -> int:
    out = call("run", study.config, "--dry-run", *study.set(prompt__tokens=prompt_tokens, **changes)).good().out
    found = re.search("batches of at most ([0-9]+) rows", out)
    assert found
    return int(found[1])


def test_planned_rows(decoder: Study) -> None:
    """One prompt a candidate is planned for, 5 clients of 4 candidates. Broken by one a sequence."""
    large = {"backend__batch_tokens": 10_000_000}
    assert planned_rows(decoder, 7, **large) - planned_rows(decoder, 3, **large) == 4 * 5 * 4
    assert planned_rows(decoder, 7, backend__batch_tokens=90) == 90


def test_too_long(decoder: Study) -> None:
    """A prompt in front of a decoder's text takes positions, of which the model has 40; an encoder's in mode cat takes none."""
    call("run", decoder.config, *decoder.set(prompt__tokens=36)).sentence("40 positions", "prompt.tokens")
