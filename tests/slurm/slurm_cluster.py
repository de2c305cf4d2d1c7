"""A SLURM cluster of two nodes on this one machine, for tests: munged, slurmctld and two slurmd with their own folder and ports, on
the loopback interface. Needs root and Debian's slurm-wlm and munge.

Whatever happens to the program that started it, SIGKILL included, all of its processes and its folder are removed: a process of its own
waits for that program's end. The environment variable FEDBPT_KEEP_SLURM keeps the folder, for its logs.

As a program: `python slurm_cluster.py` starts a cluster, prints how to use it, and stops it at the end of standard input.
"""

from __future__ import annotations

import os
import pathlib
import pwd
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator

NODES = ("n1", "n2")
CPUS = 2  # that each node claims to have, whatever the machine has
PROGRAMS = ("munged", "slurmctld", "slurmd", "srun", "sbatch", "scontrol", "squeue", "scancel")
START_S = 60
FOREIGN = ("SLURM", "SBATCH_", "SRUN_", "PMI", "OMPI_COMM_WORLD")  # variables of a job in which the tests themselves may run
LIVE_STATES = ("PENDING", "RUNNING", "COMPLETING", "CONFIGURING", "REQUEUED", "SUSPENDED", "STOPPED")

# A job that is requeued waits for KillWait and a second: SLURM may still be clearing away its last start.
# A node that does not answer for SlurmdTimeout is lost.
SLURM_CONF = """
ClusterName=fedbpt
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={controller_port}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={munge_socket},cred_expire=5
CredType=cred/munge
StateSaveLocation={folder}/state
SlurmctldPidFile={folder}/slurmctld.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdPidFile={folder}/%n/slurmd.pid
SlurmdLogFile={folder}/%n/slurmd.log
SlurmdSpoolDir={folder}/%n/spool
TmpFS={folder}/%n/tmp
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SwitchType=switch/none
MpiDefault=none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SlurmdParameters=config_overrides
SchedulerType=sched/backfill
SchedulerParameters=sched_interval=1,sched_min_interval=200000,batch_sched_delay=0,bf_interval=1
ReturnToService=2
SlurmdTimeout=10
KillWait=5
OverTimeLimit=0
JobRequeue=1
{nodes}
PartitionName=main Nodes={names} Default=YES MaxTime=UNLIMITED State=UP
"""

CGROUP_CONF = """
CgroupPlugin=cgroup/v1
CgroupAutomount=no
ConstrainCores=no
ConstrainRAMSpace=no
ConstrainSwapSpace=no
ConstrainDevices=no
"""


def missing() -> str | None:
    """Why no cluster can be started here, or None."""
    if os.geteuid() != 0:
        return "starting SLURM's daemons needs root"
    absent = [p for p in PROGRAMS if shutil.which(p) is None]
    return f"not installed: {', '.join(absent)} (Debian's slurm-wlm and munge)" if absent else None


def _free_ports(n: int) -> list[int]:
    """Ports that nobody listens on; all are held until the last is found, so that they differ."""
    sockets = [socket.socket() for _ in range(n)]
    try:
        for s in sockets:
            s.bind(("127.0.0.1", 0))
        return [s.getsockname()[1] for s in sockets]
    finally:
        for s in sockets:
            s.close()


def _fields(line: str) -> dict[str, str]:
    """Parse a line of `scontrol show --oneliner`."""
    return dict(field.split("=", 1) for field in line.split() if "=" in field)


def environment_of(pid: int) -> dict[str, str]:
    """A process's variables; none if it has ended."""
    try:
        entries = pathlib.Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except OSError:
        return {}
    return dict(entry.decode(errors="replace").partition("=")[::2] for entry in entries if b"=" in entry)


def _name_of(pid: int) -> str:
    try:
        return pathlib.Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        return ""


def _processes(configuration: str) -> Iterator[tuple[int, dict[str, str]]]:
    """Daemons, steps, scripts and ranks of the cluster with this slurm.conf, with their variables. A shell that merely uses the
    cluster does not run on any of its nodes."""
    for entry in pathlib.Path("/proc").iterdir():
        if entry.name.isdecimal():
            environment = environment_of(int(entry.name))
            if environment.get("SLURM_CONF") == configuration and "SLURMD_NODENAME" in environment:
                yield int(entry.name), environment


def _send(pid: int, number: signal.Signals) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        pass


