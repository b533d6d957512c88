"""Only regular files are opened for reading: a named pipe may never begin, a device never end."""

from __future__ import annotations

import stat
from pathlib import Path


class NotRegularError(OSError):
    """What is to be read is no regular file: it may never end, or never begin."""


_KINDS = (
    (stat.S_ISFIFO, "a named pipe (FIFO)"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)


def refuse_special(path: Path) -> None:
    """Looks at what is to be opened for reading, through links; folders and what is not there pass.

    Raises:
      NotRegularError: for named pipes, sockets and devices.
    """
    try:
        mode = path.stat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        return
    for is_kind, words in _KINDS:
        if is_kind(mode):
            link = f"a link to {words}" if path.is_symlink() else words
            raise NotRegularError(
                f"{path}: is {link}; only regular files are read. Save what it delivers as a file, and give that."
            )
