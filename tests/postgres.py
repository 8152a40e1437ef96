"""A PostgreSQL server of the tests' own: on loopback, as an ordinary user, gone with the process that started it."""

import contextlib
import ctypes
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path

MISSING = (
    "PostgreSQL's initdb was not found in PATH or /usr/lib/postgresql/*/bin; install it, on Debian with "
    "`apt-get install postgresql`: the shared catalogue is tested on a real server"
)


def programs():
    """The folder of PostgreSQL's programs; raises `FileNotFoundError` when there is none."""
    folders = sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    found = shutil.which("initdb")
    for folder in [Path(found).parent] if found else folders:
        if (folder / "initdb").exists() and (folder / "postgres").exists():
            return folder
    raise FileNotFoundError(MISSING)


def _user():
    """Who the server runs as: it refuses to be root."""
    if os.getuid() != 0:
        return None
    for name in ("postgres", "nobody"):
        with contextlib.suppress(KeyError):
            return pwd.getpwnam(name)
    raise FileNotFoundError(
        "PostgreSQL won't run as root and there is neither a user `postgres` nor `nobody`"
    )


def _die_with_parent():
    ctypes.CDLL(None).prctl(1, signal.SIGQUIT)  # PR_SET_PDEATHSIG


@contextlib.contextmanager
def server(*, safe=False):
    """A running server's SQLAlchemy URL; `safe` keeps its writes as safe (and slow) as they usually are."""
    folder = programs()
    root = Path(tempfile.mkdtemp(prefix="loco-postgres-"))
    who = _user()
    as_user = {} if who is None else {"user": who.pw_uid, "group": who.pw_gid, "extra_groups": []}
    if who is not None:
        os.chown(root, who.pw_uid, who.pw_gid)
    environment = {"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8", "HOME": str(root)}
    try:
        made = subprocess.run(
            [folder / "initdb", "-D", root / "data", "-U", "loco", "-A", "trust", "-E", "UTF8", "--no-sync"],
            cwd=root,
            env=environment,
            capture_output=True,
            text=True,
            **as_user,
        )
        if made.returncode:
            raise RuntimeError(f"initdb failed: {made.stderr}")
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        options = {"listen_addresses": "127.0.0.1", "unix_socket_directories": str(root), "port": str(port)}
        if not safe:
            options |= {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}
        words = [word for name, value in options.items() for word in ("-c", f"{name}={value}")]
        with (root / "log").open("wb") as log:
            process = subprocess.Popen(
                [folder / "postgres", "-D", root / "data", *words],
                cwd=root,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                preexec_fn=_die_with_parent,
                **as_user,
            )
        try:
            _wait(process, port, root / "log")
            yield f"postgresql+psycopg://loco@127.0.0.1:{port}/postgres"
        finally:
            process.send_signal(signal.SIGINT)
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.send_signal(signal.SIGQUIT)
                process.wait(20)
    finally:
        shutil.rmtree(root, ignore_errors=True)


def _wait(process, port, log):
    import psycopg

    deadline = time.monotonic() + 60
    while True:
        try:
            psycopg.connect(f"host=127.0.0.1 port={port} user=loco dbname=postgres").close()
            return
        except psycopg.OperationalError:
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"PostgreSQL did not start: {log.read_text()[-2000:]}") from None
            time.sleep(0.05)


def fresh(url, name):
    """A URL under which the server shows an empty catalogue of its own."""
    import psycopg

    plain = url.replace("postgresql+psycopg://", "postgresql://")
    with psycopg.connect(plain, autocommit=True) as connection:
        connection.execute(f'CREATE SCHEMA "{name}"')
    return f"{url}?options=-csearch_path%3D{name}"
