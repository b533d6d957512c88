"""Keys and values of a place: the files that stores and models are made of, in a folder or below a URL.

TensorStore's key-value stores read and write them, the same way wherever they lie: the file system (``file``), S3 and
what speaks its language (``s3``), Google Cloud Storage (``gcs``) and web servers (``http``, read only). It stands in
this room because TensorStore has its home here, and models, predictions and reports, to the right of it, use it too.

Credentials are those that the drivers find in the environment; none is taken, kept or printed here.
"""

from __future__ import annotations

import itertools
import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from fnmatch import fnmatchcase
from functools import cache, lru_cache
from pathlib import Path
from typing import Any, TypeVar

import tensorstore as ts

from compseg_jax.config.locations import READ_ONLY_SCHEMES, Location, Url
from compseg_jax.config.regular_files import NotRegularError, refuse_special
from compseg_jax.runtime.files import atomic_file

PATIENCE_S = 30.0
"""For an answer about a small file. Servers that are not there are given up earlier, after the retries."""
ARRAY_PATIENCE_S = 600.0
"""For a file of cubes, of up to hundreds of MiB."""
RETRIES: Mapping[str, Any] = {"max_retries": 6, "initial_delay": "200ms", "max_delay": "5s"}
"""Of a request: about 6 s, so that a short outage stops no training, and a host that is not there is soon told."""
READ_AT_ONCE, COPIED_AT_ONCE = 64, 8
_UNANSWERED = ("ABORTED", "UNAVAILABLE", "DEADLINE_EXCEEDED", "RESOURCE_EXHAUSTED")
_TOO_SHORT = "OUT_OF_RANGE"
_REFUSED = ("PERMISSION_DENIED", "UNAUTHENTICATED")

Answer = TypeVar("Answer")


class LocationError(OSError):
    """A place refuses, does not answer or cannot be written; the message names it and the next step."""


class MissingFileError(LocationError):
    """A file that was to be copied is not there; the message names it."""


def joined(folder: Location, name: str) -> Location:
    """A place below a folder, of a name that may hold folders."""
    for part in name.split("/"):
        folder = folder / part
    return folder


def read_bytes(place: Location) -> bytes | None:
    """The content of a file; None where there is none. Raises LocationError."""
    return read_together([place])[0]


def read_together(places: Iterable[Location], *, patience_s: float | None = None) -> list[bytes | None]:
    """The contents of several files, which are asked for at once; None for each that is not there."""
    listed = list(places)
    asked = {place: _folder(place).read(place.name) for place in listed if isinstance(place, Url)}
    answers = {place: _answered(future, place, patience_s) for place, future in asked.items()}
    contents = {place: each.value if each.state == "value" else None for place, each in answers.items()}
    return [contents[place] if isinstance(place, Url) else _content(place) for place in listed]


def _content(path: Path) -> bytes | None:
    """What a file of this machine holds, in a tenth of the time that asking TensorStore takes."""
    try:
        refuse_special(path)
        return path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except NotRegularError:
        raise
    except OSError as error:
        raise LocationError(
            f"{path}: cannot be read ({error.strerror}). Check the place and its rights."
        ) from None


def read_many(places: Iterable[Location]) -> Iterator[bytes | None]:
    """The contents of any number of small files, some asked for at once; None for each that is not there."""
    left = iter(places)
    while some := list(itertools.islice(left, READ_AT_ONCE)):
        yield from read_together(some)


def read_parts_later(parts: Iterable[tuple[Location, slice]]) -> Callable[[], list[bytes]]:
    """Begins to read parts of files, all at once; a slice such as ``slice(-4, None)`` is the end of a file.

    Returns:
      what waits for their contents: empty for each file that is not there, or too short.
    """
    asked = [(place, _folder(place).read(place.name, byte_range=part)) for place, part in parts]

    def contents() -> list[bytes]:
        return [_part(future, place) for place, future in asked]

    return contents


def _part(future: ts.Future[ts.KvStore.ReadResult], place: Location) -> bytes:
    try:
        answer = array_answer(future, place, PATIENCE_S)
    except ValueError as error:
        if str(error).startswith(_TOO_SHORT):
            return b""
        raise LocationError(f"{place}: {error}") from None
    return answer.value if answer.state == "value" else b""


def exist(places: Iterable[Location]) -> list[bool]:
    """Which small files are there; they are asked for at once."""
    return [found is not None for found in read_together(places)]


