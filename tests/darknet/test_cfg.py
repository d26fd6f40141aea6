"""The cfg format: what is accepted, and that every refusal names file and line."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clprune.darknet.cfg import MAX_BYTES, CfgWarning, parse_cfg
from clprune.darknet.section import Section
from clprune.errors import CfgError

NET = "[net]\nheight=8\nwidth=8\nchannels=3\n"


def write(folder: Path, content: str | bytes) -> Path:
    path = folder / "a.cfg"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def parse(folder: Path, content: str | bytes) -> list[Section]:
    return parse_cfg(write(folder, content))


def values(section: Section) -> dict[str, str]:
    return {key: option.value for key, option in section.options.items()}


def test_sections_options_and_lines(tmp_path: Path) -> None:
    net, conv = parse(tmp_path, "# a comment\n[net]\nheight=8\n\n[convolutional]\n; another\nfilters=4\n")
    assert (net.name, net.line, values(net)) == ("net", 2, {"height": "8"})
    assert (conv.name, conv.line, values(conv)) == ("convolutional", 5, {"filters": "4"})
    assert conv.options["filters"].line == 7


def test_blanks_are_deleted_anywhere(tmp_path: Path) -> None:
    net, conv = parse(tmp_path, " [ n e t ] \n\t[conv]\r\n  fil ters\t= 1 6  \r\nactivation = re lu\n")
    assert net.name == "net"
    assert values(conv) == {"filters": "16", "activation": "relu"}


def test_crlf_byte_order_mark_inline_comments_and_no_last_newline(tmp_path: Path) -> None:
    content = b"\xef\xbb\xbf[network]\r\nheight=8 # rows\r\nwidth=9;columns\r\n\r\n[max]\r\nsize=2"
    net, pool = parse(tmp_path, content)
    assert (net.name, values(net)) == ("net", {"height": "8", "width": "9"})
    assert (pool.name, values(pool)) == ("maxpool", {"size": "2"})


def test_comments_in_any_encoding(tmp_path: Path) -> None:
    assert len(parse(tmp_path, b"# caf\xe9 \xc0\xd7\n[net]\nheight=8\n[softmax]\n")) == 2


def test_value_keeps_everything_behind_the_first_equals_sign(tmp_path: Path) -> None:
    assert values(parse(tmp_path, "[net]\npolicy=a=b\n")[0]) == {"policy": "a=b"}


@pytest.mark.parametrize(
    ("alias", "name"),
    [
        ("conv", "convolutional"),
        ("conn", "connected"),
        ("max", "maxpool"),
        ("avg", "avgpool"),
        ("soft", "softmax"),
        ("lrn", "normalization"),
        ("convolutional", "convolutional"),
    ],
)
def test_aliases(tmp_path: Path, alias: str, name: str) -> None:
    assert parse(tmp_path, NET + f"[{alias}]\n")[1].name == name


@pytest.mark.parametrize(
    ("content", "line", "words"),
    [
        ("", None, "no sections"),
        ("# only a comment\n", None, "no sections"),
        ("height=8\n[net]\n", 1, r"before the first section"),
        ("\n[convolutional]\n", 2, r"expected \[net\]"),
        (NET + "[net]\n", 5, "second"),
        (NET + "[convolution]\n", 5, r"unknown section \[convolution\]"),
        (NET + "[Convolutional]\n", 5, "unknown section"),
        (NET + "[convolutional\n", 5, "expected a section"),
        (NET + "[]\n", 5, "expected a section"),
        (NET + "[maxpool]\nsize 2\n", 6, "expected key=value"),
        (NET + "[maxpool]\n=2\n", 6, "expected key=value"),
    ],
)
def test_refusals_name_file_and_line(tmp_path: Path, content: str, line: int | None, words: str) -> None:
    path = write(tmp_path, content)
    with pytest.raises(CfgError, match=words) as caught:
        parse_cfg(path)
    assert caught.value.line == line
    assert str(caught.value).startswith(f"{path}:{line}: " if line else f"{path}: ")
    assert "\n" not in str(caught.value)


def test_missing_file_folder_and_weights_instead_of_cfg(tmp_path: Path) -> None:
    with pytest.raises(CfgError, match="no such file"):
        parse_cfg(tmp_path / "missing.cfg")
    with pytest.raises(CfgError, match="cannot be read"):
        parse_cfg(tmp_path)
    with pytest.raises(CfgError, match="expected a darknet cfg"):
        parse(tmp_path, b"\0" * (MAX_BYTES + 1))
    with pytest.raises(CfgError, match="is not a text file: expected a darknet cfg") as caught:
        parse(tmp_path, b"\0\0\0\0\2\0\0\0" * 100)
    assert str(caught.value).isprintable()


def test_the_first_of_a_key_counts_with_a_warning(tmp_path: Path) -> None:
    text = NET + "[maxpool]\nsize=2\nstride=2\nsize=3\n\nsize=2\n"
    with pytest.warns(CfgWarning) as caught:
        found = parse(tmp_path, text)[1]
    assert found.integer("size", 1) == 2
    assert [str(warning.message).split(": ", 1) for warning in caught] == [
        [f"{tmp_path / 'a.cfg'}:{line}", "size is given again in [maxpool] and ignored: line 6 counts"]
        for line in (8, 10)
    ]


def test_darknet_drops_a_line_without_a_value_so_that_the_next_of_its_key_counts(tmp_path: Path) -> None:
    assert parse(tmp_path, NET + "[maxpool]\nsize= # two\nsize=3\n")[1].integer("size", 1) == 3


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32"])
def test_text_in_any_encoding(tmp_path: Path, encoding: str) -> None:
    sections = parse(tmp_path, (NET + "# é\r\n[maxpool]\r\nsize=3\r\n").encode(encoding))
    assert [item.name for item in sections] == ["net", "maxpool"]
    assert sections[1].integer("size", 1) == 3


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"\n<!DOCTYPE html>\n<html>Not found</html>", "is an HTML page"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 5\n", "is a Git LFS pointer"),
    ],
)
def test_files_that_are_something_else_are_called_that(tmp_path: Path, content: bytes, words: str) -> None:
    with pytest.raises(CfgError, match=f"{words}.*: expected a darknet cfg file"):
        parse(tmp_path, content)


def section(tmp_path: Path, line: str) -> Section:
    return parse(tmp_path, NET + f"[convolutional]\n{line}\n")[1]


@pytest.mark.parametrize(("text", "expected"), [("3", 3), ("-3", -3), ("+3", 3), ("007", 7), ("2147483647", 2**31 - 1)])
def test_integer(tmp_path: Path, text: str, expected: int) -> None:
    assert section(tmp_path, f"size={text}").integer("size", 1) == expected


@pytest.mark.parametrize("text", ["three", "3.5", "1e3", "0x10", "1_000", "3,4", "--3", "\u0663", "nan"])
def test_what_is_no_integer(tmp_path: Path, text: str) -> None:
    with pytest.raises(CfgError, match=r"a\.cfg:6: \[convolutional\] size=.*whole number"):
        section(tmp_path, f"size={text}").integer("size", 1)


@pytest.mark.parametrize("text", ["2147483648", "-99999999999", "9" * 10_000])
def test_integers_beyond_darknets_range(tmp_path: Path, text: str) -> None:
    with pytest.raises(CfgError, match="at most 2147483647"):
        section(tmp_path, f"size={text}").integer("size", 1)


@pytest.mark.parametrize(
    ("text", "expected"), [("1", 1.0), (".5", 0.5), ("1.", 1.0), ("-2.5e-3", -0.0025), ("1E2", 100.0), ("+.1", 0.1)]
)
def test_number(tmp_path: Path, text: str, expected: float) -> None:
    assert section(tmp_path, f"alpha={text}").number("alpha", 0.0) == expected


@pytest.mark.parametrize("text", ["x", "1f", "nan", "inf", "1_0.0", ".", "1e", "1,5", "1e999"])
def test_what_is_no_number(tmp_path: Path, text: str) -> None:
    with pytest.raises(CfgError, match=r"a\.cfg:6: .*number"):
        section(tmp_path, f"alpha={text}").number("alpha", 0.0)


def test_defaults_required_keys_booleans_and_lists(tmp_path: Path) -> None:
    found = section(tmp_path, "batch_normalize=1\npad=0\nlayers = -1, 8,+2\nbad=1,,2")
    assert found.integer("size", 7) == 7
    assert found.number("alpha", 0.25) == 0.25
    assert found.text("activation", "logistic") == "logistic"
    assert (found.boolean("batch_normalize"), found.boolean("pad"), found.boolean("absent")) == (True, False, False)
    assert found.integers("layers") == (-1, 8, 2)
    with pytest.raises(CfgError, match=r"a\.cfg:5: .*no from="):
        found.text("from")
    with pytest.raises(CfgError, match=r"a\.cfg:9: .*between the commas"):
        found.integers("bad")
    with pytest.raises(CfgError, match="expected at least 2"):
        found.integer("batch_normalize", minimum=2)


@given(st.binary(max_size=200))
def test_any_bytes_parse_or_raise_cfg_error(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "any.cfg"
    path.write_bytes(b"[net]\n" + content)
    try:
        sections = parse_cfg(path)
    except CfgError as error:
        assert "\n" not in str(error)
    else:
        assert sections[0].name == "net"
