"""Where a path given by a user is: on this machine, or elsewhere behind a URL that fsspec knows."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from mmgen.errors import UserError

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem

_URL = re.compile(r"([a-z][a-z0-9+.-]+):(/+)(.*)", re.IGNORECASE | re.DOTALL)  # one letter would be a drive: C:/data
_LOCAL = ("file", "local")


def locate(path: str | os.PathLike[str]) -> Path | str:
    """A Path on this machine, or the URL of something elsewhere.

    ``pathlib`` writes ``s3://bucket/x`` as ``s3:/bucket/x``; this is undone, so that URLs may pass through options
    that are paths. (It also writes ``hdfs:///x`` as ``hdfs:/x``; write the host, ``hdfs://host/x``.)
    ``file://`` URLs become Paths, and ``~`` the home folder.

    Raises:
        UserError: a URL of an unknown protocol.
    """
    text = os.fspath(path)
    match = _URL.fullmatch(text)
    if match is None:
        return Path(text).expanduser()
    import fsspec

    protocol, slashes, rest = match[1].lower(), match[2], match[3]
    if protocol in _LOCAL:
        return Path(fsspec.get_filesystem_class("file")._strip_protocol(f"file:///{rest}"))
    known = protocol in fsspec.available_protocols()
    if slashes == "/" and (not known or os.path.exists(text)):
        return Path(text)
    if not known:
        raise UserError(
            f"{without_secrets(text)} has the unknown protocol {protocol}://; "
            "give a path, or a URL such as s3://BUCKET/FOLDER or https://HOST/manifest.csv."
        )
    return f"{protocol}://{rest}"


def is_url(path: str) -> bool:
    """Whether a path in a manifest is a URL rather than a path on this machine."""
    return "://" in path


def without_secrets(text: str) -> str:
    """A URL, or a message with URLs in it, without user names, passwords and queries, which may hold access keys."""
    text = re.sub(r"://[^/\s]*@", "://", text)
    return re.sub(r"(://[^?\n]*)\?[^\s'\")]*", r"\1", text)


def connect(url: str) -> tuple[AbstractFileSystem, str]:
    """File system of a URL and the path of the URL on it, without a slash at its end.

    Raises:
        UserError: the package for its protocol is not installed, it is a path on this machine, or the server cannot be
            reached.
    """
    import fsspec

    try:
        filesystem, root = fsspec.core.url_to_fs(url)
    except ImportError as error:
        raise UserError(f"{without_secrets(url)} needs a package that is not installed: {error}.") from None
    except Exception as error:  # servers are asked here; their packages raise errors of their own
        raise UserError(f"{without_secrets(url)} cannot be opened ({reason(error)}); check the URL.") from None
    if isinstance(filesystem, fsspec.get_filesystem_class("file")):
        raise UserError(f"{without_secrets(url)} is on this machine; write it as a plain path.")
    return filesystem, root.rstrip("/")


@contextmanager
def os_errors(name: str) -> Iterator[None]:
    """Turn whatever the package of a protocol raises into an OSError that names the file and holds no access keys."""
    try:
        yield
    except FileNotFoundError:
        raise FileNotFoundError(f"{name} does not exist") from None
    except PermissionError as error:
        raise PermissionError(f"{name} may not be read ({reason(error)})") from None
    except Exception as error:  # aiohttp, botocore and others have errors that are no OSError
        raise OSError(f"{name} cannot be read ({reason(error)})") from None


def reason(error: Exception) -> str:
    """The reason of an error for a message: the error's kind if it has no text."""
    return without_secrets(str(error)) or type(error).__name__


def same_protocol(url: str, other: str) -> bool:
    """Whether one kind of file system serves both URLs (``http`` and ``https``, ``s3`` and ``s3a``)."""
    import fsspec

    kinds = []
    for protocol in (url.partition("://")[0].lower(), other.partition("://")[0].lower()):
        try:
            kinds.append(fsspec.get_filesystem_class(protocol))
        except (ImportError, ValueError):  # no package for it: as good a name as any
            kinds.append(protocol)
    return kinds[0] is kinds[1] or kinds[0] == kinds[1]
