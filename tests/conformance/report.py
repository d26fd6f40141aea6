"""The matrix driver x part: for the terminal, and as Markdown with versions."""

from __future__ import annotations

from clprune.quirks import QUIRKS
from tests.conformance.drivers import Driver
from tests.conformance.suite import PARTS, Result
from tests.conformance.suite import QUIRKS as QUIRKS_PART

_HEADING = """# The same answer on every OpenCL driver

Written by `make conformance`. A cell counts runs that were right: a kernel at one tile, one small odd shape and one
sparsity, compared with the float64 reference inside guarded buffers and run twice for the same bits; or a whole random
network, dense or pruned, with the default tiles, a GPU's tiles or random ones. "refused" are tiles that only the built
kernel's own limits forbid: there the runner falls back to the safe tile. Under Oclgrind data races, accesses outside
buffers and decisions on uninitialised values count as failures.
"""


class Matrix:
    """Results by driver and part."""

    def __init__(self) -> None:
        self._drivers: dict[str, Driver] = {}
        self._results: dict[tuple[str, str], Result] = {}
        self._absent: dict[str, str] = {}
        self.parts: set[str] = set()

    @property
    def is_empty(self) -> bool:
        return not self._drivers

    def add(self, driver: Driver, result: Result) -> None:
        self._drivers[driver.name] = driver
        self._results[driver.name, result.part] = result
        self.parts.add(result.part)

    def add_absent(self, driver: Driver, part: str, problem: str) -> None:
        self._drivers[driver.name] = driver
        self._absent[driver.name] = problem
        self.parts.add(part)

    def text(self) -> str:
        """A table of fixed width, each cell with its seconds."""
        parts = [part for part in PARTS if part in self.parts]
        rows = [["", *parts, "seconds"]]
        for driver in self._drivers.values():
            seconds = sum(result.seconds for (name, _), result in self._results.items() if name == driver.name)
            cells = [self._cell(driver.name, part) + self._seconds(driver.name, part) for part in parts]
            rows.append([driver.title, *cells, f"{seconds:.0f}"])
        widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
        return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows)

    def markdown(self, *, before: str) -> str:
        """The page; rows of devices that this machine does not have are taken over from the page as it was."""
        lines = [
            _HEADING,
            "| driver | device, version | " + " | ".join(PARTS) + " |",
            "|---|---|" + "---|" * len(PARTS),
        ]
        for driver in self._drivers.values():
            cells = [self._cell(driver.name, part) for part in PARTS]
            lines.append(f"| {driver.title} | {self._version(driver.name)} | " + " | ".join(cells) + " |")
        known = {driver.title for driver in self._drivers.values()}
        lines += [row for row in before.splitlines() if self._is_row(row) and row.split("|")[1].strip() not in known]
        return "\n".join([*lines, "", *self._quirks()]) + "\n"

    def _is_row(self, line: str) -> bool:
        return line.count("|") == len(PARTS) + 3 and not line.startswith(("| driver |", "|---"))

    def _quirks(self) -> list[str]:
        """Which driver has which quirk, and what is done about it."""
        lines = ["## Quirks seen", "", "| quirk | on | what clprune does |", "|---|---|---|"]
        for quirk in QUIRKS:
            having = [
                driver.title
                for driver in self._drivers.values()
                if (result := self._results.get((driver.name, QUIRKS_PART))) and quirk.name in result.notes
            ]
            if having:
                lines.append(f"| {quirk.what} | {', '.join(having)} | {quirk.effect} |")
        return lines

    def _version(self, name: str) -> str:
        if name in self._absent:
            return f"absent: {self._absent[name]}"
        results = [result for (driver, _), result in self._results.items() if driver == name and result.device]
        return f"{results[0].device}, {results[0].driver}" if results else "nothing ran"

    def _seconds(self, name: str, part: str) -> str:
        result = self._results.get((name, part))
        return f", {result.seconds:.0f} s" if result is not None else ""

    def _cell(self, name: str, part: str) -> str:
        if name in self._absent:
            return "absent"
        result = self._results.get((name, part))
        if result is None:
            return "-"
        if result.failures:
            return f"FAILED {len(result.failures)} of {len(result.failures) + result.runs}"
        return f"{result.runs} right" + (f", {result.refused} refused" if result.refused else "")
