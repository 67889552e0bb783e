"""A manual page as tests read it: its sections, the terms that they explain, its options."""

from __future__ import annotations

import re
from pathlib import Path

DIRECTORY = Path(__file__).parents[2] / "man"
OPTION = re.compile(r"(?<![\w-])(?:--[a-z][a-z-]*|-[a-zA-Z](?![\w]))")


class Page:
    """One page below ``man/``."""

    def __init__(self, name: str) -> None:
        self.path = DIRECTORY / name
        self.source = self.path.read_text()

    def section(self, name: str) -> str:
        """Return the roff of one section."""
        found = re.search(rf'(?ms)^\.SH "?{name}"?\n(.*?)(?=^\.SH|\Z)', self.source)
        assert found, f"{self.path.name} has no section {name}"
        return found[1]

    def sections(self) -> list[str]:
        return [name.strip('"') for name in re.findall(r"(?m)^\.SH (.*)$", self.source)]

    def text(self, name: str) -> str:
        """Return one section as running words."""
        return " ".join(plain(self.section(name)).split())

    def words(self) -> str:
        """Return the whole page as running words."""
        return " ".join(plain(self.source).split())

    def terms(self, name: str) -> list[str]:
        """Return what the paragraphs of a section are about: the line after each ``.TP``."""
        heads = re.findall(r"(?m)^\.TP\n(.*\n)", self.section(name))
        return [plain(line).strip() for line in heads]

    def about(self, name: str, term: str) -> str:
        """Return what a section writes of one of its terms, as running words."""
        for paragraph in self.section(name).split(".TP\n")[1:]:
            line, _, text = paragraph.partition("\n")
            if plain(line).strip() == term:
                return " ".join(plain(text).split())
        raise AssertionError(f"{name} does not explain {term}")

    def bold(self, name: str) -> set[str]:
        """Return the words of a section that are set in bold."""
        words: set[str] = set()
        for macro, line in re.findall(r"(?m)^\.(BR|B) (.*)$", self.section(name)):
            fields = [quoted or bare for quoted, bare in re.findall(r'"([^"]*)"|(\S+)', line)]
            words |= set(fields[::2] if macro == "BR" else [" ".join(fields)])
        return {word.replace("\\-", "-") for word in words}


def plain(text: str) -> str:
    """Return roff text as words: without requests, font changes and escapes."""
    text = re.sub(r'(?m)^\.\\".*$', "", text)
    text = re.sub(r"(?m)^\.(SH|SS|PP|TP|RS|RE|nf|fi|br|TH|IP|EX|EE).*$", "", text)
    text = re.sub(r"(?m)^\.[BI] ", "", text)
    text = re.sub(r"(?m)^\.(BR|IR|RB|RI|BI|IB) (.*)$", lambda m: _joined(m[2]), text)
    return re.sub(r"\\f[BIPR]", "", text).replace("\\-", "-").replace("\\e", "\\")


def _joined(words: str) -> str:
    """Alternating fonts are set without blanks between them."""
    return "".join(re.sub(r'^"|"$', "", word) for word in re.findall(r'"[^"]*"|\S+', words))
