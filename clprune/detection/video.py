"""Videos in and out, by PyAV (the extra `video`), which is imported where one is opened."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from fractions import Fraction
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from clprune.closing import Closing
from clprune.errors import ImageError, MissingDependencyError
from clprune.files import atomic_writer, open_file
from clprune.picture import ImageOptions, check_size

#: FFmpeg opens nothing but the file itself: what looks like a video may be a list of other files and addresses.
_ALONE = {"protocol_whitelist": "none"}

VIDEO_SUFFIXES = (".mp4", ".m4v", ".mov", ".avi", ".mkv", ".webm", ".mpg", ".mpeg", ".wmv", ".flv", ".ts")


def is_video(path: str) -> bool:
    """Whether a path is called like a video."""
    return Path(path).suffix.lower() in VIDEO_SUFFIXES


class Video(Closing):
    """The frames of a video file, uint8 `[H, W, 3]` each: a context manager, to be gone through once.

    `rate` is frames per second, `options` bound their size. Raises ImageError for a file that cannot be read, when
    it is opened or where it breaks off, and MissingDependencyError.
    """

    #: Of videos that do not say theirs.
    DEFAULT_RATE: ClassVar[Fraction] = Fraction(25)

    def __init__(self, path: str | Path, *, options: ImageOptions | None = None) -> None:
        self.path, self._options = path, options or ImageOptions()
        self._av = _pyav()
        with ExitStack() as stack:
            file = stack.enter_context(open_file(path, error=ImageError))
            try:
                # Opening a file decodes a frame where its header leaves something open, as reading it does later: none
                # with more pixels than are allowed, whatever a header says.
                most = {"max_pixels": str(self._options.max_pixels)}
                self._container = stack.enter_context(self._av.open(file, options={**_ALONE, **most}))
            except (self._av.FFmpegError, OSError) as error:
                raise ImageError(f"cannot be read as a video: {error.strerror or error}", path=path) from error
            if not self._container.streams.video:
                raise ImageError("has no pictures: expected a video", path=path)
            context = self._container.streams.video[0].codec_context
            check_size(context.width, context.height, path=path, options=self._options)
            context.options = {**context.options, **most}
            self._stack = stack.pop_all()
        self.rate: Fraction = self._container.streams.video[0].average_rate or self.DEFAULT_RATE

    def __iter__(self) -> Iterator[NDArray[np.uint8]]:
        try:
            for frame in self._container.decode(video=0):
                check_size(frame.width, frame.height, path=self.path, options=self._options)
                yield frame.to_ndarray(format="rgb24")
        except (self._av.FFmpegError, OSError) as error:
            raise ImageError(f"breaks off: {error.strerror or error}", path=self.path) from error

    def close(self) -> None:
        """Close the file."""
        self._stack.close()


@contextmanager
def video_writer(path: Path, *, rate: Fraction) -> Iterator[Callable[[Image.Image], None]]:
    """What adds a frame to a new MP4 file (H.264), which is there, whole, when the block ends without an error.

    All frames have the size of the first, less a last row or column where that is odd. Raises FileError.
    """
    av = _pyav()
    with atomic_writer(path) as file, av.open(file, "w", format="mp4") as container:
        stream: Any = container.add_stream("libx264", rate=rate)
        stream.pix_fmt = "yuv420p"

        def write(image: Image.Image) -> None:
            if not container.streams.video[0].codec_context.is_open:
                stream.width, stream.height = image.width & ~1, image.height & ~1
            pixels = np.asarray(image)[: stream.height, : stream.width]
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format="rgb24")))

        yield write
        container.mux(stream.encode())


def _pyav() -> Any:
    try:
        import av
    except ImportError as error:
        raise MissingDependencyError(
            "videos need PyAV: pip install 'clprune[video]', or give pictures in their place"
        ) from error
    return av