def remove_after_us(folder: pathlib.Path) -> tuple[int, int]:
    """Starts a process that waits until the first of the two descriptors returned is closed, by this process or by its end, and then
    removes the cluster; the second one is at its end when that is done. No child of this process, so that whoever ends a process with
    all of its children does not end it."""
    begin_read, begin_write = os.pipe()
    done_read, done_write = os.pipe()
    child = os.fork()
    if child > 0:
        os.close(begin_read)
        os.close(done_write)
        os.waitpid(child, 0)
        return begin_write, done_read
    try:
        os.setsid()
        if os.fork() == 0:
            first, second = sorted((begin_read, done_write))
            for low, high in ((0, first), (first + 1, second), (second + 1, os.sysconf("SC_OPEN_MAX"))):
                os.closerange(low, high)
            while os.read(begin_read, 1):
                pass
            _remove(folder)
    finally:
        os._exit(0)


def _remove(folder: pathlib.Path) -> None:
    """Until none is left: a daemon may be starting another process."""
    while found := list(_processes(str(folder / "slurm.conf"))):
        for pid, _ in found:
            _send(pid, signal.SIGKILL)
        time.sleep(0.05)
    if os.environ.get("FEDBPT_KEEP_SLURM") is None:
        shutil.rmtree(folder, ignore_errors=True)


