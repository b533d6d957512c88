"""What the documentation site does beyond mkdocs: pages of the root, decisions, docstrings as they are written.

mkdocs calls the functions ``on_…`` (a hook of mkdocs.yml), griffe the class ``Docstrings`` (an extension of its). A
public object without a docstring, and a link to a file that does not exist, end the build.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import griffe
from latex2mathml.converter import convert
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File

ROOT = Path(__file__).resolve().parents[1]
OF_THE_ROOT = ("CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md", "BUILD_NOTES.md")
"""Pages that lie beside docs/ and are shown below project/."""
DECISIONS = "decisions"
LINK = re.compile(r"(!?)\[([^\]]*)\]\(([^)\s#]+)(#[^)\s]*)?\)")
CODE = re.compile(r"(```.*?```|`[^`\n]*`)", re.DOTALL)
MATH = re.compile(r"^( *)\.\. math:: (.*(?:\n\1 +.*)*)", re.M)
EXAMPLE = re.compile(r"^( *)(>>> .*(?:\n\1\S.*)*)", re.M)
ROLE = re.compile(r":(?:class|func|meth|mod):`~?([^`]+)`")


def on_config(config: Any) -> Any:
    """Puts the decisions into the navigation, in their order."""
    pages = sorted(path.name for path in (ROOT / "docs" / DECISIONS).glob("[0-9]*.md"))
    for entry in config.nav:
        if DECISIONS in str(next(iter(entry))).lower():
            (title,) = entry
            entry[title] = [f"{DECISIONS}/README.md", *(f"{DECISIONS}/{name}" for name in pages)]
            return config
    raise PluginError(f"mkdocs.yml: no entry of nav is called {DECISIONS}")


def on_files(files: Any, config: Any) -> Any:
    """Adds the pages of the root."""
    for name in OF_THE_ROOT:
        text = (ROOT / name).read_text(encoding="utf-8")
        files.append(File.generated(config, f"project/{name}", content=text))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Leads links to files outside of docs/ to their page, or shows the path where there is none."""
    source = page.file.src_uri
    folder = ROOT if source.startswith("project/") else (ROOT / "docs" / source).parent

    def led(match: re.Match[str]) -> str:
        picture, text, target, anchor = match[1], match[2], match[3], match[4] or ""
        if re.match(r"[a-z]+:", target):
            return match[0]
        path = (folder / target).resolve()
        if not path.exists():
            raise PluginError(f"{source}: links to {target}, which does not exist")
        if path.is_relative_to(ROOT / "docs") and path.is_file():
            inside = path.relative_to(ROOT / "docs").as_posix()
        elif path.parent == ROOT and path.name in OF_THE_ROOT:
            inside = f"project/{path.name}"
        elif path == ROOT / "README.md":
            inside = "index.md"
        elif picture:
            raise PluginError(f"{source}: the picture {target} lies outside of docs/")
        else:
            return f"{text} (`{path.relative_to(ROOT).as_posix()}`)" if "`" not in text else text
        relative = os.path.relpath(inside, Path(source).parent).replace(os.sep, "/")
        return f"{picture}[{text}]({relative}{anchor})"

    parts = CODE.split(markdown)
    plain = [LINK.sub(led, part) if number % 2 == 0 else part for number, part in enumerate(parts)]
    return "".join(_linked_code(plain, led))


def _linked_code(parts: list[str], led: Any) -> list[str]:
    """Links whose text is code were split at it; they are put together again and led as well."""
    whole = "".join(parts)
    fences = re.split(r"(```.*?```)", whole, flags=re.DOTALL)
    pattern = re.compile(r"(!?)\[([^\]\n]*`[^\]\n]*)\]\(([^)\s#]+)(#[^)\s]*)?\)")
    return [pattern.sub(led, part) if number % 2 == 0 else part for number, part in enumerate(fences)]


class Docstrings(griffe.Extension):
    """Docstrings as Markdown: formulas as MathML, which browsers draw by themselves, examples and roles as code."""

    def on_instance(self, *, obj: griffe.Object, **_: Any) -> None:
        """Rewrites the docstring of one object."""
        if obj.docstring is not None:
            text = ROLE.sub(r"`\1`", MATH.sub(_formula, obj.docstring.value))
            obj.docstring.value = EXAMPLE.sub(r"\1```pycon\n\1\2\n\1```", text).replace(
                "  # doctest: +SKIP", ""
            )

    def on_package(self, *, pkg: griffe.Module, **_: Any) -> None:
        """Ends the build where something that a page of the reference shows says nothing of itself."""
        missing = []
        for page in sorted((ROOT / "docs" / "reference").glob("*.md")):
            for name in re.findall(r"^::: (\S+)", page.read_text(encoding="utf-8"), re.M):
                missing += _silent(_found(pkg, name, page), name)
        if missing:
            raise PluginError(f"without a docstring: {', '.join(missing)}")


def _formula(match: re.Match[str]) -> str:
    latex = " ".join(line.strip() for line in match[2].splitlines())
    return match[1] + convert(latex, display="block")


def _found(package: griffe.Module, name: str, page: Path) -> griffe.Object:
    try:
        found = package[name.removeprefix(f"{package.name}.")]
        return found.final_target if found.is_alias else found
    except KeyError as error:
        raise PluginError(f"{page.relative_to(ROOT)}: {name} does not exist") from error


def _silent(found: griffe.Object, name: str) -> list[str]:
    silent = [] if found.has_docstring else [name]
    if found.is_class:
        for member in found.members.values():
            shown = not member.is_alias and member.is_function and not member.name.startswith("_")
            if shown and not member.has_docstring:
                silent.append(f"{name}.{member.name}")
    return silent
