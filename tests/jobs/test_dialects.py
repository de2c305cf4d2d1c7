"""CSV and TSV as people really write them: read right, or refused with the line and what to do; what is in doubt is said."""

from __future__ import annotations

import bz2
import csv
import gzip
import io
import lzma
import random
from pathlib import Path

import pyarrow as arrow
import pytest
from staging.delimited import Dialect, parse_delimiter, parse_names
from staging.errors import UserError
from staging.sources import from_files

AS_NAMED = Dialect()


def rows(path: Path, content: str | bytes, dialect: Dialect = AS_NAMED) -> list[tuple[str, str]]:
    """(text, label) of every row."""
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return [record.cells for record in from_files([path], ["text", "label"], dialect).records]


QUOTED = 'text\tlabel\nfine\t0\n"He said ""fine"" twice"\tpos\n"both"\t1\n'


def test_quoted_tsv_is_told(tmp_path, capsys):
    """Breaks if TSV that was written with CSV quoting keeps its quotes in silence."""
    path = tmp_path / "a.tsv"
    assert rows(path, QUOTED)[1] == ('"He said ""fine"" twice"', "pos")
    warning = capsys.readouterr().err
    assert warning.startswith(f"warning: {path}:3: 2 fields begin and end with a double quote") and "--quoting csv" in warning
    assert rows(path, QUOTED, Dialect(quoting="csv")) == [("fine", "0"), ('He said "fine" twice', "pos"), ("both", "1")]
    assert rows(path, QUOTED, Dialect(quoting="none"))[2] == ('"both"', "1")
    assert rows(path, 'text\tlabel\n"very" long\t0\na "b"\t1\n')[0] == ('"very" long', "0")
    assert capsys.readouterr().err == ""


def test_warning_comes_once(tmp_path, capsys):
    """Breaks if reading a file again, as a drawn test split does, says it again."""
    path = tmp_path / "a.tsv"
    path.write_text(QUOTED)
    records = from_files([path], ["text", "label"]).records
    assert [record.cells for record in records] == [record.cells for record in records]
    assert capsys.readouterr().err.count("warning: ") == 1


@pytest.mark.parametrize(
    ("name", "content", "dialect", "expected"),
    [
        ("a.csv", "text;label\na, b;0\n", Dialect(delimiter=";"), [("a, b", "0")]),
        ("a.csv", "text|label\na, b|0\n", Dialect(delimiter="|"), [("a, b", "0")]),
        ("a.csv", 'text\tlabel\n"a\tb"\t0\n', Dialect(delimiter="\t"), [("a\tb", "0")]),
        ("a.csv", 'text,label\n"He said \\"fine\\", twice",0\n', Dialect(quoting="backslash"), [('He said "fine", twice', "0")]),
        ("a.csv", '"text",label\r\n"a\r\nb",0\r\n', Dialect(), [("a\r\nb", "0")]),
        ("a.csv", "\ufefftext,label\nfilm,0\n", Dialect(), [("film", "0")]),
        ("a.csv", '\ufeff"text","label"\nfilm,0\n', Dialect(), [("film", "0")]),
        ("a.csv", "text,label\r\r\nfilm,0\r\r\n", Dialect(), [("film", "0")]),
        ("a.csv", "text,label\n\nfilm,0\n\n", Dialect(), [("film", "0")]),
        ("a.csv", "text,label\nfilm,0", Dialect(), [("film", "0")]),
        ("a.csv", "\n\ntext,label\nfilm,0\n", Dialect(), [("film", "0")]),
        ("a.csv", 'text,label\nsay "fine",0\n', Dialect(), [('say "fine"', "0")]),
        ("a.csv", 'text,label\nsay "fine,0\n', Dialect(quoting="none"), [('say "fine', "0")]),
        ("a.csv", "text,label\nfi\0lm\x01\x0c\u2028\x85,0\n", Dialect(), [("fi\0lm\x01\x0c\u2028\x85", "0")]),
        ("a.tsv", "0\tfilm\n", Dialect(names=["label", "text"]), [("film", "0")]),
        ("A.TSV", "text\tlabel\nfilm\t0\n", Dialect(), [("film", "0")]),
    ],
)
def test_dialects(tmp_path, name, content, dialect, expected):
    assert rows(tmp_path / name, content, dialect) == expected


