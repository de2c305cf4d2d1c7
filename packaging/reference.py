"""Writes the manual pages and the shell completion of fedbpt from what the program says of itself: `--help` and `run --options`.

The build calls it; it needs nothing but Python.

    python3 packaging/reference.py --program build/release/bin/fedbpt --output build/release/reference
"""

from __future__ import annotations

import argparse
import datetime
import os
import re
import subprocess
import textwrap
import time
from dataclasses import dataclass, field
from pathlib import Path

HERE = Path(__file__).resolve().parent
OPTION = re.compile(r" +(?:(-\S), )?(--[^\s=]+)(?:=(\S+))?(?: +(\S.*))?")
LIST = re.compile(r"[\w-]+(?:, [\w-]+)* or [\w-]+")
FOLDERS = {"FOLDER", "MODEL"}


@dataclass
class Option:
    """`-t, --format=peft|npz   what to write`"""

    short: str | None
    long: str
    argument: str | None
    meaning: str

    @property
    def choices(self) -> list[str]:
        return [word for word in self.argument.split("|") if not word.isupper()] if self.argument and "|" in self.argument else []


@dataclass
class Command:
    """Parts of `fedbpt NAME --help`; NAME is empty for the program itself."""

    name: str
    summary: str
    synopsis: str = ""
    description: list[str] = field(default_factory=list)
    options: list[Option] = field(default_factory=list)
    examples: list[str] = field(default_factory=list)
    exit_codes: str = ""

    @property
    def page(self) -> str:
        return f"fedbpt-{self.name}" if self.name else "fedbpt"


@dataclass
class Setting:
    """`section.key`, as `fedbpt run --options` tells it."""

    key: str
    meaning: str
    details: list[str] = field(default_factory=list)

    @property
    def choices(self) -> list[str]:
        kind = self.details[0].split(";")[0] if self.details else ""
        return re.split(r", | or ", kind) if LIST.fullmatch(kind) else []


def ask(program: str, *arguments: str) -> str:
    """Return the program's output, each paragraph on one line."""
    environment = {**os.environ, "ARGP_HELP_FMT": "rmargin=10000", "LC_ALL": "C"}
    return subprocess.run([program, *arguments], capture_output=True, text=True, check=True, env=environment).stdout


def paragraphs(lines: list[str]) -> list[list[str]]:
    """Lines between empty ones."""
    return [block.split("\n") for block in re.split(r"\n{2,}", "\n".join(lines).strip("\n")) if block]


def read_options(lines: list[str]) -> list[Option]:
    """A block of argp's list; what does not begin an option goes on with the text of the one before."""
    options: list[Option] = []
    for line in lines:
        match = OPTION.fullmatch(line)
        if match:
            options.append(Option(match[1], match[2], match[3], (match[4] or "").strip()))
        else:
            options[-1].meaning = f"{options[-1].meaning} {line.strip()}".strip()
    return options


def read_command(name: str, summary: str, text: str) -> Command:
    """Sorts the parts of a help text."""
    usage, *rest = text.split("\n")
    command = Command(name, summary, usage.removeprefix("Usage: "))
    for block in paragraphs(rest):
        if OPTION.fullmatch(block[0]):
            command.options += read_options(block)
        elif block[0].startswith("Examples:"):
            command.examples += [line.strip() for line in block[1:]]
        elif block[0].startswith("Exit codes: "):
            command.exit_codes = " ".join(block).removeprefix("Exit codes: ")
        elif not block[0].startswith(("Mandatory or optional", "Commands:")):
            command.description.append("\n".join(block))
    return command


def read_commands(program: str) -> list[Command]:
    """The program itself, then its commands."""
    text = ask(program, "--help")
    listed = re.findall(r"^  ([a-z]+) +(\S.*)$", text.split("Commands:\n")[1].split("\n\n")[0], re.MULTILINE)
    itself = read_command("", "federated black-box prompt tuning over MPI", text)
    return [itself, *(read_command(name, summary, ask(program, name, "--help")) for name, summary in listed)]


def read_settings(program: str) -> list[Setting]:
    settings: list[Setting] = []
    section = ""
    for line in ask(program, "run", "--options").splitlines():
        if match := re.fullmatch(r"(\w+):", line):
            section = match[1]
        elif match := re.fullmatch(r"  (\w+) +(\S.*)", line):
            settings.append(Setting(f"{section}.{match[1]}", match[2]))
        elif line.strip():
            settings[-1].details.append(line.strip())
    return settings


def roff(text: str) -> str:
    """Text as it is, whatever it begins with or holds."""
    text = text.replace("\\", "\\e").replace("-", "\\-").replace("'", "\\(aq").replace("`", "\\(ga")
    return re.sub(r"^\.", r"\\&.", text)


def prose(text: str) -> str:
    """Text for filling, on lines of a customary length; its own lines stay apart."""
    return "\n.br\n".join("\n".join(map(roff, textwrap.wrap(line, 72, break_on_hyphens=False))) for line in text.split("\n"))


def bold(text: str) -> str:
    return f"\\fB{roff(text)}\\fR"


def head(page: str, section: int, summary: str, version: str, date: str) -> list[str]:
    return [f'.TH {page.upper()} {section} "{date}" "fedbpt {version}" "fedbpt"', ".SH NAME", f"{roff(page)} \\- {roff(summary)}"]


def tagged(tag: str, text: str) -> list[str]:
    return [".TP", tag, prose(text)]


def see_also(pages: list[tuple[str, int]]) -> list[str]:
    return [".SH SEE ALSO", " ,\n".join(f".BR {roff(page)} ({section})" for page, section in pages)]


