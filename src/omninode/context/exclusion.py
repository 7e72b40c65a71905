"""Which files of a directory context never sees: what .gitignore says, secrets, version control, dependencies.

Rules apply as in git: those of a deeper .gitignore come after those of the ones above it and win, a `!` rule takes a
path back in, and nothing below an excluded directory can come back.
"""

from __future__ import annotations

from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

import pathspec

__all__ = ["Exclusion", "is_secret"]

_SKIPPED_DIRECTORIES = frozenset({
    ".git", ".hg", ".svn", ".jj", ".venv", "venv", "node_modules", "__pycache__", ".tox", ".nox", ".mypy_cache",
    ".ruff_cache", ".pytest_cache", ".hypothesis", ".idea", ".gradle", ".terraform", ".next", ".cache", ".eggs",
})  # fmt: skip
_SECRET_DIRECTORIES = frozenset({".ssh", ".gnupg", ".aws", ".kube", ".azure"})
_SECRET_FILES = (
    ".env", ".env.*", "*.env", "*.pem", "*.key", "*.p12", "*.pfx", "*.jks", "*.keystore", "*.kdbx", "*.ppk", "*.gpg",
    "id_rsa*", "id_dsa*", "id_ecdsa*", "id_ed25519*", ".netrc", "_netrc", ".pgpass", ".npmrc", ".pypirc", ".htpasswd",
    ".git-credentials", "credentials", "credentials.json", "secrets.*", "service-account*.json", "*.tfstate",
    "*.tfstate.*", "*.tfvars",
)  # fmt: skip
_HARMLESS = (".env.example", ".env.sample", ".env.template", ".env.dist", "secrets.py", "secrets.md", "*.pub")
_BINARY_SUFFIXES = frozenset({
    ".png", ".jpg", ".jpeg", ".gif", ".webp", ".ico", ".bmp", ".tiff", ".pdf", ".zip", ".gz", ".bz2", ".xz", ".zst",
    ".7z", ".rar", ".tar", ".whl", ".jar", ".class", ".pyc", ".pyo", ".so", ".dylib", ".dll", ".exe", ".o", ".a",
    ".bin", ".wasm", ".woff", ".woff2", ".ttf", ".otf", ".eot", ".mp3", ".mp4", ".mov", ".avi", ".wav", ".ogg",
    ".sqlite", ".sqlite3", ".db", ".parquet", ".npy", ".npz", ".pkl", ".pt", ".onnx", ".safetensors",
})  # fmt: skip
_RULES_LIMIT = 200_000


def is_secret(name: str) -> bool:
    """Whether a file of this name usually holds secrets, so that its content must not reach a model."""
    lowered = name.lower()
    if any(fnmatchcase(lowered, pattern) for pattern in _HARMLESS):
        return False
    return any(fnmatchcase(lowered, pattern) for pattern in _SECRET_FILES)


@dataclass(frozen=True, slots=True)
class _Rules:
    """One .gitignore; `prefix` leads from the top of the repository to its directory (empty, or ends in `/`)."""

    prefix: str
    spec: pathspec.GitIgnoreSpec


@dataclass(frozen=True, slots=True)
class Exclusion:
    """The rules that hold inside `directory` (relative to the workspace, with `/`, empty for its root), outermost
    first. `above` leads from the top of the repository to the workspace, where that lies inside one.
    """

    directory: str
    rules: tuple[_Rules, ...] = ()
    above: str = ""

    @classmethod
    def at_root(cls, root: Path) -> Exclusion:
        """The rules that hold at the workspace's root: its own, and those above it in the same git repository."""
        top = _repository_of(root)
        above = "" if top == root else root.relative_to(top).as_posix() + "/"
        levels = [top, *(parent for parent in reversed(root.parents) if top in parent.parents)]
        if top != root:
            levels.append(root)
        rules = list(_rules(top / ".git" / "info" / "exclude", ""))
        for level in levels:
            rules += _rules(level / ".gitignore", "" if level == top else level.relative_to(top).as_posix() + "/")
        return cls("", tuple(rules), above)

    def path_of(self, name: str) -> str:
        """The path of an entry here, relative to the workspace."""
        return f"{self.directory}/{name}" if self.directory else name

    def below(self, name: str, root: Path) -> Exclusion:
        """The rules inside the directory `name`: these, then its own .gitignore."""
        directory = self.path_of(name)
        own = _rules(root / directory / ".gitignore", f"{self.above}{directory}/")
        return Exclusion(directory, (*self.rules, *own), self.above)

    def reason(self, name: str, *, is_directory: bool) -> str | None:
        """Why an entry here is left out: `dependency`, `secret`, `binary` or `ignored`; None when it is not."""
        # A file named .git stands for the directory in a linked worktree.
        if name in _SKIPPED_DIRECTORIES and (is_directory or name == ".git"):
            return "dependency"
        if is_directory and name in _SECRET_DIRECTORIES:
            return "secret"
        if not is_directory and is_secret(name):
            return "secret"
        if not is_directory and _has_binary_suffix(name):
            return "binary"
        return "ignored" if self._is_ignored(self.path_of(name), is_directory=is_directory) else None

    def _is_ignored(self, path: str, *, is_directory: bool) -> bool:
        full = f"{self.above}{path}/" if is_directory else f"{self.above}{path}"
        for rules in reversed(self.rules):
            verdict = rules.spec.check_file(full[len(rules.prefix) :]).include
            if verdict is not None:
                return verdict
        return False


def _repository_of(root: Path) -> Path:
    """The top of the git repository `root` lies in; `root` itself when it lies in none."""
    for place in (root, *root.parents):
        if (place / ".git").exists():
            return place
    return root


def _has_binary_suffix(name: str) -> bool:
    dot = name.rfind(".")
    return dot > 0 and name[dot:].lower() in _BINARY_SUFFIXES


def _rules(file: Path, prefix: str) -> tuple[_Rules, ...]:
    try:
        if file.is_symlink() or not file.is_file():
            return ()
        lines = file.read_bytes()[:_RULES_LIMIT].decode("utf-8-sig", "replace").splitlines()
    except OSError:
        return ()
    spec = pathspec.GitIgnoreSpec.from_lines([line for line in lines if _is_rule(line)])
    return (_Rules(prefix, spec),) if len(spec) else ()


def _is_rule(line: str) -> bool:
    """Whether pathspec takes the line: one bad pattern must not cost the others (git ignores it too)."""
    try:
        pathspec.GitIgnoreSpec.from_lines([line])
    except ValueError:
        return False
    return bool(line.strip())
