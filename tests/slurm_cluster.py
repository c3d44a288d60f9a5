"""A real Slurm with accounting on this machine, for tests: one node, loopback only.

    python tests/slurm_cluster.py start DIR       python tests/slurm_cluster.py stop DIR

Needs root on Debian; packages that are missing are installed. Keys, database, logs and sockets live
in DIR. Without accounting submitit waits for ever for a job that died.
"""

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from pathlib import Path

PACKAGES = ["slurmctld", "slurmd", "slurm-client", "slurmdbd", "munge", "mariadb-server"]
PROGRAMS = ["slurmctld", "slurmd", "sbatch", "slurmdbd", "munged", "mariadbd"]
# each needs the ones before it
DAEMONS = ["munged", "mariadbd", "slurmdbd", "slurmctld", "slurmd"]
SECONDS = 30.0  # for a daemon to answer or to end; they take less than two
_AT_WORK = ("idle", "mix", "alloc")  # after a restart old jobs may hold it

_SLURM = """\
ClusterName=visionlab
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={slurmctld_port}
SlurmdPort={slurmd_port}
CommunicationParameters=NoCtldInAddrAny,NoInAddrAny
AuthType=auth/munge
# a requeued job starts when its credential has expired, by default after two minutes
AuthInfo=socket={folder}/munge.socket,cred_expire=5
SlurmUser=root
SlurmdUser=root
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
# a dead node is noticed after this many seconds
SlurmdTimeout=10
KillWait=5
ReturnToService=2
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
AccountingStorageType=accounting_storage/slurmdbd
AccountingStorageHost=localhost
AccountingStoragePort={slurmdbd_port}
# not a password: with munge this is the socket, AuthInfo does not count here
AccountingStoragePass={folder}/munge.socket
JobAcctGatherType=jobacct_gather/linux
NodeName={host} NodeAddr=127.0.0.1 CPUs={cpus} RealMemory={memory_mb} State=UNKNOWN
# a job in `urgent` takes the place of one in `main`, which gets its --signal, and is requeued
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
SlurmctldParameters=preempt_send_user_signal
PartitionName=main Nodes={host} Default=YES State=UP GraceTime=60
PartitionName=urgent Nodes={host} State=UP PriorityTier=10
"""
_SLURMDBD = """\
DbdHost=localhost
DbdAddr=127.0.0.1
DbdPort={slurmdbd_port}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
SlurmUser=root
StorageType=accounting_storage/mysql
StorageHost=localhost
StorageUser=root
StorageLoc=slurm
LogFile={folder}/slurmdbd.log
PidFile={folder}/slurmdbd.pid
CommunicationParameters=NoInAddrAny
"""


def obstacle() -> str | None:
    """Return why Slurm cannot run here, or None."""
    if os.getuid() != 0:
        return "Slurm needs root"
    if not shutil.which("apt-get") and _missing_programs():
        return f"Slurm needs Debian's packages {' '.join(PACKAGES)}"
    host = socket.gethostname().split(".")[0]
    with suppress(OSError):
        if socket.gethostbyname(host) == "127.0.0.1":
            return None
    return f"Slurm needs a line '127.0.0.1 {host}' in the hosts file"


def install() -> None:
    """Install the packages that are missing, without starting what they bring.

    Raises:
        RuntimeError: apt-get failed.
    """
    if not _missing_programs():
        return
    # Debian starts no service in runlevel 1
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive", "RUNLEVEL": "1"}
    command = ["apt-get", "install", "--yes", "--quiet", "--no-install-recommends", *PACKAGES]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    if done.returncode != 0:
        raise RuntimeError(f"apt-get install must succeed, got {done.stderr.strip()}")


def start(folder: Path) -> None:
    """Start Slurm with all its state in `folder`, and wait until its node is idle.

    Raises:
        RuntimeError: something stands in the way, or a daemon did not answer.
    """
    if reason := obstacle():
        raise RuntimeError(reason)
    install()
    folder = folder.resolve()
    _write_settings(folder)
    try:
        _start_munge(folder)
        _start_database(folder)
        _run("slurmdbd", folder=folder)
        _wait(lambda: _answers("sacctmgr", "show", "cluster", folder=folder), "slurmdbd")
        _run("slurmctld", folder=folder)
        _run("slurmd", folder=folder)
        _wait(lambda: node_state(folder) in _AT_WORK, "the node")
    except BaseException:
        stop(folder)
        raise


def stop(folder: Path) -> None:
    """End all daemons and jobs of the Slurm in `folder`; nothing happens if none runs."""
    folder = folder.resolve()
    for daemon in ("slurmd", "slurmctld"):
        _end(_daemon_pid(folder, daemon), signal.SIGTERM)
    for pid in _job_pids(folder):
        _end(pid, signal.SIGKILL)
    for daemon in ("slurmdbd", "mariadbd", "munged"):
        _end(_daemon_pid(folder, daemon), signal.SIGTERM)
    for daemon in DAEMONS:
        (folder / f"{daemon}.pid").unlink(missing_ok=True)


def kill_node(folder: Path) -> None:
    """Let the node die as in a power cut: its daemon and all its jobs at once."""
    folder = folder.resolve()
    _end(_daemon_pid(folder, "slurmd"), signal.SIGKILL)
    for pid in _job_pids(folder):
        _end(pid, signal.SIGKILL)


def start_node(folder: Path) -> None:
    """Start the node again after `kill_node`."""
    _run("slurmd", folder=folder.resolve())


