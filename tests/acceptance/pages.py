"""Pages of the documentation that are followed: files are written, commands run, and what they say is compared."""

import re
from dataclasses import dataclass, field

# A file is a fenced block after a line that ends with its name; a command is an indented line with a prompt, and
# the indented lines below it are what it says.
FILE = r"`(?P<name>[\w/.]+)`:\n\n```\w+\n(?P<text>(?s:.*?))```"
COMMAND = r"^    \$ (?P<command>.+)\n(?P<shown>(?:    (?!\$ ).*\n|\n(?=    (?!\$ )))*)"
# A line that stands for any number of lines.
OMITTED = "…"

# Other from run to run: ids and hashes, which must be other consistently, and times.
NAME = re.compile(r"\b[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\b|\b[0-9a-f]{12}(?:[0-9a-f]{52})?\b")
TIME = re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(?:(?:\.\d+)?\+00:00)?| *\b\d+\.\d\d s$", re.M)
# How the command line says that it failed, with exit code 1.
FAILED = re.compile(r"^headwater: ", re.M)


@dataclass
class Reader:
    """Somebody who follows the page in a folder of their own, and compares."""

    system: object
    names: dict[str, str] = field(default_factory=dict)

    def follow(self, page):
        """Do what the page says, in its order; returns the commands."""
        commands = []
        for item in re.finditer(f"{FILE}|{COMMAND}", page, flags=re.M):
            if item["name"]:
                (self.system.root / item["name"]).write_text(item["text"])
            else:
                commands.append(item["command"])
                self.run(item["command"], re.sub("^    ", "", item["shown"], flags=re.M).strip())
        return commands

    def run(self, command, shown):
        """Run a command of the page, with our ids in place of its, and compare what is said with what is shown."""
        ours = NAME.sub(lambda found: self.names.get(found[0], found[0]), command)
        done = self.system.run("sh", "-c", f"({ours}) 2>&1")
        lines = done.stdout.strip().splitlines()
        said = re.fullmatch(pattern(shown), "".join(f"{line}\n" for line in lines), re.M)

        assert said, f"$ {command}\n{done.stdout}\nThe page shows:\n{shown}"
        assert done.returncode == (1 if FAILED.search(shown) else 0), f"$ {command}\n{done.stdout}"
        for theirs, found in zip(NAME.findall(shown), said.groups(), strict=True):
            # A hash stands on the page in full and as its first twelve digits.
            short = slice(None if "-" in theirs else 12)
            assert self.names.setdefault(theirs[short], found[short]) == found[short], f"$ {command}\n{done.stdout}"
        assert len(set(self.names.values())) == len(self.names), f"$ {command}\n{done.stdout}"


def pattern(shown):
    """What must be said where the page shows this: the same, but for names, which are the groups, and times."""
    return "".join(r"(?:.*\n)*?" if line.strip() == OMITTED else f"{_line(line)}\n" for line in shown.splitlines())


def _line(shown):
    parts, begin = [], 0
    for found in re.finditer(f"{NAME.pattern}|{TIME.pattern}", shown):
        kind = f"({NAME.pattern})" if NAME.fullmatch(found[0]) else f"(?:{TIME.pattern})"
        parts += [re.escape(shown[begin : found.start()]), kind]
        begin = found.end()
    return "".join([*parts, re.escape(shown[begin:])])
