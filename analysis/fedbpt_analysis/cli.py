"""fedbpt-analysis: reports, comparisons, a live view, checks and classification of run files; tuning by gradients."""

from __future__ import annotations

import argparse
import math
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from . import __version__, output
from .errors import AnalysisError
from .paper import TABLES
from .tables import FORMATS

PICTURES = (".svg", ".png", ".pdf")
EXAMPLES = {
    "": """examples:
  fedbpt-analysis report runs/quickstart.h5                      runs/quickstart.html
  fedbpt-analysis compare runs/results --output runs/comparison  tables, pictures and a page
  fedbpt-analysis watch runs/quickstart.h5
  fedbpt-analysis verify runs/*.h5
  fedbpt-analysis classify runs/quickstart.h5 < texts.txt

Each command has its own --help. In notebooks: import fedbpt_analysis; help(fedbpt_analysis.Run).
Exit codes: 0 done; 1 failed, with one sentence why, or, of verify, a file is not whole; 2 the command line is wrong.""",
    "report": """examples:
  fedbpt-analysis report runs/quickstart.h5
  fedbpt-analysis report runs/a.h5 runs/b.h5 --output ab.html
  fedbpt-analysis report runs/quickstart.h5 --png --csv          also runs/quickstart-files/*.png and *.csv
  fedbpt-analysis report runs/quickstart.h5 --overview run.svg   four pictures in one file, no page

Works on finished, interrupted and failed runs and on one that is still being written.""",
    "compare": """examples:
  fedbpt-analysis compare runs/results                           summary and table of settings (Markdown)
  fedbpt-analysis compare runs/results --output runs/comparison  everything: page, CSV, Markdown, LaTeX, pictures
  fedbpt-analysis compare runs/results --format latex > table.tex
  fedbpt-analysis compare runs/sweep --metric test_loss_best --axes cma.sigma,cma.population
  fedbpt-analysis compare runs/paper --paper results --format latex

Runs that differ in run.seed only are seeds of one setting. The axes are those the sweep recorded, or else all settings that differ.
Settings that differ besides the axes are named: a seed then counts once, by its mean over them. Intervals are 95%, over seeds; those
of accuracies stay within 0 and 1 (Student's t on the logit scale). The best setting and the best round are chosen on dev samples; the
test set never chooses.""",
    "watch": """examples:
  fedbpt-analysis watch runs/quickstart.h5
  fedbpt-analysis watch runs/quickstart.h5 --once

Waits for the file if it is not there yet, and ends when the run does, with exit code 1 if it failed or was killed. Where the output is
no terminal, prints a line a round.""",
    "verify": """examples:
  fedbpt-analysis verify runs/*.h5
  fedbpt-analysis verify --same runs/4-ranks.h5 runs/1-rank.h5   fails unless both hold the same numbers

Checks the seal (the SHA-256 of the file's bytes), layout, rounds, numbers, partition and result, and that the program reads the same;
prints its digest of the results.""",
    "seal": """examples:
  fedbpt-analysis seal runs/quickstart.h5
  fedbpt-analysis seal datasets/*.h5

Run files and data set files begin with the SHA-256 of their bytes, and one that does not fit is refused as damaged. Whoever changes such
a file (with h5py or h5repack, say) seals it again with this command. Files of earlier versions, which have no seal, get one. Not for
files that are damaged: they would pass as whole.""",
    "scale": """examples:
  fedbpt bench --scale runs/mine.h5 --latency 2us --bandwidth 12.5GB/s --json > scaling.json
  fedbpt-analysis scale scaling.json --overview scaling.svg
  fedbpt-analysis scale scaling.json --overview scaling.png --clients 10000    whose round is shown in its parts

Draws what `fedbpt bench --scale --json` predicts: efficiency, time and memory by the number of ranks, a line for each number of
clients.""",
    "classify": """examples:
  fedbpt-analysis classify runs/quickstart.h5 < texts.txt
  echo "Shares fall after profit warning" | fedbpt-analysis classify runs/quickstart.h5 --json
  fedbpt-analysis classify runs/mine.h5 --model models/roberta-large --task my-task.yaml < texts.txt > labels.tsv

One text a line (UTF-8); of a task with two texts, both with a tab between. Where the output is not UTF-8, characters that it lacks
are escaped; in JSON nothing is lost by that. Probabilities are the softmax of the labels' logits.""",
    "gradients": """examples:
  fedbpt-analysis gradients runs/mine.h5 --output runs/gradients.h5
  fedbpt-analysis gradients runs/mine.h5 --output runs/sgd.h5 --optimiser sgd --learning-rate 0.5 --local-steps 4
  fedbpt-analysis compare runs/mine.h5 runs/gradients.h5

Tunes the prompt of a run by gradients, for comparison: federated averaging over the same participants, samples and rounds, in PyTorch
and transformers (pip install './analysis[gradients]'). The result is a run file. docs/gradients.md says what is computed.""",
    "privacy": """examples:
  fedbpt-analysis privacy runs/private.h5
  fedbpt-analysis privacy runs/z1.h5 runs/z2.h5 --format latex

Run files hold epsilon by zero-concentrated differential privacy, in closed form; the exact epsilon of the same Gaussian mechanisms is
smaller. What the guarantee is for, and what it assumes: docs/privacy.md.""",
}


