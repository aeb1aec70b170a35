"""The commands of README.md, CONTRIBUTING.md and docs/, and what they name."""

import ast
import dataclasses
import re
import shlex
from pathlib import Path

import radit_jax

ROOT = Path(radit_jax.__file__).parents[1]
PAGES = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    *sorted((ROOT / "docs").glob("*.md")),
]
_BLOCK = re.compile(
    r"(?:<!-- not run: (?P<why>[^\n]*?) -->\n)?```bash\n(?P<text>.*?)```", re.S
)


@dataclasses.dataclass(frozen=True)
class Block:
    """A fenced block of commands; `why_not` it is not run by the marked test."""

    page: str
    number: int
    text: str
    why_not: str

    def __str__(self) -> str:
        return f"{self.page}-{self.number}"

    @property
    def commands(self) -> list[list[str]]:
        """Each command's words; shell's own words are left out."""
        found: list[list[str]] = [[]]
        for line in self.text.replace("\\\n", " ").splitlines():
            words = shlex.shlex(line, posix=True, punctuation_chars=";&")
            words.whitespace_split = True
            for word in words:
                if set(word) <= set(";&"):
                    found.append([])
                else:
                    found[-1].append(word)
            found.append([])
        return [kept for words in found if (kept := _command(words))]


def _command(words: list[str]) -> list[str]:
    """Without the shell's own words, and variables that are set before a command."""
    while words and (words[0] in ("do", "then") or "=" in words[0]):
        words = words[1:]
    return [] if words and words[0] in ("for", "done", "export", ".") else words


def blocks() -> list[Block]:
    found = []
    for page in PAGES:
        name = str(page.relative_to(ROOT))
        for number, match in enumerate(_BLOCK.finditer(page.read_text()), start=1):
            found.append(Block(name, number, match["text"], match["why"] or ""))
    return found


def module_file(module: str) -> Path:
    return ROOT / (module.replace(".", "/") + ".py")


def flags_of(file: Path) -> dict[str, list[str] | None]:
    """The flags that a program's file and its package's shared one define.

    Flag → the choices of an enum, or None.
    """
    found: dict[str, list[str] | None] = {}
    for path in (file, file.parent / "cli.py", file.parent / "command.py"):
        if not path.exists():
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            name = isinstance(node, ast.Call) and ast.unparse(node.func)
            if name and ".DEFINE_" in name:
                is_enum = name.endswith("DEFINE_enum")
                choices = _written_out(node.args[2]) if is_enum else None
                found[ast.literal_eval(node.args[0])] = choices
            elif name and name.endswith(".add_argument"):
                found[ast.literal_eval(node.args[0]).lstrip("-")] = None
    return found


def _written_out(node: ast.expr) -> list[str] | None:
    """The texts of a list; None where some of them stand elsewhere."""
    elements = node.elts if isinstance(node, ast.List) else [None]
    if not all(isinstance(one, ast.Constant) for one in elements):
        return None
    return [one.value for one in elements]