def write_bytes(place: Location, content: bytes, *, durable: bool = False) -> None:
    """Writes a file, whole or not at all; one that is there is replaced. Raises LocationError.

    Args:
      place: the file.
      content: all of it.
      durable: waits for the disk; object stores have the file when they answer.
    """
    refuse_read_only(place)
    if durable and isinstance(place, Path):
        with atomic_file(place, durable=True) as partial:
            partial.write_bytes(content)
        return
    _answered(_folder(place).write(place.name, content), place)


def write_together(
    folder: Location, contents: Mapping[str, bytes], *, patience_s: float | None = None
) -> None:
    """Writes several files below a folder at once; names may hold folders."""
    refuse_read_only(folder)
    places = [(joined(folder, name), content) for name, content in contents.items()]
    asked = [(place, _folder(place).write(place.name, content)) for place, content in places]
    for place, future in asked:
        _answered(future, place, patience_s)


def write_new(place: Location, content: bytes) -> bool:
    """Writes a file where none is; False, and nothing is changed, where another process was first.

    The store itself decides (``if_equal`` of a missing key), so that it holds between machines.
    """
    refuse_read_only(place)
    written = _answered(_folder(place).write(place.name, content, if_equal=_NO_FILE), place)
    return bool(written.generation)


def names_below(folder: Location) -> list[str]:
    """Names of all files below a folder, sorted, as in 'params/manifest.ocdbt'; none where it is missing.

    Raises:
      LocationError: where it cannot be listed; web servers list nothing.
    """
    if isinstance(folder, Url) and folder.scheme in READ_ONLY_SCHEMES:
        raise LocationError(f"{folder}: web servers do not list what they hold. Copy it to a folder first.")
    return sorted(name.decode() for name in _answered(_kvstore(folder).list(), folder))


def names_like(folder: Location, *patterns: str) -> list[list[str]]:
    """Names of the files below a folder that are like each pattern, such as '*/sample.json', sorted.

    A star stands for any part of a name between two slashes.
    """
    if isinstance(folder, Path):
        return [
            sorted(path.relative_to(folder).as_posix() for path in folder.glob(pattern))
            for pattern in patterns
        ]
    names = names_below(folder)
    return [
        [each for each in names if each.count("/") == pattern.count("/") and fnmatchcase(each, pattern)]
        for pattern in patterns
    ]


def copy_files(source: Location, target: Location, names: Iterable[str]) -> None:
    """Copies files from one folder to another, a few at a time; names may hold folders.

    Raises:
      MissingFileError: when one is not there.
      LocationError: when either place cannot be reached, read or written.
    """
    left = iter(names)
    while some := list(itertools.islice(left, COPIED_AT_ONCE)):
        read = read_together([joined(source, name) for name in some], patience_s=ARRAY_PATIENCE_S)
        for name, content in zip(some, read, strict=True):
            if content is None:
                raise MissingFileError(f"{joined(source, name)} is missing. Copy it again.")
        contents = {name: content for name, content in zip(some, read, strict=True) if content is not None}
        write_together(target, contents, patience_s=ARRAY_PATIENCE_S)


def delete_below(folder: Location) -> None:
    """Deletes all files below a folder."""
    _answered(_kvstore(folder).delete_range(ts.KvStore.KeyRange()), folder)


def delete(place: Location) -> None:
    """Deletes a file, where there is one."""
    _answered(_folder(place).write(place.name, None), place)


def refuse_read_only(place: Location) -> None:
    """Raises LocationError where nothing can be written."""
    if isinstance(place, Url) and place.scheme in READ_ONLY_SCHEMES:
        raise LocationError(
            f"{place}: {place.scheme}:// is read only. Write to a folder, or to s3:// or gs:// with credentials."
        )


def open_array(place: Location, **how: Any) -> ts.TensorStore:
    """A zarr v3 array, opened as TensorStore's ``open`` is told by ``how``.

    Raises:
      LocationError: when the place refuses or does not answer.
      ValueError: when the array is missing or damaged, or, created anew, there already.
    """
    how = dict(how)
    stated = how.pop("spec", {})
    spec: ts.Spec | dict[str, Any]
    if "context" in stated:  # which is to hold for the files of the array, too
        spec = {"driver": "zarr3", "kvstore": _spec(place), **stated}
    else:
        spec, how["kvstore"] = _array_spec(json.dumps(stated)), _kvstore(place)
    return array_answer(ts.open(spec, context=_context(), **how), place, PATIENCE_S)


