"""Manual pages and shell completion say what the program says of itself."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from conftest import Copy

COMPLETE = """
source "$1"
COMP_WORDBREAKS="$3" COMP_LINE="$2" COMP_POINT="${#2}"
_fedbpt
printf '%s\\n' "${COMPREPLY[@]}"
"""
WORD_BREAKS = " \t\n\"'><=;|&(:"  # Bash's own


def commands(copy: Copy) -> list[str]:
    return re.findall(r"^  ([a-z]+) +\S", copy.call("fedbpt", "--help").split("Commands:")[1].split("\n\n")[0], re.MULTILINE)


def keys(copy: Copy) -> list[str]:
    section, found = "", []
    for line in copy.call("fedbpt", "run", "--options").splitlines():
        if match := re.fullmatch(r"(\w+):", line):
            section = match[1]
        elif match := re.match(r"  (\w+)", line):
            found.append(f"{section}.{match[1]}")
    return found


def pages(copy: Copy) -> list[Path]:
    return sorted((copy.prefix / "share" / "man").rglob("fedbpt*.[0-9]"))


def plain(page: Path) -> str:
    """A page's text, on one line, without requests and marks."""
    lines = [line for line in page.read_text(encoding="utf-8").splitlines() if not re.match(r"\.(?!TH)", line)]
    text = re.sub(r"\\f[BRI]|\\&", "", " ".join(lines))
    return text.replace("\\-", "-").replace("\\(aq", "'").replace("\\e", "\\")


def test_a_page_for_every_command(copy: Copy) -> None:
    names = {"fedbpt.1", "fedbpt-settings.5", *(f"fedbpt-{command}.1" for command in commands(copy))}
    assert {page.name for page in pages(copy)} == names and len(names) > 5


def test_pages_say_all_that_help_says(copy: Copy) -> None:
    """Breaks when a part of a help text is lost on the way: every word of it must be in its page, in order within a paragraph."""
    for command in commands(copy):
        text = subprocess.run(
            [copy.program, command, "--help"], capture_output=True, text=True, check=True, env={"ARGP_HELP_FMT": "rmargin=10000"}
        ).stdout
        page = plain(copy.prefix / "share" / "man" / "man1" / f"fedbpt-{command}.1")
        told = [line.strip() for line in text.splitlines() if line.strip() and not line.startswith(("Usage:", "Mandatory", "Examples:"))]
        parts = [part for line in told for part in re.split(r"\s{2,}", line.removeprefix("Exit codes: "))]
        assert [part for part in parts if " ".join(part.split()) not in page] == [], command


def test_settings_page_has_every_key(copy: Copy) -> None:
    page = plain(copy.prefix / "share" / "man" / "man5" / "fedbpt-settings.5")
    assert [key for key in keys(copy) if key not in page] == []
    assert "nvflare, paper, fedavg-bbt, synchronous or feedsign; default nvflare" in page
    assert "an integer from 2 to 16777215; default 5" in page


@pytest.mark.parametrize(("tool", "arguments"), [("man", ["--warnings", "-l"]), ("mandoc", ["-T", "lint", "-W", "warning"])])
def test_pages_are_clean(copy: Copy, tool: str, arguments: list[str]) -> None:
    if shutil.which(tool) is None:
        pytest.skip(f"there is no {tool}")
    for page in pages(copy):
        result = subprocess.run([tool, *arguments, page], capture_output=True, text=True, check=False, env={"PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8"})
        complaints = result.stdout if tool == "mandoc" else result.stderr
        assert result.returncode == 0 and complaints == "", page.name


def test_text_of_any_kind_stays_text() -> None:
    """A line that begins like a request of roff, and its escapes."""
    import sys

    from conftest import ROOT

    sys.path.insert(0, str(ROOT / "packaging"))
    import reference

    assert reference.roff(".TH is 'a\\b' - `c`") == "\\&.TH is \\(aqa\\eb\\(aq \\- \\(gac\\(ga"
    assert [option.meaning for option in reference.read_options(["  -t, --format=a|b", "                 what to write"])] == ["what to write"]


@pytest.fixture
def complete(copy: Copy, tmp_path: Path):
    """Ask Bash to complete a line with the cursor at its end."""
    for name in ("mine.yaml", "other.yml", "run.h5", "notes.txt"):
        (tmp_path / name).touch()
    (tmp_path / "models").mkdir()
    script = copy.prefix / "share" / "bash-completion" / "completions" / "fedbpt"

    def offered(line: str, breaks: str = WORD_BREAKS) -> list[str]:
        return copy.call("bash", "-uc", COMPLETE, "bash", script, line, breaks, cwd=tmp_path).split()

    return offered


@pytest.mark.parametrize(
    ("line", "offers"),
    [
        ("fedbpt re", ["rerun"]),
        ("fedbpt run --re", ["--resume"]),
        ("fedbpt run m", ["models", "mine.yaml"]),
        ("fedbpt show r", ["run.h5"]),
        ("fedbpt run --set fed.proto", ["fed.protocol="]),
        ("fedbpt run mine.yaml -s fed.proto", ["fed.protocol="]),
        ("fedbpt run --set fed.protocol=fed", ["fedavg-bbt"]),
        ("fedbpt run --set=fed.protocol=fed", ["fedavg-bbt"]),
        ("fedbpt sweep a.yaml --set cma.active=", ["true", "false"]),
        ("fedbpt run --set model.path=mo", ["models"]),
        ("fedbpt export run.h5 --format ", ["peft", "npz", "safetensors"]),
        ("fedbpt export run.h5 --format=n", ["npz"]),
        ("fedbpt info --model ", ["models"]),
        ("fedbpt run --set fed.rounds=", []),
        ("fedbpt nonsense --", []),
    ],
)
def test_bash_completion(complete, line: str, offers: list[str]) -> None:
    assert complete(line) == offers


def test_bash_completion_where_words_do_not_break_at_equals(complete) -> None:
    assert complete("fedbpt run --set fed.protocol=fed", WORD_BREAKS.replace("=", "")) == ["fed.protocol=fedavg-bbt"]


def test_bash_completion_knows_all(copy: Copy, complete) -> None:
    """Breaks when a new command or setting is not completed."""
    assert set(complete("fedbpt ")) == {*commands(copy), "--help", "--version"}
    assert complete("fedbpt run --set ") == [f"{key}=" for key in keys(copy)]
    for command in commands(copy):
        assert set(complete(f"fedbpt {command} --")) == set(re.findall(r"(--[a-z-]+)[ =\n]", copy.call("fedbpt", command, "--usage").replace("]", " ")))


def test_zsh_completion_parses(copy: Copy) -> None:
    if shutil.which("zsh") is None:
        pytest.skip("there is no zsh")
    copy.call("zsh", "-n", copy.prefix / "share" / "zsh" / "site-functions" / "_fedbpt")
