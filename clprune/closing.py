"""Objects that are closed at the end of a `with` block."""

from __future__ import annotations

import abc
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing_extensions import Self  # in `typing` from Python 3.11 on


class Closing(abc.ABC):
    """A context manager that gives itself and ends with `close`."""

    @abc.abstractmethod
    def close(self) -> None:
        """Give back what it holds."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
