"""Analysis of fedbpt's run files: data frames for notebooks, and the command `fedbpt-analysis`.

    import fedbpt_analysis as fa
    run = fa.open_run("runs/quickstart.h5")
    run.rounds[["dev_accuracy", "test_accuracy"]].plot()
    frame = fa.collect(fa.open_runs("runs/results"))     # one row a run: settings and scores
"""

from .errors import AnalysisError
from .frame import collect
from .run import Run, RunError, open_run, open_runs

__version__ = "0.1.0"
__all__ = ["AnalysisError", "Run", "RunError", "__version__", "collect", "open_run", "open_runs"]