def make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="fedbpt-analysis", description=__doc__, epilog=EXAMPLES[""],
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def add(name: str, about: str) -> argparse.ArgumentParser:
        return commands.add_parser(name, help=about, description=f"{about[0].upper()}{about[1:]}.", epilog=EXAMPLES[name],
                                   formatter_class=argparse.RawDescriptionHelpFormatter)

    report = add("report", "make one HTML file of a run, or of several")
    report.add_argument("runs", nargs="+", type=Path, metavar="RUN.h5")
    report.add_argument("-o", "--output", type=Path, metavar="FILE.html", help="default: the first run's name, with .html")
    report.add_argument("--png", action="store_true", help="every picture as PNG too, in the folder NAME-files")
    report.add_argument("--svg", action="store_true", help="every picture as SVG too")
    report.add_argument("--csv", action="store_true", help="rounds, clients, cost, partition and settings as CSV too")
    report.add_argument("--overview", type=Path, metavar="FILE", help="make this one picture (.svg, .png, .pdf) of a run and nothing else")

    compare = add("compare", "compare runs: means over seeds, paired differences, main effects, the setting to choose")
    compare.add_argument("paths", nargs="+", type=Path, metavar="FOLDER|RUN.h5")
    compare.add_argument("-o", "--output", type=Path, metavar="FOLDER", help="write page, tables and pictures there")
    compare.add_argument("--metric", help="what is compared (default: test_accuracy_best)")
    compare.add_argument("--axes", type=lambda text: text.split(","), metavar="KEY,...",
                         help="settings that make up a row; default: what differs")
    compare.add_argument("--unfinished", action="store_true", help="runs that are not finished count too, as they are")
    compare.add_argument("--format", choices=sorted(FORMATS), default="markdown", help="of the table that is printed (default: markdown)")
    compare.add_argument("--paper", choices=sorted(TABLES), help="print this table of the FedBPT paper with our numbers in it")
    compare.add_argument("--overview", type=Path, metavar="FILE", help="make this one picture (.svg, .png, .pdf) and nothing else")

    watch = add("watch", "show a run in the terminal while it is being written")
    watch.add_argument("run", type=Path, metavar="RUN.h5")
    watch.add_argument("--once", action="store_true", help="print once and end")
    watch.add_argument("--interval", type=float, default=2.0, metavar="S", help="seconds between two looks (default: 2)")

    verify = add("verify", "check that run files are whole")
    verify.add_argument("runs", nargs="+", type=Path, metavar="RUN.h5")
    verify.add_argument("--program", metavar="FEDBPT", help="default: $FEDBPT, on PATH, or in build/release/bin")
    verify.add_argument("--same", action="store_true", help="all files must hold the same results (needs the program)")

    seal = add("seal", "say that files which you have changed yourself are as they should be")
    seal.add_argument("files", nargs="+", type=Path, metavar="FILE.h5")

    scale = add("scale", "draw what `fedbpt bench --scale --json` predicts")
    scale.add_argument("predictions", type=Path, metavar="FILE.json")
    scale.add_argument("--overview", type=Path, metavar="FILE", required=True, help="the picture (.svg, .png, .pdf)")
    scale.add_argument("--clients", type=int, metavar="N", help="whose round is shown in its parts (default: the number nearest to 1024)")

    classify = add("classify", "label new texts with a tuned prompt")
    classify.add_argument("run", type=Path, metavar="RUN.h5")
    classify.add_argument("-m", "--model", metavar="FOLDER", help="default: the run's")
    classify.add_argument("-t", "--task", metavar="TASK", help="task file, or the name of one in configs/tasks; default: the run's")
    classify.add_argument("-n", "--round", metavar="N|best|last",
                          help="whose prompt (default: best, or last where there are no dev samples)")
    classify.add_argument("--max-tokens", type=int, metavar="N", help="shorten longer texts; default: what the model's positions allow")
    classify.add_argument("-j", "--json", action="store_true", help="JSON in place of tab-separated columns")
    classify.add_argument("--program", metavar="FEDBPT", help="default: $FEDBPT, on PATH, or in build/release/bin")

    gradients = add("gradients", "tune the prompt of a run by gradients, for comparison")
    gradients.add_argument("run", type=Path, metavar="RUN.h5", help="whose samples, participants and rounds are taken")
    gradients.add_argument("-o", "--output", type=Path, metavar="FILE.h5", required=True, help="the run file that is written")
    gradients.add_argument("--optimiser", choices=("adam", "sgd"), default="adam", help="of a client's steps (default: adam)")
    gradients.add_argument("--learning-rate", type=float, default=0.01, metavar="X", help="of a client's steps (default: 0.01)")
    gradients.add_argument("--local-steps", type=int, metavar="I", help="of a client in a round (default: fed.local_generations)")
    gradients.add_argument("--rounds", type=int, metavar="N", help="the first N rounds of the run (default: all that it has)")
    gradients.add_argument("-m", "--model", metavar="FOLDER", help="default: the run's")
    gradients.add_argument("--data", metavar="FILE.h5", help="data set file (default: the run's)")
    gradients.add_argument("--threads", type=int, metavar="N", help="of PyTorch (default: its own choice)")
    gradients.add_argument("--overwrite", action="store_true", help="replace an existing run file")

    privacy = add("privacy", "tell the differential privacy of runs: the recorded epsilon, and the exact one")
    privacy.add_argument("runs", nargs="+", type=Path, metavar="RUN.h5")
    privacy.add_argument("--format", choices=sorted(FORMATS), default="markdown", help="of the table (default: markdown)")
    return parser


