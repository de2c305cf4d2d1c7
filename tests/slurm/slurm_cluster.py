"""A SLURM cluster of two nodes on this one machine, for tests: munged, slurmctld and two slurmd with their own folders and
ports, on the loopback interface, started and stopped here. Needs root and Debian's slurm-wlm and munge.

As a program: `python slurm_cluster.py FOLDER` starts one, prints how to use it, and stops it at the end of standard input.
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

NODES = ("n1", "n2")
CPUS = 2  # that each node claims to have, whatever the machine has
PROGRAMS = ("munged", "slurmctld", "slurmd", "srun", "sbatch", "scontrol", "squeue", "scancel")
START_S = 60

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
SchedulerParameters=sched_min_interval=200000,batch_sched_delay=0,bf_interval=1
ReturnToService=2
SlurmdTimeout=30
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
    return f"not installed: {', '.join(absent)}" if absent else None


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


class SlurmCluster:
    """Use as a context manager. `environment` makes srun, sbatch, ... talk to this cluster."""

    def __init__(self) -> None:
        # munged insists on folders that none but root and its user may write, which excludes most build folders.
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="fedbpt-slurm-", dir="/var/tmp"))
        self._processes: list[subprocess.Popen] = []
        self.environment = dict(os.environ, SLURM_CONF=str(self.folder / "slurm.conf"))
        for name in [n for n in self.environment if n.startswith("SLURM_") and n != "SLURM_CONF"]:
            del self.environment[name]

    def __enter__(self) -> SlurmCluster:
        try:
            self._write_configuration()
            self._start_munged()
            self._start("slurmctld", "-D", "-c")
            for node in NODES:
                self.start_node(node)
            self._wait_for_nodes()
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
            for node, port in zip(NODES, ports[1:])
        )
        (self.folder / "state").mkdir()
        for node in NODES:
            for name in ("spool", "tmp"):  # one each: PMIx servers of two nodes in one folder collide
                (self.folder / node / name).mkdir(parents=True)
        self.munge_socket = self.folder / "munge" / "socket"
        (self.folder / "slurm.conf").write_text(
            SLURM_CONF.format(host=host, controller_port=ports[0], munge_socket=self.munge_socket, folder=self.folder,
                              nodes=nodes, names=",".join(NODES))
        )
        (self.folder / "cgroup.conf").write_text(CGROUP_CONF)

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
        # A long line of Open MPI's own variables in slurmd's environment would reach every job.
        self._start("slurmd", "-D", "-N", node)

    def _start(self, *command: str, user: str | None = None) -> None:
        log = (self.folder / f"{command[0]}.out").open("ab")
        self._processes.append(
            subprocess.Popen(command, env=self.environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log, user=user,
                             start_new_session=True)
        )

    def _wait(self, condition, complaint: str) -> None:
        deadline = time.monotonic() + START_S
        while not condition():
            for process in self._processes:
                if process.poll() is not None:
                    raise RuntimeError(f"{process.args[0]} ended with {process.returncode}:\n{self.logs()}")
            if time.monotonic() > deadline:
                raise RuntimeError(f"{complaint} after {START_S} s:\n{self.logs()}")
            time.sleep(0.1)

    def _wait_for_nodes(self) -> None:
        self._wait(lambda: all(self.node_state(node) == "IDLE" for node in NODES), "the nodes are not idle")

    def run(self, *command: str, check: bool = True, timeout: float = 120, **options) -> subprocess.CompletedProcess:
        return subprocess.run(command, env=dict(self.environment, **options.pop("env", {})), check=check, timeout=timeout,
                              text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **options)

    def node_state(self, node: str) -> str:
        shown = self.run("scontrol", "show", "node", node, "--oneliner", check=False).stdout
        fields = dict(field.split("=", 1) for field in shown.split() if "=" in field)
        return fields.get("State", "")

    def submit(self, *arguments: str, **options) -> int:
        """sbatch; the job's number."""
        return int(self.run("sbatch", "--parsable", *arguments, **options).stdout.split(";")[0])

    def job_states(self, job: int) -> list[dict[str, str]]:
        """What scontrol knows of a job or of every element of an array."""
        shown = self.run("scontrol", "show", "job", str(job), "--oneliner", check=False).stdout
        return [dict(field.split("=", 1) for field in line.split() if "=" in field) for line in shown.splitlines() if line]

    def wait_for_job(self, job: int, timeout: float) -> list[dict[str, str]]:
        """Until no element of the job is pending or running."""
        deadline = time.monotonic() + timeout
        while True:
            states = self.job_states(job)
            if states and all(s.get("JobState") not in ("PENDING", "RUNNING", "COMPLETING", "CONFIGURING", "REQUEUED",
                                                        "SUSPENDED", "STOPPED") for s in states):
                return states
            if time.monotonic() > deadline:
                raise TimeoutError(f"job {job} has not ended after {timeout} s: {states}\n{self.logs()}")
            time.sleep(0.2)

    def logs(self) -> str:
        texts = []
        for path in sorted(self.folder.glob("*.out")) + sorted(self.folder.rglob("*.log")):
            lines = path.read_text(errors="replace").splitlines()[-15:]
            texts.append(f"--- {path.name} of {path.parent.name}\n" + "\n".join(lines))
        return "\n".join(texts)

    def stop(self) -> None:
        self.run("scancel", "--user=root", "--signal=KILL", check=False) if self._processes else None
        for process in reversed(self._processes):  # nodes before their controller, munged last
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
            try:
                process.wait(15)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self._processes.clear()
        if os.environ.get("FEDBPT_KEEP_SLURM") is None:
            shutil.rmtree(self.folder, ignore_errors=True)


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
