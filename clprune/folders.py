"""Where files of the user live, each folder moved by a variable, and whether somebody else could have written them."""

from __future__ import annotations

import os
import shutil
import stat
import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import platformdirs

_GROUP_MAY_WRITE, _OTHERS_MAY_WRITE = 0o020, 0o002

#: Seconds after which a temporary folder in the cache is one that a killed process left.
_LEFT_SECONDS = 24 * 3600.0

#: Who owns what belongs to nobody inside a container with users of its own, on Linux.
_OUTSIDE = 65534


def cache_folder() -> Path:
    """The folder of disposable files (built kernels, prepared templates), moved by CLPRUNE_CACHE_DIR; not made here."""
    return Path(os.environ.get("CLPRUNE_CACHE_DIR") or platformdirs.user_cache_dir("clprune", appauthor=False))


def data_folder() -> Path:
    """Return the folder of kept files (the tuning database), moved by CLPRUNE_DATA_DIR. Not created here."""
    return Path(os.environ.get("CLPRUNE_DATA_DIR") or platformdirs.user_data_dir("clprune", appauthor=False))


def own_cache_folder() -> Path | None:
    """The cache, made where it was not; None where it cannot be written, or somebody else could write it, too."""
    cache = cache_folder()
    with suppress(OSError):
        cache.mkdir(mode=0o700, parents=True, exist_ok=True)
    return cache if os.access(cache, os.W_OK) and not stranger_at(cache) else None


@contextmanager
def scratch_folder(name: str) -> Iterator[Path]:
    """A folder of this user's alone that is gone afterwards: in the cache, or where that is not theirs a temporary one.

    A process that is killed leaves it; later ones take it away. Raises OSError.
    """
    place = own_cache_folder()
    for left in place.glob(f"{name}-*") if place is not None else ():
        with suppress(OSError):
            if time.time() - left.stat().st_mtime > _LEFT_SECONDS:
                shutil.rmtree(left)
    with tempfile.TemporaryDirectory(prefix=f"{name}-", dir=place, ignore_cleanup_errors=True) as folder:
        yield Path(folder)


def stranger_at(*paths: Path) -> str:
    """Why somebody else could have written one of these files or folders, in words with advice, or "".

    Each must belong to this user or root, and nobody else may write it; a group may that is the user's own. Nor may
    anybody else put another folder in the place of one above them, or of a symbolic link on the way to them: that takes
    write permission there, and no sticky bit as that of /tmp, or the link itself. What is not there nobody wrote. Empty
    where the system has no such owners and modes.
    """
    if not hasattr(os, "geteuid"):
        return ""
    for path in dict.fromkeys((*paths, *_on_the_way(paths))):
        is_above = path not in paths
        with suppress(FileNotFoundError, NotADirectoryError):
            link = path.lstat()
            found = path.stat()
            if stat.S_ISLNK(link.st_mode) and link.st_uid not in (0, os.geteuid()):
                found = link
            if found.st_uid not in (0, os.geteuid(), *([_OUTSIDE] if is_above and found is not link else [])):
                return f"{path} belongs to another user (number {found.st_uid}): move it away, or use another folder"
            if is_above and found.st_mode & stat.S_ISVTX:
                continue
            is_shared = found.st_mode & _GROUP_MAY_WRITE and not _is_own_group(found.st_gid)
            if found.st_mode & _OTHERS_MAY_WRITE or is_shared:
                return f"other users may write {path} (mode {found.st_mode & 0o7777:o}): chmod go-w, or move it away"
    return ""


def _on_the_way(paths: Iterable[Path]) -> dict[Path, None]:
    """`paths`, every folder that the system passes on its way to them, and every symbolic link."""
    passed: dict[Path, None] = {}
    waiting = [path.absolute() for path in paths]
    while waiting:
        path = waiting.pop()
        for place in (path, *path.parents):
            if place not in passed and place.is_symlink():
                waiting.append(Path(os.path.realpath(place.parent)) / place.readlink())
            passed[place] = None
    return passed


def _is_own_group(number: int) -> bool:
    """Whether it is the group that many systems give each user alone: it has the user's name, and no other member."""
    import grp  # not on every system
    import pwd

    try:
        user, group = pwd.getpwuid(os.geteuid()).pw_name, grp.getgrgid(number)
    except KeyError:
        return False
    return group.gr_name == user and set(group.gr_mem) <= {user}
