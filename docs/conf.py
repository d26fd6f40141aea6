"""The documentation site: Markdown pages, docstrings, the help of every command. `make docs` builds it."""

from __future__ import annotations

import click

import clprune
from clprune.cli import group

project = "clprune"
release = version = clprune.__version__
extensions = ["myst_parser", "sphinx.ext.autodoc"]
exclude_patterns = ["examples", "results/*.json"]
default_role = "code"  # docstrings write `names` as Markdown does
autodoc_typehints = "description"
autodoc_typehints_format = "short"
autodoc_member_order = "bysource"
autodoc_class_signature = "separated"
myst_heading_anchors = 3
html_theme = "furo"
html_title = f"clprune {version}"

#: Columns of the commands' help.
HELP_WIDTH = 100
COMMANDS = "<!-- commands -->"


def commands() -> str:
    """The help of every command, as the command line prints it."""
    sections: list[str] = []

    def add(command: click.Command, name: str, parent: click.Context | None, level: str) -> None:
        context = click.Context(
            command, info_name=name, parent=parent, max_content_width=HELP_WIDTH, terminal_width=HELP_WIDTH
        )
        sections.append(f"{level} {context.command_path}\n\n```text\n{command.get_help(context)}\n```")
        if isinstance(command, click.Group):
            for part in command.list_commands(context):
                if (found := command.get_command(context, part)) is not None:
                    add(found, part, context, "##" if parent is None else "###")

    add(group, "clprune", None, "##")
    return "\n\n".join(sections)


def setup(app: object) -> None:
    """Fill the marker of the page on the command line."""

    def fill(_app: object, _page: str, source: list[str]) -> None:
        if COMMANDS in source[0]:
            source[0] = source[0].replace(COMMANDS, commands())

    app.connect("source-read", fill)  # type: ignore[attr-defined]
