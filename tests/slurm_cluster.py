"""A real Slurm with accounting on this machine, for tests: one node, loopback only.

    python tests/slurm_cluster.py start DIR       python tests/slurm_cluster.py stop DIR

Needs root on Debian; packages that are missing are installed. Keys, database, logs and sockets live
in DIR, a short path: a socket's has 107 characters at most. The accounts matter: without them
submitit waits for ever for a job that died.
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
DAEMONS = ["munged", "mariadbd", "slurmdbd", "slurmctld", "slurmd"]  # each needs those before it
SECONDS = 30.0  # for a daemon to answer or to end; they take less than two
_SEARCH_PATH = f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin"  # where Debian has daemons
_SETTINGS = Path(__file__).parent / "slurm"  # with {names} for what differs


def obstacle() -> str | None:
    """Return why Slurm cannot run here, or None."""
    if os.getuid() != 0:
        return "Slurm needs root"
    if not shutil.which("apt-get") and not _is_installed():
        return f"Slurm needs Debian's packages {' '.join(PACKAGES)}"
    with suppress(OSError):
        if socket.gethostbyname(_host()) == "127.0.0.1":
            return None
    return f"Slurm needs a line '127.0.0.1 {_host()}' in the hosts file"


def start(folder: Path) -> None:
    """Start Slurm with all its state in `folder`, and wait until its node takes jobs.

    Raises:
        RuntimeError: something stands in the way, or a daemon does not answer.
    """
    if reason := obstacle():
        raise RuntimeError(reason)
    folder = folder.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o700)  # who reaches the sockets may do everything
    _install(folder)
    _write_settings(folder)
    try:
        _start_munge(folder)
        _start_database(folder)
        _run("slurmdbd", folder=folder)
        _wait_for("sacctmgr", "show", "cluster", folder=folder)
        _run("slurmctld", folder=folder)
        start_node(folder)
    except BaseException:
        stop(folder)
        raise


def stop(folder: Path) -> None:
    """End all daemons and jobs of the Slurm in `folder`; nothing happens if none runs."""
    folder = folder.resolve()
    for daemon in ("slurmd", "slurmctld"):
        _end(_daemon_pid(folder, daemon), signal.SIGTERM)
    for pid in job_pids(folder):
        _end(pid, signal.SIGKILL)
    for daemon in ("slurmdbd", "mariadbd", "munged"):
        _end(_daemon_pid(folder, daemon), signal.SIGTERM)
    for daemon in DAEMONS:
        (folder / f"{daemon}.pid").unlink(missing_ok=True)


def start_node(folder: Path) -> None:
    """Start the node, again after `kill_node`, and wait until it takes jobs."""
    folder = folder.resolve()
    _run("slurmd", folder=folder)
    # jobs from before may hold it; a state with a star is that of a node that does not answer
    takes_jobs = "sinfo --noheader --partition=main --format=%t | grep -Eqx 'idle|mix|alloc'"
    _wait_for("sh", "-c", takes_jobs, folder=folder)


def kill_node(folder: Path) -> None:
    """Let the node die as in a power cut: its daemon and all its jobs at once."""
    folder = folder.resolve()
    _end(_daemon_pid(folder, "slurmd"), signal.SIGKILL)
    for pid in job_pids(folder):
        _end(pid, signal.SIGKILL)


def variables(folder: Path) -> dict[str, str]:
    """Return the environment variables with which Slurm's commands find this Slurm."""
    return {"SLURM_CONF": str(folder.resolve() / "slurm.conf")}


def job_pids(folder: Path) -> list[int]:
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


def _host() -> str:
    return socket.gethostname().split(".")[0]


def _environment(folder: Path) -> dict[str, str]:
    return {
        **os.environ,
        **variables(folder),
        "PATH": _SEARCH_PATH,
        "SLURM_DBD_CONF": str(folder / "slurmdbd.conf"),
        "MYSQL_UNIX_PORT": str(folder / "database.socket"),
    }


def _is_installed() -> bool:
    return all(shutil.which(name, path=_SEARCH_PATH) for name in PROGRAMS)


def _install(folder: Path) -> None:
    if not _is_installed():
        # Debian asks nothing then, and starts no service in runlevel 1
        quietly = ["env", "DEBIAN_FRONTEND=noninteractive", "RUNLEVEL=1"]
        install = ["apt-get", "install", "--yes", "--quiet", "--no-install-recommends"]
        _run(*quietly, *install, *PACKAGES, folder=folder)


