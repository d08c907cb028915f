"""A terminal for programs that look whether they have one."""

import fcntl
import os
import pty
import re
import struct
import subprocess
import termios

WIDTH = 60


def on_terminal(tulle, *arguments, **environment):
    """What the program writes to a terminal of WIDTH columns on its standard error."""
    controller, terminal = pty.openpty()
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 24, WIDTH, 0, 0))
    process = subprocess.Popen(
        tulle.command(*arguments),
        cwd=tulle.folder,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=terminal,
        env=os.environ | {"TERM": "xterm"} | environment,
    )
    os.close(terminal)
    written = b""
    try:
        while piece := os.read(controller, 65536):
            written += piece
    except OSError:  # the other end is closed
        pass
    os.close(controller)
    assert process.wait(timeout=60) == 0
    return written.decode().replace("\r\n", "\n")


def redrawn(text):
    """The redrawn lines, and what stays when they are gone."""
    drawn = re.findall(r"\r([^\r\n]+)\x1b\[K", text)
    return drawn, re.sub(r"\r[^\r\n]*\x1b\[K", "", text)
