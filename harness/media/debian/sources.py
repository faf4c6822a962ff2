"""Where apt finds a Debian release: sources.list(5) entries made from the machine's own.

What the machine's owner has configured (mirror, keys, options) stays; release and architecture become the wanted ones,
and archives that are not Debian's are left out.
"""

import re
from collections.abc import Iterable

_URI = re.compile(r"/debian(-security)?(/|$)")
_ONE_LINE = re.compile(r"deb\s+(\[[^]]*\])?\s*(\S+)\s+(\S+)\s+([^#]+)")
_FIELD = re.compile(r"^([A-Za-z0-9-]+):[ \t]*(.*(?:\n[ \t].*)*)$", re.MULTILINE)
_ALIASES = ("stable", "oldstable", "testing", "unstable", "sid")


def _suites(suites: Iterable[str], own: str, release: str) -> list[str]:
    """The suites of `release` that stand where the machine's (code name `own`, or an alias) stand, in order."""
    names = "|".join(map(re.escape, (release, own, *_ALIASES) if own else (release, *_ALIASES)))
    found = (re.fullmatch(rf"(?:{names})(-updates|-security)?", suite) for suite in suites)
    return list(dict.fromkeys(release + (match[1] or "") for match in found if match))


def one_line(text: str, own: str, release: str) -> str:
    """The entries of a `.list` file for `release`, on a machine of release `own` ("": not Debian)."""
    lines = []
    for line in text.splitlines():
        match = _ONE_LINE.match(line.strip())
        if match and _URI.search(match[2]) and "main" in match[4].split():
            kept = (option for option in (match[1] or "")[1:-1].split() if not option.startswith("arch"))
            options = f"[{' '.join((*kept, 'targets=Packages'))}]"
            lines += [f"deb {options} {match[2]} {suite} main" for suite in _suites([match[3]], own, release)]
    return "".join(f"{line}\n" for line in lines)


def alone(text: str, release: str) -> str:
    """Of entries made here, only what is of the release itself and not of its updates."""
    if re.search(r"^Types:", text, re.MULTILINE):
        paragraphs = (
            re.sub(rf"^(Suites:).*\b{release}(?!-).*$", rf"\1 {release}", paragraph, flags=re.MULTILINE)
            for paragraph in text.split("\n\n")
        )
        return "\n\n".join(paragraph for paragraph in paragraphs if f"Suites: {release}\n" in paragraph)
    return "".join(f"{line}\n" for line in text.splitlines() if f" {release} main" in line)


def deb822(text: str, own: str, release: str) -> str:
    """The same for a `.sources` file."""
    text = re.sub(r"^#.*\n?", "", text, flags=re.MULTILINE)
    paragraphs = []
    for paragraph in re.split(r"\n[ \t]*\n", text):
        fields = {name.title(): value for name, value in _FIELD.findall(paragraph)}
        taken = ("Types", "Uris", "Suites", "Components", "Enabled", "Architectures")
        words = {name: fields.pop(name, "").split() for name in taken}
        uris = [uri for uri in words["Uris"] if _URI.search(uri)]
        suites = _suites(words["Suites"], own, release)
        enabled = not words["Enabled"] or words["Enabled"][0].lower() not in (
            "no",
            "false",
            "without",
            "off",
            "disable",
        )
        if uris and suites and enabled and "deb" in words["Types"] and "main" in words["Components"]:
            fields |= {"Types": "deb", "URIs": " ".join(uris), "Suites": " ".join(suites), "Components": "main"}
            fields["Targets"] = "Packages"  # no index for other programs
            paragraphs.append("".join(f"{name}: {value}\n" for name, value in fields.items()))
    return "\n".join(paragraphs)
