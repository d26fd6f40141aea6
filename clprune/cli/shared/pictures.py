"""Pictures that commands write: a folder in which no name is taken twice in one run, and no picture that was read."""

from __future__ import annotations

import io
import itertools
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from clprune.errors import FileError
from clprune.files import check_folder, write_atomically

if TYPE_CHECKING:
    from PIL import Image

_JPEG_SUFFIXES = (".jpg", ".jpeg")
_JPEG_QUALITY = 95


@dataclass(frozen=True, kw_only=True)
class PictureFolder:
    """A folder to write pictures into, which is made where it does not exist. Raises FileError.

    `taken` are files that stay as they are: the sources, and what was written; all that are there where the sources
    come one by one and `keeps_all`.
    """

    path: Path
    taken: set[Path]
    keeps_all: bool = False

    @classmethod
    def of(cls, path: str | None, *, sources: Iterable[str] | None = None) -> PictureFolder | None:
        """The folder, None for None. `sources` are None where they are not known before."""
        if path is None:
            return None
        try:
            Path(path).mkdir(parents=True, exist_ok=True)
        except OSError as error:
            expected = "expected a folder, or a new name where you may write"
            raise FileError(f"no folder can be made here: {error.strerror}; {expected}", path=path) from error
        check_folder(Path(path))
        taken = {Path(source).resolve() for source in sources or ()}
        return cls(path=Path(path).resolve(), taken=taken, keeps_all=sources is None)

    def target(self, source: str, suffix: str, *, ending: str = "") -> Path:
        """Where to write what is made of the file `source`."""
        self.taken.add(Path(source).resolve())
        stem = Path(source).stem + re.sub(r"[^\w.-]+", "_", ending)
        names = itertools.chain([f"{stem}{suffix}"], (f"{stem}-{number}{suffix}" for number in itertools.count(2)))
        target = next(path for name in names if not self._is_taken(path := self.path / name))
        self.taken.add(target)
        return target

    def _is_taken(self, path: Path) -> bool:
        return path in self.taken or (self.keeps_all and path.exists())

    def save(self, image: Image.Image, source: str, *, ending: str = "") -> None:
        """Write `image`, which was made of the file `source`: as JPEG where that is one, else as PNG."""
        is_jpeg = Path(source).suffix.lower() in _JPEG_SUFFIXES
        data = io.BytesIO()
        image.save(data, "JPEG" if is_jpeg else "PNG", quality=_JPEG_QUALITY)
        write_atomically(self.target(source, ".jpg" if is_jpeg else ".png", ending=ending), data.getvalue())
