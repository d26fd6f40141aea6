"""Products with small constant matrices as OpenCL C: what the Winograd templates print for B^T and A^T.

Rows and columns that belong to the points a and -a differ in signs only, so their even and odd parts are computed
once (Lavin & Gray, arXiv:1509.09308, section 4.3 count operations alike): B^T of F(4x4, 3x3) takes 12 operations in
place of 22, A^T 10 in place of 14. Which rows and columns pair up is read off the matrix.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from fractions import Fraction

from clprune.opencl_c import c_float
from clprune.winograd.transforms import Matrix

#: Coefficients by the variable that they multiply; zeros are left out.
Row = dict[str, Fraction]


def transform_statements(
    matrix: Matrix, sources: Sequence[str], targets: Sequence[str], *, vector: str, prefix: str
) -> list[str]:
    """Statements `const <vector> <target> = ...;` for `targets = matrix @ sources`.

    `sources` and `targets` are names of variables of the type `vector`, one per column and row; help variables are
    named `prefix` and a number. Uses the template's MULTIPLY_ADD.
    """
    writer = _Writer(vector=vector, prefix=prefix)
    rows = [{name: value for name, value in zip(sources, row, strict=True) if value} for row in matrix]
    rows = _paired_sources(rows, sources, writer)
    index = 0
    while index < len(rows):
        if index + 1 < len(rows) and _differ_in_signs(rows[index], rows[index + 1]):
            writer.row_pair(rows[index], rows[index + 1], targets[index : index + 2])
            index += 2
        else:
            writer.assign(targets[index], writer.linear(rows[index]))
            index += 1
    return writer.statements


class _Writer:
    """Collects statements and hands out names."""

    def __init__(self, *, vector: str, prefix: str) -> None:
        self.statements: list[str] = []
        self._vector = vector
        self._prefix = prefix
        self._count = 0

    def assign(self, name: str, expression: str) -> str:
        self.statements.append(f"const {self._vector} {name} = {expression};")
        return name

    def help(self, expression: str) -> str:
        """A new variable that holds `expression`."""
        self._count += 1
        return self.assign(f"{self._prefix}{self._count}", expression)

    def linear(self, row: Mapping[str, Fraction]) -> str:
        """Expression of a sum of multiples: it begins with a term that needs no multiplication, if there is one."""
        terms = sorted(row.items(), key=lambda item: (item[1] != 1, abs(item[1]) == 1))
        name, factor = terms[0]
        expression = name if factor == 1 else f"{self._constant(factor)} * {name}"
        for name, factor in terms[1:]:
            if abs(factor) == 1:
                expression = f"{expression} {'+' if factor > 0 else '-'} {name}"
            else:
                expression = f"MULTIPLY_ADD({self._constant(factor)}, {name}, {expression})"
        return expression

    def row_pair(self, row: Row, other: Row, targets: Sequence[str]) -> None:
        """Two rows that are even part plus odd part, and even part minus odd part."""
        even = {name: value for name, value in row.items() if other[name] == value}
        odd = {name: value for name, value in row.items() if other[name] != value}
        scale = next(iter(odd.values()))
        if len({abs(value) for value in odd.values()}) > 1 or abs(scale) == 1:
            scale = Fraction(1)
        even_name = self.help(self.linear(even))
        odd_name = self.help(self.linear({name: value / scale for name, value in odd.items()}))
        for target, sign in zip(targets, (1, -1), strict=True):
            self.assign(target, self.linear({even_name: Fraction(1), odd_name: sign * scale}))

    def _constant(self, value: Fraction) -> str:
        return f"({self._vector})({c_float(float(value))})"


def _differ_in_signs(row: Row, other: Row) -> bool:
    """Equal magnitudes, some signs equal and some not."""
    if row.keys() != other.keys() or any(abs(row[name]) != abs(other[name]) for name in row):
        return False
    return 0 < sum(row[name] == other[name] for name in row) < len(row)


def _paired_sources(rows: list[Row], sources: Sequence[str], writer: _Writer) -> list[Row]:
    """Rows over sums and differences of neighbouring sources, where every row holds both or neither, alike but for
    signs, and some row adds where another subtracts.
    """
    for first, second in itertools.pairwise(sources):
        pairs = [(row.get(first, Fraction(0)), row.get(second, Fraction(0))) for row in rows]
        signs = {a == b for a, b in pairs if a}
        if any(abs(a) != abs(b) for a, b in pairs) or len(signs) < 2:
            continue
        names = {True: writer.help(f"{first} + {second}"), False: writer.help(f"{first} - {second}")}
        replaced: list[Row] = []
        for row, (a, b) in zip(rows, pairs, strict=True):
            rest = {name: value for name, value in row.items() if name not in (first, second)}
            replaced.append({**rest, names[a == b]: a} if a else rest)
        rows = replaced
    return rows