def _write_settings(folder: Path) -> None:
    for name in ("state", "spool"):
        (folder / name).mkdir(exist_ok=True)
    slurmctld_port, slurmd_port, slurmdbd_port = _free_ports(3)
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    values = {
        "host": _host(),
        "folder": folder,
        "slurmctld_port": slurmctld_port,
        "slurmd_port": slurmd_port,
        "slurmdbd_port": slurmdbd_port,
        "cpus": os.cpu_count(),
        "memory_mb": int(0.9 * memory / 2**20),  # a node with less than it declares is drained
    }
    for name in ("slurm.conf", "slurmdbd.conf", "munge.key"):
        (folder / name).touch(mode=0o600)
    for name in ("slurm.conf", "slurmdbd.conf"):
        (folder / name).write_text((_SETTINGS / name).read_text().format(**values))
    (folder / "munge.key").write_bytes(os.urandom(1024))


def _free_ports(number: int) -> list[int]:
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(number)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


def _start_munge(folder: Path) -> None:
    _run(
        "munged",
        "--force",  # or it refuses folders below a world-writable one such as /tmp
        f"--key-file={folder}/munge.key",
        f"--socket={folder}/munge.socket",
        f"--pid-file={folder}/munged.pid",
        f"--log-file={folder}/munged.log",
        f"--seed-file={folder}/munge.seed",
        folder=folder,
    )


def _start_database(folder: Path) -> None:
    """Start a database without accounts: only a socket leads to it, in a folder that is ours."""
    common = ["--no-defaults", "--user=root", f"--datadir={folder}/database"]
    if not (folder / "database").exists():
        _run("mariadb-install-db", *common, "--skip-test-db", folder=folder)
    files = [f"--socket={folder}/database.socket", f"--pid-file={folder}/mariadbd.pid"]
    log = f"--log-error={folder}/mariadbd.log"
    alone = ["--skip-networking", "--skip-grant-tables"]
    _run("setsid", "--fork", "mariadbd", *common, *files, log, *alone, folder=folder)
    _wait_for("mariadb-admin", "--no-defaults", "ping", folder=folder)


def _run(*command: str, folder: Path) -> None:
    """Run a command to its end, which for a daemon is the moment it has gone to the background."""
    if (code := _exit_code(*command, folder=folder)) != 0:
        raise RuntimeError(f"{command[0]} must succeed, got exit code {code}, see {folder}/*.log")


def _wait_for(*command: str, folder: Path) -> None:
    """Wait until a command succeeds."""
    if not _becomes_true(lambda: _exit_code(*command, folder=folder) == 0):
        raise RuntimeError(f"{command[0]} must succeed in {SECONDS:.0f} s, see {folder}/*.log")


def _exit_code(*command: str, folder: Path) -> int:
    environment = _environment(folder)
    path = shutil.which(command[0], path=environment["PATH"]) or command[0]
    with (folder / "commands.log").open("a") as log:
        return subprocess.run(
            [path, *command[1:]],
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        ).returncode


def _becomes_true(condition: Callable[[], bool]) -> bool:
    end = time.monotonic() + SECONDS
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.1)
    return True


def _daemon_pid(folder: Path, daemon: str) -> int | None:
    """Return the process of a daemon, or None; a pid file may outlive its process."""
    with suppress(OSError, ValueError):
        pid = int((folder / f"{daemon}.pid").read_text())
        if Path(f"/proc/{pid}/comm").read_text().strip() == daemon:
            return pid
    return None


def _end(pid: int | None, number: signal.Signals) -> None:
    """Send a signal and wait for the end; a process that stays is killed."""
    if pid is None:
        return
    with suppress(ProcessLookupError):
        os.kill(pid, number)
        if not _becomes_true(lambda: _has_ended(pid)):
            os.kill(pid, signal.SIGKILL)


def _has_ended(pid: int) -> bool:
    with suppress(OSError):  # Z: ended, but nobody has asked for its exit code
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    return True


def main() -> None:
    words = {"start": start, "stop": stop}
    if len(sys.argv) != 3 or sys.argv[1] not in words:
        sys.exit("usage: python tests/slurm_cluster.py start|stop DIR")
    words[sys.argv[1]](Path(sys.argv[2]))
    if sys.argv[1] == "start":
        print(f"export SLURM_CONF={variables(Path(sys.argv[2]))['SLURM_CONF']}")  # noqa: T201


if __name__ == "__main__":
    main()
