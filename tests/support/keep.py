"""Runs a command for as long as somebody holds the other end of standard input.

Arguments: a directory to remove at the end, and the command.
"""

import shutil
import signal
import subprocess
import sys

# The end of standard input is what ends this, and then nothing is left behind.
for name in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
    signal.signal(name, signal.SIG_IGN)

child = subprocess.Popen(sys.argv[2:], stdin=subprocess.DEVNULL)
try:
    sys.stdin.buffer.read()
finally:
    child.kill()
    child.wait()
    shutil.rmtree(sys.argv[1], ignore_errors=True)
