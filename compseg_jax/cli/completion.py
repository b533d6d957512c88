"""`compseg completion bash`: commands and options for the Tab key."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from typing import Literal

from compseg_jax.cli.parsing import HelpPage, parse

PAGE = HelpPage(
    "completion",
    text="Print a script that completes commands, options and files at the Tab key.\n\n"
    'For this session: eval "$(compseg completion bash)"; for every one, add that line to ~/.bashrc (zsh: ~/.zshrc).',
    example="compseg completion bash >> ~/.bashrc",
    groups={"options": ("shell",)},
    positional=("shell", "{bash,zsh}"),
)
_SCRIPT = """\
_compseg() {{
    local current="${{COMP_WORDS[COMP_CWORD]}}" options=""
    COMPREPLY=()
    if [ "$COMP_CWORD" -eq 1 ]; then
        COMPREPLY=($(compgen -W "{commands} --help --version" -- "$current"))
        return
    fi
    case "${{COMP_WORDS[1]}}" in
{cases}
    esac
    case "$current" in
        -*) COMPREPLY=($(compgen -W "$options --quiet --json --help" -- "$current")) ;;
    esac
}}
complete -o bashdefault -o default -F _compseg compseg
"""


@dataclass(frozen=True)
class CompletionOptions:
    """For which shell."""

    shell: Literal["bash", "zsh"] = "bash"
    """The shell."""


def run(arguments: list[str]) -> None:
    """Prints the script."""
    print(script(parse(CompletionOptions, arguments, PAGE).shell), end="")


def script(shell: Literal["bash", "zsh"]) -> str:
    """The script of a shell."""
    from compseg_jax.cli.main import COMMANDS

    cases = "\n".join(f'        {name}) options="{" ".join(options_of(name))}" ;;' for name in COMMANDS)
    before = "autoload -U +X bashcompinit && bashcompinit\n" if shell == "zsh" else ""
    return before + _SCRIPT.format(commands=" ".join(COMMANDS), cases=cases)


def options_of(command: str) -> list[str]:
    """The options of a command, as they are typed."""
    page: HelpPage = import_module(f"compseg_jax.cli.{command}").PAGE
    fields = [name for names in page.groups.values() for name in names if name != page.positional[0]]
    return ["--" + name.rpartition(".")[2].replace("_", "-") for name in fields]
