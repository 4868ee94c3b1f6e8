"""Runs a command for as long as somebody holds the other end of standard input."""

import subprocess
import sys

child = subprocess.Popen(sys.argv[1:], stdin=subprocess.DEVNULL)
try:
    sys.stdin.buffer.read()
finally:
    child.kill()
    child.wait()
