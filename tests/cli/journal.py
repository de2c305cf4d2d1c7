"""The rounds of a run that its run file does not have yet."""

from __future__ import annotations

import hashlib
from pathlib import Path


def journal_rounds(path: Path) -> int:
    """Rounds that a run file's journal has beyond the file: its whole records, if it is behind this file."""
    try:
        seal, journal = path.read_bytes()[:512], path.with_name(f"{path.name}.journal").read_bytes()
    except FileNotFoundError:
        return 0
    if journal[:512].rstrip(b"\0") != b"fedbpt-journal 1 behind " + seal.rstrip(b"\0"):
        return 0
    place, n = 512, 0
    while len(words := journal[place : place + 512].split()) > 4:
        payload = journal[place + 512 : place + 512 + int(words[4].rstrip(b"\0"))]
        if len(payload) < int(words[4].rstrip(b"\0")):
            break
        assert hashlib.sha256(payload).hexdigest().encode() == words[3], f"record {n} of the journal is damaged"
        place += 512 + len(payload)
        n += 1
    return n