@lru_cache(maxsize=64)
def _array_spec(stated: str) -> ts.Spec:
    """What is told about arrays, which many share: reading it takes longer than opening one."""
    return ts.Spec({"driver": "zarr3", **json.loads(stated)})


def array_answer(future: ts.Future[Answer], place: Location, seconds: float = ARRAY_PATIENCE_S) -> Answer:
    """What an array answers; raises as :func:`open_array` does."""
    try:
        return future.result(timeout=seconds)
    except TimeoutError:
        raise LocationError(
            f"{place}: no answer within {seconds:g} s. Check its host and the network, then run the same again."
        ) from None
    except ValueError as error:
        what = _without_response(error)
        kind, _, reason = what.partition(": ")
        if kind in _REFUSED:
            raise LocationError(
                f"{place}: access is refused ({reason}). Check the place, and the credentials in the environment "
                "(docs/object_stores.md); what does not exist is refused too where listing is not allowed."
            ) from None
        if kind in _UNANSWERED:
            raise LocationError(
                f"{place}: cannot be reached ({reason}). Check its host and the network, then run the same again."
            ) from None
        raise ValueError(what) from None


_NO_FILE = b"\x02"
"""TensorStore's generation of a key that is not there (``StorageGeneration::NoValue``)."""


def _answered(future: ts.Future[Answer], place: Location, patience_s: float | None = None) -> Answer:
    try:
        return array_answer(future, place, PATIENCE_S if patience_s is None else patience_s)
    except (ValueError, NotImplementedError) as error:
        raise LocationError(f"{place}: {error}") from None


def _without_response(error: Exception) -> str:
    """An error without what the server answered, which may repeat keys and tokens of the request."""
    return str(error).partition(" [")[0]


def _folder(place: Location) -> ts.KvStore:
    """What holds a file, which is asked for by its name."""
    return _kvstore(place.parent)


def _kvstore(folder: Location) -> ts.KvStore:
    below = _root(*((("driver", "file"),) if isinstance(folder, Path) else _settings(folder))).copy()
    below.path = _spec(folder)["path"]
    return below


@cache
def _root(*settings: tuple[str, Any]) -> ts.KvStore:
    """A bucket, a host or the file system, opened once: the region of a bucket is asked for when it is first used."""
    spec = {name: dict(value) if isinstance(value, tuple) else value for name, value in settings}
    return ts.KvStore.open(spec, context=_context()).result()


@cache
def _context() -> ts.Context:
    names = ("s3_request_retries", "gcs_request_retries", "http_request_retries")
    # Waiting for the disk after every file takes ten times as long as writing; a store is synced once.
    return ts.Context({name: dict(RETRIES) for name in names} | {"file_io_sync": False})


def _spec(folder: Location) -> dict[str, Any]:
    """What TensorStore is told about a folder."""
    if isinstance(folder, Path):
        # What links lead to need not be known, and looking at each part of a path for them takes longer than the rest.
        place = folder.resolve() if ".." in folder.parts else folder.absolute()
        return {"driver": "file", "path": f"{place}/".replace("//", "/")}
    settings = {name: dict(value) if isinstance(value, tuple) else value for name, value in _settings(folder)}
    below = f"{folder.key}/" if folder.key else ""
    return {**settings, "path": f"/{below}" if folder.scheme in READ_ONLY_SCHEMES else below}


def _settings(url: Url) -> tuple[tuple[str, Any], ...]:
    """Driver, bucket or host, and what the environment says about them."""
    bucket = url.root.partition("://")[2]
    if url.scheme in READ_ONLY_SCHEMES:
        return ("driver", "http"), ("base_url", url.root)
    if url.scheme == "gs":
        return ("driver", "gcs"), ("bucket", bucket)
    settings: list[tuple[str, Any]] = [("driver", "s3"), ("bucket", bucket)]
    if endpoint := os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL"):
        settings.append(("endpoint", endpoint))
    if region := os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION"):
        settings.append(("aws_region", region))
    if os.environ.get("AWS_NO_SIGN_REQUEST", "").upper() in ("YES", "TRUE", "1"):  # GDAL's name for it
        settings.append(("aws_credentials", (("type", "anonymous"),)))
    elif os.environ.get("AWS_ACCESS_KEY_ID"):
        # The driver's whole chain finds them too, and complains on the terminal about files that are not there.
        settings.append(("aws_credentials", (("type", "environment"),)))
    return tuple(settings)
