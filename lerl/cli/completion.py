"""lerl completion: scripts with which a shell completes commands, recipe names, dotted flags and file names."""

from collections.abc import Iterable

from lerl.cli.parser import Parser
from lerl.cli.rank import SWITCHES, VALUES
from lerl.cli.recipe import UNREAD
from lerl.cli.where import SHIP, WHERE

BASH = """\
_lerl() {
    local word=${COMP_WORDS[COMP_CWORD]} words=
    case ${COMP_WORDS[1]} in
        @CASES@
    esac
    if [ "$COMP_CWORD" -eq 1 ]; then words="@COMMANDS@"; fi
    COMPREPLY=($(compgen -W "$words" -- "$word"))
}
complete -o default -F _lerl lerl
"""
BASH_CASE = """{name}) if [[ $word == -* ]]; then words="{flags}"; else words="{words}"; fi ;;"""

ZSH = """\
#compdef lerl
_lerl() {
    local -a found
    case ${words[2]} in
        @CASES@
    esac
    (( CURRENT == 2 )) && found=(@COMMANDS@)
    compadd -a found
    [[ $PREFIX == -* ]] || (( CURRENT == 2 )) || _files
}
compdef _lerl lerl
"""
ZSH_CASE = """{name}) if [[ $PREFIX == -* ]]; then found=({flags}); else found=({words}); fi ;;"""

FISH = """\
complete -c lerl -n __fish_use_subcommand -f -a "@COMMANDS@"
@CASES@
"""
FISH_CASE = '''complete -c lerl -n "__fish_seen_subcommand_from {name}" -a "{words} {flags}"'''

SHELLS = {"bash": (BASH, BASH_CASE), "zsh": (ZSH, ZSH_CASE), "fish": (FISH, FISH_CASE)}
ALL_FLAGS = ("--out", "--print-config", "--help", "--help-all")
SIDE_BY_SIDE = tuple(f"--{name}" for name in (*WHERE, SHIP))
OWN_FLAGS = {
    "train": ("--resume", "--track", "--trust", "--seeds", *SIDE_BY_SIDE),
    "experiment": ("--plan", "--quick", "--resume", *SIDE_BY_SIDE),
    "tune": SIDE_BY_SIDE,
}
OWN_WORDS = {"data": ("import", "get", "prepare", "describe"), "completion": tuple(SHELLS)}


def script(shell: str, commands: Iterable[str]) -> str:
    """What a shell has to run, such as in its start-up file, to complete lerl's command lines."""
    from lerl.config.keys import known_keys
    from lerl.config.recipes import recipes

    whole, case = SHELLS[shell]
    cases = [case.format(name=name, flags="--help", words=" ".join(words)) for name, words in OWN_WORDS.items()]
    cases.append(
        case.format(name="rank", flags=" ".join(f"--{name}" for name in (*SWITCHES, *VALUES, "help")), words="")
    )
    for name, own in OWN_FLAGS.items():
        unread = tuple(UNREAD[name])
        keys = [f"--{key.name}" for key in known_keys().values() if not key.nested and not key.name.startswith(unread)]
        holding = "" if name == "train" else name
        cases.append(
            case.format(name=name, flags=" ".join((*own, *ALL_FLAGS, *keys)), words=" ".join(recipes(holding)))
        )
    indent = next(line for line in whole.splitlines() if "@CASES@" in line).partition("@")[0]
    return whole.replace("@COMMANDS@", " ".join(commands)).replace("@CASES@", f"\n{indent}".join(cases))


def run_completion(arguments: list[str], commands: Iterable[str]) -> None:
    """lerl completion; `commands` are those of lerl."""
    parser = Parser(
        "lerl completion",
        description="Print a script that completes lerl's commands, recipes and flags. In ~/.bashrc or ~/.zshrc: "
        'eval "$(lerl completion bash)" (or zsh); in fish: lerl completion fish | source',
        allow_abbrev=False,
    )
    parser.add_argument("shell", metavar="SHELL", choices=tuple(SHELLS), help=" or ".join(SHELLS))
    given = parser.parse_args(arguments)

    print(script(given.shell, commands), end="")