def node_state(folder: Path) -> str:
    """Return Slurm's word for the state of the node, as in `sinfo`."""
    command = ["sinfo", "--noheader", "--format=%t"]
    environment = {**os.environ, **variables(folder)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    return done.stdout.strip().rstrip("*")


def variables(folder: Path) -> dict[str, str]:
    """Return the environment variables with which Slurm's commands find this Slurm."""
    return {"SLURM_CONF": str(folder.resolve() / "slurm.conf")}


def _missing_programs() -> list[str]:
    return [name for name in PROGRAMS if not shutil.which(name, path=_search_path())]


def _search_path() -> str:
    return f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin"


def _write_settings(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("state", "spool"):
        (folder / name).mkdir(exist_ok=True)
    slurmctld_port, slurmd_port, slurmdbd_port = _free_ports(3)
    values = {
        "host": socket.gethostname().split(".")[0],
        "folder": folder,
        "slurmctld_port": slurmctld_port,
        "slurmd_port": slurmd_port,
        "slurmdbd_port": slurmdbd_port,
        "cpus": os.cpu_count(),
        "memory_mb": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2**20 * 9 // 10,
    }
    (folder / "slurm.conf").write_text(_SLURM.format(**values))
    _write_secret(folder / "slurmdbd.conf", _SLURMDBD.format(**values).encode())
    _write_secret(folder / "munge.key", os.urandom(1024))


def _write_secret(path: Path, content: bytes) -> None:
    path.touch(mode=0o600)
    path.write_bytes(content)


def _free_ports(number: int) -> list[int]:
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(number)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


def _start_munge(folder: Path) -> None:
    # --force: its folder may be below a world-writable one such as /tmp
    _run(
        "munged",
        "--force",
        f"--key-file={folder}/munge.key",
        f"--socket={folder}/munge.socket",
        f"--pid-file={folder}/munged.pid",
        f"--log-file={folder}/munged.log",
        f"--seed-file={folder}/munge.seed",
        folder=folder,
    )


def _start_database(folder: Path) -> None:
    """Start a database without accounts: only its socket leads to it, and it is in our folder."""
    data = folder / "database"
    if not data.exists():
        install = ["--no-defaults", f"--datadir={data}", "--user=root", "--skip-test-db"]
        _run("mariadb-install-db", *install, folder=folder)
    with (folder / "mariadbd.log").open("a") as log:
        subprocess.Popen(
            [
                str(shutil.which("mariadbd", path=_search_path())),
                "--no-defaults",
                "--user=root",
                f"--datadir={data}",
                f"--socket={folder}/database.socket",
                f"--pid-file={folder}/mariadbd.pid",
                "--skip-networking",
                "--skip-grant-tables",
            ],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    ping = ["mariadb-admin", f"--socket={folder}/database.socket", "ping"]
    _wait(lambda: _answers(*ping, folder=folder), "mariadbd")


def _run(program: str, *arguments: str, folder: Path) -> None:
    """Run a program to its end, which for a daemon is the moment it has gone to the background."""
    path = shutil.which(program, path=_search_path())
    environment = {
        **os.environ,
        **variables(folder),
        "SLURM_DBD_CONF": str(folder / "slurmdbd.conf"),
        "MYSQL_UNIX_PORT": str(folder / "database.socket"),
    }
    with (folder / "start.log").open("a") as log:
        done = subprocess.run(
            [str(path), *arguments],
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )
    if done.returncode != 0:
        raise RuntimeError(f"{program} must start, got exit code {done.returncode}, see {folder}")


def _answers(*command: str, folder: Path) -> bool:
    environment = {**os.environ, **variables(folder)}
    return subprocess.run(command, env=environment, capture_output=True).returncode == 0


def _wait(condition: Callable[[], bool], what: str) -> None:
    end = time.monotonic() + SECONDS
    while not condition():
        if time.monotonic() > end:
            raise RuntimeError(f"{what} must answer within {SECONDS:.0f} s, got nothing")
        time.sleep(0.1)


def _daemon_pid(folder: Path, daemon: str) -> int | None:
    """Return the process of a daemon, or None; a pid file may outlive its process."""
    with suppress(OSError, ValueError):
        pid = int((folder / f"{daemon}.pid").read_text())
        if Path(f"/proc/{pid}/comm").read_text().strip() == daemon:
            return pid
    return None


def _job_pids(folder: Path) -> list[int]:
    """Return the processes of jobs and of the supervisors (slurmstepd) that Slurm gives them."""
    ours = f"SLURM_CONF={variables(folder)['SLURM_CONF']}".encode()
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            environment = (process / "environ").read_bytes().split(b"\0")
            is_job = any(entry.startswith(b"SLURM_JOB_ID=") for entry in environment)
            is_supervisor = (process / "comm").read_text().strip() == "slurmstepd"
            if ours in environment and (is_job or is_supervisor):
                found.append(int(process.name))
    return found


def _end(pid: int | None, number: signal.Signals) -> None:
    """Send a signal and wait for the end; a process that stays is killed."""
    if pid is None:
        return
    with suppress(ProcessLookupError):
        os.kill(pid, number)
        try:
            _wait(lambda: not _lives(pid), f"process {pid}")
        except RuntimeError:
            os.kill(pid, signal.SIGKILL)


def _lives(pid: int) -> bool:
    with suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False


if __name__ == "__main__":
    words = {"start": start, "stop": stop}
    if len(sys.argv) != 3 or sys.argv[1] not in words:
        sys.exit("usage: python tests/slurm_cluster.py start|stop DIR")
    words[sys.argv[1]](Path(sys.argv[2]))
    if sys.argv[1] == "start":
        print(f"export SLURM_CONF={variables(Path(sys.argv[2]))['SLURM_CONF']}")  # noqa: T201