def option_tag(option: Option) -> str:
    names = ", ".join(bold(name) for name in (option.short, option.long) if name)
    return f"{names}=\\fI{roff(option.argument)}\\fR" if option.argument else names


def man_command(command: Command, others: list[Command], version: str, date: str) -> str:
    words = command.synopsis.split(" ")
    lines = head(command.page, 1, command.summary, version, date)
    n_bold = 2 if command.name else 1
    lines += [".SH SYNOPSIS", f"{bold(' '.join(words[:n_bold]))} {roff(' '.join(words[n_bold:]))}".rstrip(), ".SH DESCRIPTION"]
    lines.append("\n.PP\n".join(map(prose, command.description)))
    if not command.name:
        lines.append(".SH COMMANDS")
        for other in others:
            lines += tagged(bold(other.name), f"{other.summary}; see {other.page}(1)")
    if command.options:
        lines.append(".SH OPTIONS")
        for option in command.options:
            lines += tagged(option_tag(option), option.meaning)
    if command.exit_codes:
        lines += [".SH EXIT STATUS", prose(command.exit_codes)]
    if command.examples:
        lines += [".SH EXAMPLES", ".nf", *(roff(example) for example in command.examples), ".fi"]
    pages = [("fedbpt", 1)] if command.name else [(other.page, 1) for other in others]
    return "\n".join([*lines, *see_also([*pages, ("fedbpt-settings", 5)])]) + "\n"


def man_settings(settings: list[Setting], version: str, date: str) -> str:
    lines = head("fedbpt-settings", 5, "settings of federated runs", version, date)
    lines += [".SH DESCRIPTION", "The configuration of a run is a YAML file of sections, each with its keys:", ".PP", ".nf"]
    lines += ["model:", "  path: models/all\\-MiniLM\\-L6\\-v2", "fed:", "  rounds: 24", ".fi", ".PP"]
    lines.append(prose("On the command line, --set section.key=value changes one setting. A key that is unknown or given twice, a value "
                       "out of its range, and a required key that is missing are errors."))
    section = ""
    for setting in settings:
        if setting.key.split(".")[0] != section:
            section = setting.key.split(".")[0]
            lines.append(f".SH {section.upper()}")
        lines += tagged(bold(setting.key), setting.meaning)
        for detail in setting.details:
            lines += [".br", prose(detail)]
    return "\n".join([*lines, *see_also([("fedbpt-run", 1), ("fedbpt-sweep", 1)])]) + "\n"


def kind_of(word: str) -> str:
    """Translate a placeholder of a usage line or an option: an ending of files, folders, or any file."""
    if word.endswith((".yaml", ".h5")):
        return word.rpartition(".")[2]
    return "folder" if word in FOLDERS else "file"


def positional(command: Command) -> str:
    words = [word.strip("[]") for word in command.synopsis.split(" ")[2:] if "OPTION" not in word]
    return kind_of(words[0]) if words else ""


def argument_of(option: Option) -> str:
    """How the completion of an option's argument is found: @set, @KIND, the choices, or nothing."""
    if option.argument == "SECTION.KEY=VALUE":
        return "@set"
    if option.choices:
        return " ".join(option.choices)
    known = option.argument and (kind_of(option.argument) != "file" or option.argument in {"FILE", "PATH"})
    return f"@{kind_of(option.argument)}" if option.argument and known else ""


def completion(template: str, commands: list[Command], settings: list[Setting]) -> str:
    """The template with its tables filled in; each is a list of the branches of a `case`."""
    def branches(rows: list[tuple[str, str]]) -> str:
        return "\n".join(f'        {pattern}) echo "{words}" ;;' for pattern, words in rows if words)

    options = [(command.name, " ".join(option.long for option in command.options)) for command in commands]
    arguments = [(" | ".join(f"{command.name}:{name}" for name in (option.short, option.long) if name), argument_of(option))
                 for command in commands for option in command.options if option.argument]
    tables = {
        "COMMANDS": " ".join(command.name for command in commands),
        "OPTIONS": branches(options),
        "ARGUMENTS": branches(arguments),
        "POSITIONALS": branches([(command.name, positional(command)) for command in commands]),
        "KEYS": " ".join(setting.key for setting in settings),
        "CHOICES": branches([(setting.key, " ".join(setting.choices)) for setting in settings]),
    }
    return re.sub(r"@(%s)@" % "|".join(tables), lambda match: tables[match[1]], template)


def write(folder: Path, name: str, text: str) -> None:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def today() -> str:
    """The day of the build, or the one that SOURCE_DATE_EPOCH names, so that builds can be the same byte for byte."""
    seconds = os.environ.get("SOURCE_DATE_EPOCH")
    day = datetime.datetime.fromtimestamp(int(seconds) if seconds else time.time(), datetime.timezone.utc)
    return day.strftime("%Y-%m-%d")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--program", required=True, metavar="FEDBPT", help="the program that has just been built")
    parser.add_argument("--output", required=True, type=Path, metavar="FOLDER", help="gets man1/, man5/, bash/ and zsh/")
    arguments = parser.parse_args()
    version = ask(arguments.program, "--version").split()[1]
    itself, *commands = read_commands(arguments.program)
    settings = read_settings(arguments.program)
    date = today()
    for command in (itself, *commands):
        write(arguments.output, f"man1/{command.page}.1", man_command(command, commands, version, date))
    write(arguments.output, "man5/fedbpt-settings.5", man_settings(settings, version, date))
    for shell, name in (("bash", "fedbpt"), ("zsh", "_fedbpt")):
        template = (HERE / f"completion.{shell}.in").read_text(encoding="utf-8")
        write(arguments.output, f"{shell}/{name}", completion(template, commands, settings))


if __name__ == "__main__":
    main()