def run_report(arguments: argparse.Namespace) -> int:
    from . import report
    from .naming import file_names
    from .run import Run
    from .words import summary

    runs = [Run(path) for path in arguments.runs]
    kinds = [kind for kind in ("png", "svg") if getattr(arguments, kind)]
    if arguments.overview:
        _alone("--overview", arguments, ("output", "png", "svg", "csv"))
        if len(runs) != 1:
            raise AnalysisError("--overview is of one run; name one")
        report.overview(runs[0], output.check("--overview", arguments.overview, PICTURES, arguments.runs))
        return 0
    page: Path = output.check("--output", arguments.output or arguments.runs[0].with_suffix(".html"), (".html", ".htm"), arguments.runs)
    output.write_text(page, report.html(runs))
    folder = page.with_name(f"{page.stem}-files")
    for run, name in zip(runs, file_names(report.names_of(runs)), strict=True):
        place = folder if len(runs) == 1 else folder / name
        report.write_pictures(run, place, kinds)
        if arguments.csv:
            report.write_tables(run, place)
        notes = [report.label_notes(run)] if kinds and report.label_notes(run) else []
        output.say(f"{run.path}:", *(f"  {sentence}" for sentence in (*summary(run), *notes)))
    output.say(f"report: {page}", *([f"files:  {folder}"] if kinds or arguments.csv else []))
    return 0


def run_compare(arguments: argparse.Namespace) -> int:
    from . import compare_report
    from .compare import compare

    comparison = compare(arguments.paths, arguments.metric, arguments.axes, arguments.unfinished)
    if arguments.paper:
        _alone("--paper", arguments, ("output", "overview"))
        output.say(TABLES[arguments.paper](comparison.runs).render(arguments.format).rstrip("\n"))
        return 0
    if arguments.overview:
        _alone("--overview", arguments, ("output",))
        compare_report.overview(comparison, output.check("--overview", arguments.overview, PICTURES, map(Path, comparison.runs["path"])))
        return 0
    table = compare_report.settings_table(comparison)
    if arguments.format == "markdown":
        output.say(*compare_report.summary(comparison), "")
    output.say(table.render(arguments.format).rstrip("\n"))
    if arguments.output:
        title = f"Comparison of {', '.join(str(path) for path in arguments.paths[:3])}" + (", ..." if len(arguments.paths) > 3 else "")
        written = compare_report.write_all(comparison, arguments.output, title)
        output.note(f"{len(written)} files in {arguments.output}; begin with {written[0]}")
    return 0


def _alone(option: str, arguments: argparse.Namespace, others: Sequence[str]) -> None:
    """An option that makes one thing and nothing else leaves no other unheard."""
    given = next((name for name in others if getattr(arguments, name)), None)
    if given is not None:
        raise AnalysisError(f"{option} makes that and nothing else; leave out --{given}")


