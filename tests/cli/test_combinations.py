"""Features together that have tests of their own apart: what every run promises holds of them, too."""

from __future__ import annotations

import pytest
from conftest import Study, call, digest_of
from fedbpt_analysis.verify import verify

AVERAGE = {"fed__protocol": "fedavg-bbt", "cma__covariance": "isotropic"}
DEEP = {"prompt__deep": "joint"}
LATE = {"faults__dropout": 0.4, "pace__compute_seconds": 0.2, "pace__compute_sigma": 0.7, "pace__deadline_seconds": 1}
BOUND = {"cma__norm_bound": 0.8, "cma__norm_growth": 0.3, "cma__norm_max": 1.2}
TOGETHER = {
    "masked, private, deep": ("embedding", {**AVERAGE, **DEEP, **LATE, "fed__secure_aggregation": "true", "privacy__clip": 0.5,
                                            "privacy__noise_multiplier": 0.3, "fed__weighting": "samples", "fed__sizes": "lognormal"}),
    "alone, averaged, bounded": ("mask", {**BOUND, "fed__protocol": "fedavg-bbt", "fed__optimiser": "spsa", "fed__only_client": 2,
                                          "faults__dropout": 0.3, "fed__average_means": 3, "perturb__rate": 0.4}),
    "fed back, over-selected": ("labels", {**DEEP, "fed__protocol": "paper", "cma__covariance": "separable", "fed__quantise_bits": 2,
                                           "fed__error_feedback": "true", "fed__participants": 3, "fed__over_selection": 1.6, **LATE}),
    "votes, deep, bounded": ("decoder", {**DEEP, **BOUND, "fed__protocol": "feedsign", "fed__optimiser": "openai-es", "fed__wire": "float64",
                                         "fed__participation": 0.6, "faults__dropout": 0.5}),
    "limited memory, quantised": ("mask", {**BOUND, "fed__protocol": "fedavg-bbt", "fed__optimiser": "lm-ma", "fed__quantise_bits": 1,
                                           "fed__error_feedback": "true", "fed__average_means": 2, "run__client_means": "true"}),
    "guarded, deep, entropy": ("embedding", {**DEEP, "fed__protocol": "synchronous", "fed__optimiser": "cem", "fed__quantise_bits": 8,
                                             "backend__precision": "int8", "backend__precision_check_every": 2, "faults__dropout": 0.5,
                                             "backend__precision_guard": "fallback", "backend__precision_guard_tau": 1}),
}


@pytest.mark.thorough
@pytest.mark.parametrize("name", TOGETHER)
def test_promises(name: str, request: pytest.FixtureRequest) -> None:
    """The same bits on any number of ranks, more than there are participants too, after a stop behind every round, and made again; and the
    file is whole. Broken by state of one feature that another one does not expect."""
    fixture, changes = TOGETHER[name]
    study: Study = request.getfixturevalue(fixture)
    settings = {"fed__rounds": 4, **changes}
    path = study.finished(**settings)
    assert verify(path, None).problems == []
    for ranks in (3, 7):
        assert study.digest(ranks=ranks, **settings) == digest_of(path), f"{ranks} ranks"
    stopped = study.output()
    words = study.set(run__output=stopped, run__max_seconds=1e-6, **settings)
    assert call("run", study.config, *words).code == 75
    for ranks in (3, 1, 2):
        end = call("run", study.config, "--resume", *words, ranks=ranks)
    assert end.good() and digest_of(stopped) == digest_of(path)
    call("rerun", stopped, ranks=2).good()
