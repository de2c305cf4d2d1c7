"""Analysis of fedbpt's run files: data frames for notebooks, and the command `fedbpt-analysis`.

    import fedbpt_analysis as fa
    run = fa.open_run("runs/quickstart.h5")
    run.rounds[["dev_accuracy", "test_accuracy"]].plot()
    frame = fa.collect(fa.open_runs("runs/results"))     # one row a run: settings and scores
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .errors import AnalysisError
    from .files import RunError
    from .frame import collect
    from .run import Run, open_run, open_runs

__version__ = "0.1.0"
__all__ = ["AnalysisError", "Run", "RunError", "__version__", "collect", "open_run", "open_runs"]
_PLACES = {"AnalysisError": "errors", "RunError": "files", "collect": "frame", "Run": "run", "open_run": "run", "open_runs": "run"}


def __getattr__(name: str) -> object:
    """Loads a module when it is first asked for: commands that need no data frames start in half the time."""
    if name not in _PLACES:
        raise AttributeError(f"module {__name__} has no attribute {name}")
    return getattr(import_module(f".{_PLACES[name]}", __name__), name)


def __dir__() -> list[str]:
    return __all__