def run_watch(arguments: argparse.Namespace) -> int:
    from .watch import watch

    if not math.isfinite(arguments.interval) or not 0.05 <= arguments.interval <= 3600:
        raise AnalysisError(f"--interval {arguments.interval:g}: must be from 0.05 to 3600 seconds")
    with output.arriving():
        return watch(arguments.run, arguments.once, arguments.interval)
    return 0


def run_verify(arguments: argparse.Namespace) -> int:
    from . import program
    from .verify import verify_all

    found = program.need(arguments.program) if arguments.same else program.find(arguments.program)
    verdicts = verify_all(arguments.runs, found, arguments.same)
    output.say(*(verdict.line() for verdict in verdicts))
    if found is None:
        output.note("note: the program fedbpt was not found, so that what it reads was not compared")
    return 1 if any(verdict.problems for verdict in verdicts) else 0


def run_seal(arguments: argparse.Namespace) -> int:
    from . import seal

    for path in arguments.files:
        seal.write(path)
        print(f"sealed   {path}")
    return 0


def run_scale(arguments: argparse.Namespace) -> int:
    from . import scaling

    target = output.check("--overview", arguments.overview, PICTURES, [arguments.predictions])
    scaling.overview(arguments.predictions, target, arguments.clients)
    return 0


def run_classify(arguments: argparse.Namespace) -> int:
    from . import classify, program
    from .run import Run

    run = Run(arguments.run)
    found = program.need(arguments.program)
    task = arguments.task or run.task
    samples = classify.read_texts(_read_stdin(), classify.takes_two_texts(task))
    classes = classify.classify(run, samples, found, arguments.model, task, arguments.round, arguments.max_tokens)
    if arguments.json:
        output.say(classify.as_json(classes, samples, ascii_only=not output.is_unicode()))
    else:
        output.say(classify.as_tsv(classes, samples))
    return 0


def run_gradients(arguments: argparse.Namespace) -> int:
    from . import gradients

    named = {name: value for name, value in vars(arguments).items() if name not in ("command", "run")}
    command = " ".join(f"--{name.replace('_', '-')} {value}" for name, value in named.items() if value is not None and value is not False)
    written = gradients.tune(gradients.Plan(like=arguments.run, **named), f"fedbpt-analysis gradients {arguments.run} {command}")
    output.say(f"run file: {written}")
    return 0


def run_privacy(arguments: argparse.Namespace) -> int:
    from . import privacy
    from .run import Run

    output.say(privacy.table([Run(path) for path in arguments.runs]).render(arguments.format).rstrip("\n"))
    return 0


def _read_stdin() -> list[str]:
    """Lines end with a line feed only: other characters that divide lines may stand in a text."""
    if sys.stdin is None:
        raise AnalysisError("the standard input is closed; the texts are read from it")
    if sys.stdin.isatty():
        output.note("reading texts, one a line; end with Ctrl-D")
    try:
        text = sys.stdin.buffer.read().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise AnalysisError(f"the texts are not UTF-8 (byte {error.start + 1})") from error
    return text.removesuffix("\n").split("\n") if text else []


COMMANDS = {"report": run_report, "compare": run_compare, "watch": run_watch, "verify": run_verify, "seal": run_seal,
            "scale": run_scale, "classify": run_classify, "privacy": run_privacy, "gradients": run_gradients}


def file_words(words: Sequence[str], parser: argparse.ArgumentParser) -> list[str]:
    """`-x.h5`, as a shell makes of *.h5, is a file and no option, if it ends in .h5 or is there and no option has that name."""
    commands = next(action for action in parser._actions if isinstance(action, argparse._SubParsersAction))
    options = {name for sub in (parser, *commands.choices.values()) for name in sub._option_string_actions}
    found = list(words)
    for i, word in enumerate(found):
        if word == "--":
            break
        if word.startswith("-") and word.split("=")[0] not in options and (word.endswith(".h5") or os.path.exists(word)):
            found[i] = f"./{word}"
    return found


def main(words: Sequence[str] | None = None) -> int:
    """The command; its exit code."""
    return output.guarded("fedbpt-analysis", lambda: _run(sys.argv[1:] if words is None else words))


def _run(words: Sequence[str]) -> int:
    parser = make_parser()
    try:
        with output.arriving():
            arguments = parser.parse_args(file_words(words, parser))
    except SystemExit as end:  # --help and --version have printed
        output.flush()
        return int(end.code or 0)
    return COMMANDS[arguments.command](arguments)
