"""Whether the process that writes a run file lives: its lock (src/record/claim.h) says who it is and when it last gave a sign of life."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass, field
from pathlib import Path

STALE_S = 120.0  # without a sign of life after which a writer counts as dead


@dataclass(frozen=True)
class Holder:
    """Who holds a run file's lock. `stamp` (whose second part is a time, in ns) changes with every sign of life. `dead`: known to have
    ended; `alive`: known to live; neither: elsewhere."""

    text: str
    stamp: tuple[str, int]
    dead: bool
    alive: bool


def _fields(path: Path) -> tuple[dict[str, str], int] | None:
    """Read a lock, and when it was last touched; None where there is no such file."""
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
        touched = os.stat(path).st_mtime_ns
    except OSError:
        return None
    lines = [line.partition(" ") for line in text.splitlines()] if text.endswith("end\n") else []
    return {key: value for key, _, value in lines}, touched


def lock_of(run_file: Path) -> Path:
    real = Path(os.path.realpath(run_file))
    return real.with_name(f".{real.name}.lock")


def look(run_file: Path) -> Holder | None:
    """The holder of a run file's lock; None where it is not locked. A lock that is being taken over consists of a chain of files, of
    which the last one names the holder."""
    lock = lock_of(run_file)
    found, last = None, _fields(lock)
    while last is not None:
        found = last
        identity = found[0].get("identity")
        last = _fields(lock.with_name(f"{lock.name}.{identity}")) if identity else None
    if found is None:
        return None
    said, touched = found
    text = f"process {said['pid']} on {said['host']}" if "pid" in said and "host" in said else "unknown process"
    here, lives = _is_here(said), _born(said.get("pid", "")) == said.get("born")
    return Holder(text, (said.get("identity", ""), touched), dead=here and not lives, alive=here and lives)


def writer_of(run_file: Path) -> Holder | None:
    """The holder of a lock, if it lives; elsewhere by its last sign of life."""
    holder = look(run_file)
    if holder is None or holder.dead:
        return None
    return holder if holder.alive or time.time() - holder.stamp[1] / 1e9 < STALE_S else None


def _is_here(said: dict[str, str]) -> bool:
    """Whether the process numbers of a lock are those that this process sees."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        here = {"host": os.uname().nodename, "boot": boot, "pids": os.readlink("/proc/self/ns/pid")}
    except OSError:
        return False
    return all(said.get(name) == value for name, value in here.items()) and not said.get("born", "-1").startswith("-")


def _born(pid: str) -> str | None:
    """When a process began, in ticks since the boot: it tells a process from a later one of its number. None: it has ended."""
    try:
        after_name = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
    except OSError:
        return None
    return None if after_name[0] in "ZX" else after_name[19]


@dataclass
class LifeSigns:
    """Watches a run file and its lock. A clock that is set, or that differs from the file server's, does not matter: what counts is how
    long nothing has changed by this process's own clock."""

    path: Path
    _seen: object = None
    _since: float = field(default_factory=time.monotonic)

    def why_dead(self) -> str | None:
        """Why nobody writes the file any more; None while somebody may."""
        holder = look(self.path)
        if holder is not None and holder.dead:
            return f"{holder.text} has ended"
        try:
            status = os.stat(self.path)
            now: object = (holder.stamp if holder else None, status.st_ino, status.st_mtime_ns)
        except OSError:
            now = (holder.stamp if holder else None, 0, 0)
        if now != self._seen:
            self._seen, self._since = now, time.monotonic()
        if time.monotonic() - self._since < STALE_S:
            return None
        who = f"{holder.text} has given no sign of life" if holder else "no process has it locked, and nothing has changed"
        return f"{who} for {STALE_S:.0f} s"