class SlurmCluster:
    """Use as a context manager. `environment` makes srun, sbatch, ... talk to this cluster."""

    def __init__(self) -> None:
        # munged insists on folders that none but root and its user may write, which excludes most build folders.
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="fedbpt-slurm-", dir="/var/tmp"))
        self._configuration = str(self.folder / "slurm.conf")
        self._begin_removal, self._removed = remove_after_us(self.folder)
        self._processes: list[subprocess.Popen] = []
        own = {name: value for name, value in os.environ.items() if not name.startswith(FOREIGN)}
        self.environment = own | {"SLURM_CONF": self._configuration}

    def __enter__(self) -> SlurmCluster:
        try:
            self._write_configuration()
            self._start_munged()
            self._start("slurmctld", "-D", "-c")
            for node in NODES:
                self.start_node(node)
            self.wait_for_nodes()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _write_configuration(self) -> None:
        self.folder.chmod(0o755)
        ports = _free_ports(1 + len(NODES))
        host = socket.gethostname().split(".")[0]
        nodes = "\n".join(
            f"NodeName={node} NodeHostname={host} NodeAddr=127.0.0.1 Port={port} CPUs={CPUS} RealMemory=1000 State=UNKNOWN"
            for node, port in zip(NODES, ports[1:], strict=True)
        )
        (self.folder / "state").mkdir()
        for node in NODES:
            self._make_folders(node)
        self.munge_socket = self.folder / "munge" / "socket"
        (self.folder / "slurm.conf").write_text(
            SLURM_CONF.format(host=host, controller_port=ports[0], munge_socket=self.munge_socket, folder=self.folder,
                              nodes=nodes, names=",".join(NODES))
        )
        (self.folder / "cgroup.conf").write_text(CGROUP_CONF)

    def _make_folders(self, node: str) -> None:
        for name in ("spool", "tmp"):  # one each: PMIx servers of two nodes in one folder collide
            (self.folder / node / name).mkdir(parents=True)

    def _start_munged(self) -> None:
        folder = self.munge_socket.parent
        user = pwd.getpwnam("munge")
        folder.mkdir()
        key = folder / "munge.key"
        key.write_bytes(secrets.token_bytes(128))
        key.chmod(0o400)
        for path in (folder, key):
            os.chown(path, user.pw_uid, user.pw_gid)
        folder.chmod(0o755)
        self._start("munged", "--foreground", f"--key-file={key}", f"--socket={self.munge_socket}",
                    f"--pid-file={folder}/munged.pid", f"--log-file={folder}/munged.log", f"--seed-file={folder}/munged.seed",
                    user="munge")
        self._wait(self.munge_socket.exists, "munged has no socket")

    def start_node(self, node: str) -> None:
        self._start("slurmd", "-D", "-N", node, node=node)

    def _start(self, *command: str, user: str | None = None, node: str = "controller") -> None:
        """SLURMD_NODENAME, which SLURM gives to what jobs start, also marks the daemons and what they start."""
        with (self.folder / f"{command[0]}.out").open("ab") as log:
            self._processes.append(
                subprocess.Popen(command, env=self.environment | {"SLURMD_NODENAME": node}, stdin=subprocess.DEVNULL, stdout=log,
                                 stderr=log, user=user, start_new_session=True)
            )

    def _wait(self, condition: Callable[[], bool], complaint: str) -> None:
        deadline = time.monotonic() + START_S
        while not condition():
            for process in self._processes:
                if process.poll() is not None:
                    raise RuntimeError(f"{process.args[0]} ended with {process.returncode}:\n{self.logs()}")
            if time.monotonic() > deadline:
                raise RuntimeError(f"{complaint} after {START_S} s:\n{self.logs()}")
            time.sleep(0.1)

    def wait_for_nodes(self) -> None:
        self._wait(lambda: all(self.node_state(node) == "IDLE" for node in NODES), "the nodes are not idle")

    def kill_node(self, node: str) -> None:
        """As if it lost its power: SIGKILL for all that runs there. Its folders are in its memory: sockets that PMIx leaves would keep
        the job's next start from using them."""
        for pid, environment in list(_processes(self._configuration)):
            if environment["SLURMD_NODENAME"] == node:
                _send(pid, signal.SIGKILL)
        for process in [p for p in self._processes if p.args[-1] == node]:
            process.wait()
            self._processes.remove(process)
        shutil.rmtree(self.folder / node)
        self._make_folders(node)

    def run(self, *command: str, check: bool = True, timeout: float = 120, **options) -> subprocess.CompletedProcess:
        return subprocess.run(command, env=self.environment | options.pop("env", {}), check=check, timeout=timeout,
                              text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **options)

    def node_state(self, node: str) -> str:
        return _fields(self.run("scontrol", "show", "node", node, "--oneliner", check=False).stdout).get("State", "")

    def set_node(self, node: str, **fields: str) -> None:
        self.run("scontrol", "update", f"NodeName={node}", *(f"{key}={value}" for key, value in fields.items()))

    def job_states(self, job: int) -> list[dict[str, str]]:
        """Ask scontrol about a job or every element of an array."""
        shown = self.run("scontrol", "show", "job", str(job), "--oneliner", check=False).stdout
        return [_fields(line) for line in shown.splitlines() if line]

    def wait_for_job(self, job: int, timeout: float = 300) -> list[dict[str, str]]:
        """Until no element of the job is pending or running."""
        deadline = time.monotonic() + timeout
        while True:
            states = self.job_states(job)
            if states and all(s.get("JobState") not in LIVE_STATES for s in states):
                return states
            if time.monotonic() > deadline:
                raise TimeoutError(f"job {job} has not ended after {timeout} s: {states}\n{self.logs()}")
            time.sleep(0.2)

    def ranks(self, **variables: object) -> list[int]:
        """Processes of steps that have all of these variables, SLURM_JOB_ID for example."""
        return [pid for pid, environment in _processes(self._configuration)
                if environment.get("SLURM_STEP_ID", "").isdecimal() and not _name_of(pid).startswith(("slurmstepd", "srun"))
                and all(environment.get(name) == str(value) for name, value in variables.items())]

    def signal_ranks(self, number: signal.Signals, **variables: object) -> int:
        """How many there were."""
        found = self.ranks(**variables)
        for pid in found:
            _send(pid, number)
        return len(found)

    def kill_srun(self, job: int) -> int:
        """The job script then goes on as after a step that has failed. How many processes there were."""
        found = [pid for pid, environment in _processes(self._configuration)
                 if _name_of(pid) == "srun" and environment.get("SLURM_JOB_ID") == str(job)]
        for pid in found:
            _send(pid, signal.SIGKILL)
        return len(found)

    def clear(self) -> None:
        """Ends all jobs and makes both nodes as they were."""
        self.run("scancel", "--user=root")
        self.signal_ranks(signal.SIGKILL)
        for node in NODES:
            if not any(p.args[-1] == node for p in self._processes):
                self.start_node(node)
            if "DRAIN" in self.node_state(node):
                self.set_node(node, State="RESUME")
        self._wait(lambda: self.run("squeue", "--noheader").stdout == "", "jobs do not end")
        self.wait_for_nodes()

    def logs(self) -> str:
        texts = []
        for path in sorted(self.folder.glob("*.out")) + sorted(self.folder.rglob("*.log")):
            lines = path.read_text(errors="replace").splitlines()[-15:]
            texts.append(f"--- {path.name} of {path.parent.name}\n" + "\n".join(lines))
        return "\n".join(texts)

    def stop(self) -> None:
        os.close(self._begin_removal)
        for process in self._processes:
            process.wait()
        os.read(self._removed, 1)
        os.close(self._removed)


def main() -> int:
    why = missing()
    if why is not None:
        print(f"error: {why}", file=sys.stderr)
        return 1
    with SlurmCluster() as cluster:
        print(f"export SLURM_CONF={cluster.environment['SLURM_CONF']}  # ends with this program's standard input", flush=True)
        sys.stdin.read()
    return 0


if __name__ == "__main__":
    sys.exit(main())
