"""Where stores and models lie: a path of a file system, or a URL.

Only what places are called is decided here, so that options can name them; store/kvstore.py reads and writes there.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TypeAlias
from urllib.parse import unquote

SCHEMES = ("s3", "gs", "http", "https")
READ_ONLY_SCHEMES = ("http", "https")
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+):/")
"""With the one slash that a Path leaves; a drive has one letter."""


class Url:
    """A place that is no path: an object store (``s3://``, ``gs://``), or a web server (``http(s)://``), read only.

    It is joined and taken apart as a path is. It holds no credentials: a URL that does is refused.

    Attributes:
      root: scheme with bucket or host, such as 's3://lab'.
      key: names below it, joined by '/'; empty for the root itself.
    """

    __slots__ = ("key", "root")

    def __init__(self, root: str, key: str = "") -> None:
        self.root = root
        self.key = key

    @classmethod
    def parse(cls, text: str) -> Url:
        """The place of a text.

        Raises:
          ValueError: when its scheme is unknown, bucket or host are missing, or it holds user, password or query.
        """
        scheme, _, rest = text.partition("://")
        scheme = scheme.lower()
        if scheme not in SCHEMES:
            known = ", ".join(f"{each}://" for each in ("file", *SCHEMES))
            raise ValueError(f"{scheme}:// is not read or written; required is a path, or one of {known}.")
        if "?" in rest or "#" in rest or "@" in rest.partition("/")[0]:
            # Signed queries and passwords would end in configurations and tables; the text is not repeated.
            raise ValueError(
                f"a {scheme}:// URL with user, password, query or fragment is not taken, because URLs are kept in "
                "configurations and tables. Give it without; docs/object_stores.md says where credentials belong."
            )
        host, *names = rest.split("/")
        names = [unquote(name) if scheme in READ_ONLY_SCHEMES else name for name in names if name]
        if not host or {".", ".."} & set(names):
            raise ValueError(f"{text}: required is {scheme}://{_what(scheme)}/NAME/…, without . and ..")
        return cls(f"{scheme}://{host}", "/".join(names))

    @property
    def scheme(self) -> str:
        """Such as 's3'."""
        return self.root.partition("://")[0]

    @property
    def name(self) -> str:
        """Its last part; that of the root is bucket or host."""
        return self.key.rpartition("/")[2] or self.root.partition("://")[2]

    @property
    def parent(self) -> Url:
        """The place above; the root is its own."""
        return Url(self.root, self.key.rpartition("/")[0])

    @property
    def parents(self) -> tuple[Url, ...]:
        """The places above it, the nearest first."""
        names = self.key.split("/") if self.key else []
        return tuple(Url(self.root, "/".join(names[:n])) for n in reversed(range(len(names))))

    def __truediv__(self, name: str) -> Url:
        return Url(self.root, f"{self.key}/{name}" if self.key else name)

    def __str__(self) -> str:
        return f"{self.root}/{self.key}" if self.key else self.root

    def __repr__(self) -> str:
        return f"Url({str(self)!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Url) and (self.root, self.key) == (other.root, other.key)

    def __hash__(self) -> int:
        return hash((self.root, self.key))


Location: TypeAlias = Path | Url
"""Where something lies: a path, or a URL of an object store or web server."""


def location(text: str | Path | Url) -> Location:
    """The place that a text names: a path for itself and for ``file://``, else a URL.

    Raises:
      ValueError: as :meth:`Url.parse`, and for a Path made of a URL, which has lost a slash.

    >>> str(location("s3://bucket/store")), location("runs/mine").name
    ('s3://bucket/store', 'mine')
    """
    if isinstance(text, Url):
        return text
    if isinstance(text, Path):
        refuse_url(text, "A Path loses a slash of a URL; give the URL as text")
        return text
    if not is_url(text):
        return Path(text)
    if text[:7].lower() == "file://":
        host, slash, rest = text[7:].partition("/")
        if host not in ("", "localhost") or not slash:
            raise ValueError(f"{text}: required is file:///PATH, of this machine.")
        path = unquote(rest)
        return Path(path if re.match(r"[A-Za-z]:/", path) else f"/{path}")
    return Url.parse(text)


def absolute(place: Location) -> str:
    """A place as a text that means the same from every folder of this machine, and can be written (`writable`)."""
    return writable(str(place.resolve() if isinstance(place, Path) else place))


def writable(text: str) -> str:
    r"""A text in which bytes of file names that are no UTF-8 are spelt out, as Latin-1 é in 'caf\xe9'.

    Python keeps them as surrogates, which no file in UTF-8 can hold.
    """
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def is_url(text: str) -> bool:
    """Whether a text names a URL, of whatever scheme."""
    return bool(_SCHEME.match(text)) and text.partition(":")[2].startswith("//")


def refuse_url(path: Path, why: str) -> None:
    """Raises ValueError where a path was a URL.

    Args:
      path: of a file system.
      why: what a URL is not taken for, a sentence without its full stop.
    """
    text = path.as_posix()
    found = _SCHEME.match(text)
    if found and found[1].lower() in ("file", *SCHEMES):
        raise ValueError(f"{text.replace(':/', '://', 1)}: {why}.")


def _what(scheme: str) -> str:
    return "HOST" if scheme in READ_ONLY_SCHEMES else "BUCKET"