@pytest.mark.parametrize(
    ("name", "content", "dialect", "message"),
    [
        (
            "a.csv",
            "text;label\na;0\n",
            Dialect(),
            "a.csv:1: has no column 'text'; there are 'text;label'; if ';' separates its fields, give --delim",
        ),
        ("a.csv", "sep=;\ntext;label\na;0\n", Dialect(), "take out this line, which only Excel reads"),
        ("a.csv", "text\tlabel\na\t0\n", Dialect(), "if tab separates its fields, give --delimiter tab"),
        ("a.tsv", "text,label\na,0\n", Dialect(), "give --delimiter ','"),
        ("a.tsv", '"text"\t"label"\n"a"\t0\n', Dialect(), "the names stand in double quotes: give --quoting csv"),
        (
            "a.tsv",
            'text\tlabel\n"a\nb"\t0\n',
            Dialect(),
            "a.tsv:2: has 1 columns where the header has 2; a field begins with a double quote",
        ),
        ("a.csv", "text,label\na,b,0\n", Dialect(), "a.csv:2: has 3 columns where the header has 2"),
        ("a.csv", "a film,0\nnews,1\n", Dialect(), "there are 'a film', '0'; see --column-text, --column-label, and --names"),
        ("a.csv", "my text,label\na,0\n", Dialect(), "there are 'my text', 'label'"),
        ("a.csv", "text,label,text\na,0,b\n", Dialect(), "a.csv:1: has 2 columns named 'text'"),
        ("a.tsv", "text\tlabel\tlabel\na\t0\t1\n", Dialect(), "a.tsv:1: has 2 columns named 'label'"),
        (
            "a.csv",
            "Text,LABEL\nfilm,0\n",
            Dialect(names=["text", "label"]),
            "a.csv:1: holds the column names themselves; leave out --names",
        ),
        ("a.csv", "film,0\n", Dialect(names=["text", "mark"]), "--names: has no column 'label'; there are 'text', 'mark'"),
        ("a.csv", "film,0,1\n", Dialect(names=["text", "label"]), "a.csv:1: has 3 columns where --names has 2"),
        (
            "a.csv",
            'text,label\nfilm,0\n"a\nb ""x"",1\nc,0\n',
            Dialect(),
            "a.csv:3: not valid CSV: the double quote that begins a field here is never",
        ),
        ("a.csv", 'label,text\n"0\n1","film\nnews\n', Dialect(), "a.csv:3: not valid CSV: the double quote"),
        (
            "a.csv",
            'text,label\nfilm,0\n"a,0\nnews,1\n"good",1\n',
            Dialect(),
            "a.csv:3: not valid CSV: in line 5, text follows the double quote",
        ),
        ("a.csv", 'text,label\n"a \\"fine\\" b",0\n', Dialect(), "give --quoting backslash"),
        (
            "a.csv",
            "text,label\rfilm,0\rnews,1\r",
            Dialect(),
            "a.csv:1: not valid CSV: its lines end with a carriage return alone, as on old Macs",
        ),
        ("a.csv", "text,label\nfi\rlm,0\n", Dialect(), "a.csv:2: not valid CSV: a carriage return stands inside a field"),
        ("a.tsv", "text\tlabel\nfi\rlm\t0\n", Dialect(), "a.tsv:2: not valid TSV: a carriage return stands inside a field"),
        ("a.csv", "text,label\nf\xff,0\n".encode("latin-1"), Dialect(), "a.csv:2: not UTF-8 (byte 2 of the line)"),
        ("a.csv", b"text,label\nf\xed\xa0\xbd,0\n", Dialect(), "a.csv:2: not UTF-8"),
        ("a.csv", "text,label\nfilm,0\n".encode("utf-16"), Dialect(), "is UTF-16; convert it with iconv"),
        ("a.csv", gzip.compress(b"text,label\nfilm,0\n"), Dialect(), "compressed with gzip; add .gz to its name"),
        ("a.csv", b"PK\x03\x04more", Dialect(), "Excel workbook"),
        ("a.csv", b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", Dialect(), "git lfs pull"),
        ("a.csv.gz", b"text,label\nfilm,0\n", Dialect(), "not a complete .gz file"),
        ("a.csv.gz", gzip.compress(random.Random(1).randbytes(9000).hex().encode())[:5000], Dialect(), "not a complete .gz file"),
        ("a.csv.xz", lzma.compress(b"text,label\nfilm,0\n" * 99)[:60], Dialect(), "not a complete .xz file"),
        ("a.csv.bz2", bz2.compress(b"text,label\nfilm,0\n" * 99)[:40], Dialect(), "not a complete .bz2 file"),
        ("a.csv.zst", b"text", Dialect(), "not a complete .zst file"),
        ("a.parquet.gz", b"", Dialect(), "unknown kind of file"),
    ],
)
def test_refused(tmp_path, name, content, dialect, message):
    """Breaks if the message names another line than the fault's, or says what Python's own library says."""
    with pytest.raises(UserError) as error:
        rows(tmp_path / name, content, dialect)
    assert message in str(error.value)


@pytest.mark.parametrize(("ending", "pack"), [("gz", gzip.compress), ("bz2", bz2.compress), ("xz", lzma.compress)])
def test_compressed(tmp_path, ending, pack):
    content = pack(b"text,label\n" + b"film,0\n" * 1000)
    assert rows(tmp_path / f"a.csv.{ending}", content) == [("film", "0")] * 1000


def test_compressed_zstandard(tmp_path):
    """Whole, and cut off anywhere: breaks if the rows before the cut pass for the file."""
    content = "text,label\n" + "".join(f"film {number},0\n" for number in range(3000))
    with arrow.CompressedOutputStream(str(tmp_path / "whole.zst"), "zstd") as stream:
        stream.write(content.encode())
    packed = (tmp_path / "whole.zst").read_bytes()
    assert len(rows(tmp_path / "a.csv.zst", packed)) == 3000
    for cut in (len(packed) - 1, len(packed) // 2, 20):
        with pytest.raises(UserError, match=r"not a complete \.zst file"):
            rows(tmp_path / "a.csv.zst", packed[:cut])


def test_quotes_after_a_space_are_told(tmp_path, capsys):
    assert rows(tmp_path / "a.csv", 'text,label\nx,0\n "a film",1\n')[1] == (' "a film"', "1")
    assert "a.csv:3: 1 field begins and ends with a double quote after a space" in capsys.readouterr().err


def test_rows_inside_a_field_are_told(tmp_path, capsys):
    """A quote that is never closed takes in rows up to the next quote; breaks if they vanish in silence."""
    content = 'text,label\nfilm,0\nnews,1\n"story,0\nbad,1\ngood",1\n"two\nlines, of text",0\n'
    assert len(rows(tmp_path / "a.csv", content)) == 4
    assert "a.csv:4: 1 field holds lines that look like rows" in capsys.readouterr().err
    assert len(rows(tmp_path / "a.csv", content.replace('"story', "story").replace('good"', "good"))) == 6
    assert capsys.readouterr().err == ""


def test_bad_values_of_options():
    for text in ("", "a,,b", "a,b,a"):
        with pytest.raises(UserError, match="--names"):
            parse_names(text)
    assert parse_names("text, my label") == ["text", "my label"] and parse_delimiter("tab") == "\t"
    for text in ("", "::", '"', "\n"):
        with pytest.raises(UserError, match="--delimiter"):
            parse_delimiter(text)


@pytest.mark.parametrize("seed", range(20))
def test_what_python_writes_is_read_back(tmp_path, seed):
    """Rows of awkward characters, written by Python's csv in each dialect."""
    draw = random.Random(seed)
    made = [("".join(draw.choices("ab\",;\t\n\\ 'é\U0001f600\u2028", k=draw.randint(1, 12))), "0") for _ in range(30)]
    for delimiter, quoting, name in [(",", "csv", "a.csv"), (";", "csv", "a.csv"), ("\t", "csv", "a.tsv"), (",", "backslash", "a.csv")]:
        buffer = io.StringIO()
        more = {"doublequote": False, "escapechar": "\\"} if quoting == "backslash" else {}
        writer = csv.writer(buffer, delimiter=delimiter, quoting=csv.QUOTE_ALL, lineterminator="\n", **more)
        writer.writerows([("text", "label"), *made])
        assert rows(tmp_path / name, buffer.getvalue(), Dialect(quoting=quoting, delimiter=delimiter)) == made
