"""What a workspace shows of a directory, and what it never shows."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from omninode.context.exclusion import is_secret
from omninode.context.workspace import Limits, Workspace
from omninode.core.errors import InvalidArgumentError, SourceError
from omninode.testing.clock import FakeClock

pytestmark = pytest.mark.unit


def write(root: Path, **files: str | bytes) -> None:
    for path, content in files.items():
        target = root / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content.encode() if isinstance(content, str) else content)


def seen(root: Path, **limits: int) -> list[str]:
    return [file.path for file in Workspace(root, limits=Limits(**limits)).snapshot().files]


def test_gitignore_of_the_root_excludes_files_and_directories(tmp_path: Path) -> None:
    write(tmp_path, **{".gitignore": "*.log\nbuild/\n/only.txt\n", "a.log": "x", "sub/b.log": "x", "build/out.py": "x"})
    write(tmp_path, **{"only.txt": "x", "sub/only.txt": "kept", "kept.py": "x"})
    assert seen(tmp_path) == [".gitignore", "kept.py", "sub/only.txt"]


def test_nested_gitignore_overrides_the_one_above_it(tmp_path: Path) -> None:
    write(tmp_path, **{".gitignore": "*.log\n", "sub/.gitignore": "!keep.log\nlocal.py\n", "sub/keep.log": "x"})
    write(tmp_path, **{"sub/other.log": "x", "sub/local.py": "x", "local.py": "x"})
    assert seen(tmp_path) == [".gitignore", "local.py", "sub/.gitignore", "sub/keep.log"]


def test_nothing_below_an_ignored_directory_comes_back(tmp_path: Path) -> None:
    write(tmp_path, **{".gitignore": "out/\n!out/kept.py\n", "out/kept.py": "x", "a.py": "x"})
    assert seen(tmp_path) == [".gitignore", "a.py"]


def test_gitignore_above_the_workspace_inside_one_repository_holds(tmp_path: Path) -> None:
    (tmp_path / ".git").mkdir()
    write(tmp_path, **{".gitignore": "*.log\n/pkg/made.py\n", "pkg/a.log": "x", "pkg/made.py": "x", "pkg/a.py": "x"})
    assert seen(tmp_path / "pkg") == ["a.py"]


def test_broken_gitignore_line_costs_only_itself(tmp_path: Path) -> None:
    write(tmp_path, **{".gitignore": b"!\n\xff\xfe\n*.log\n", "a.log": "x", "a.py": "x"})
    assert seen(tmp_path) == [".gitignore", "a.py"]


def test_secrets_are_never_listed(tmp_path: Path) -> None:
    write(
        tmp_path,
        **{".env": "K=1", ".env.local": "K=1", "deploy/id_rsa": "x", "tls/server.key": "x", ".ssh/config": "x"},
    )
    write(tmp_path, **{".env.example": "K=", "a.py": "x"})
    workspace = Workspace(tmp_path)
    assert [file.path for file in workspace.snapshot().files] == [".env.example", "a.py"]
    assert workspace.snapshot().excluded["secret"] == 5


@pytest.mark.parametrize(
    ("name", "secret"),
    [
        *((name, True) for name in (".env", ".env.production", "prod.env", "ID_RSA", "server.PEM")),
        *((name, False) for name in (".env.example", "environment.py", "keys.py", "id_ed25519.pub")),
    ],
)
def test_secret_files_are_known_by_name(name: str, secret: bool) -> None:
    assert is_secret(name) is secret


def test_dependency_folders_and_version_control_are_not_walked(tmp_path: Path) -> None:
    write(tmp_path, **{"node_modules/x/index.js": "x", ".git/config": "x", ".venv/lib/a.py": "x", "a.js": "x"})
    assert seen(tmp_path) == ["a.js"]


def test_binary_by_suffix_is_not_listed_and_by_content_is_not_read(tmp_path: Path) -> None:
    write(
        tmp_path, **{"logo.png": b"\x89PNG", "data": b"abc\0def", "noise.txt": bytes(range(128, 256)) * 20, "a.py": "x"}
    )
    workspace = Workspace(tmp_path)
    texts = {file.path: workspace.read(file) for file in workspace.snapshot().files}
    assert texts == {"a.py": "x", "data": None, "noise.txt": None}


def test_unicode_and_awkward_file_names_are_listed(tmp_path: Path) -> None:
    names = ["überblick ñ.md", "日本語/説明.md", "with\nnewline.txt", "-dash.py"]
    write(tmp_path, **dict.fromkeys(names, "text"))
    assert sorted(seen(tmp_path)) == sorted(names)


def test_file_name_that_is_no_unicode_is_listed_and_hashed(tmp_path: Path) -> None:
    (Path(os.fsdecode(os.fsencode(tmp_path) + b"/bad\xff.txt"))).write_text("text")
    snapshot = Workspace(tmp_path).snapshot()
    assert [file.size_bytes for file in snapshot.files] == [4]
    assert len(snapshot.state) == 64


def test_symlink_loop_and_links_out_of_the_workspace_are_not_followed(tmp_path: Path) -> None:
    inside, outside = tmp_path / "w", tmp_path / "outside"
    write(tmp_path, **{"w/a.py": "x", "outside/secret.txt": "s"})
    (inside / "loop").symlink_to(inside)
    (inside / "away").symlink_to(outside)
    (inside / "file").symlink_to(outside / "secret.txt")
    (inside / "broken").symlink_to(tmp_path / "nowhere")
    workspace = Workspace(inside)
    assert [file.path for file in workspace.snapshot().files] == ["a.py"]
    assert workspace.snapshot().excluded == {"link": 4}


def test_file_limit_keeps_the_shallow_files_and_says_so(tmp_path: Path) -> None:
    write(tmp_path, **{"deep/er/c.py": "x", "a.py": "x", "b.py": "x"})
    snapshot = Workspace(tmp_path, limits=Limits(max_files=2)).snapshot()
    assert [file.path for file in snapshot.files] == ["a.py", "b.py"]
    assert snapshot.is_cut


def test_byte_limit_leaves_out_what_does_not_fit_and_says_so(tmp_path: Path) -> None:
    write(tmp_path, **{"a.txt": "x" * 60, "b.txt": "x" * 60, "c.txt": "x" * 30})
    snapshot = Workspace(tmp_path, limits=Limits(max_bytes=100)).snapshot()
    assert [file.path for file in snapshot.files] == ["a.txt", "c.txt"]
    assert snapshot.is_cut
    assert snapshot.excluded == {"over_limit": 1}


def test_huge_file_is_listed_but_not_read(tmp_path: Path) -> None:
    write(tmp_path, **{"huge.txt": "x" * 2_000, "a.txt": "y"})
    workspace = Workspace(tmp_path, limits=Limits(max_file_bytes=1_000, max_bytes=1_500))
    texts = {file.path: workspace.read(file) for file in workspace.snapshot().files}
    assert texts == {"a.txt": "y", "huge.txt": None}


def test_depth_limit_says_that_the_list_is_cut(tmp_path: Path) -> None:
    write(tmp_path, **{"a/b/c/d.py": "x", "a/e.py": "x"})
    snapshot = Workspace(tmp_path, limits=Limits(max_depth=2)).snapshot()
    assert [file.path for file in snapshot.files] == ["a/e.py"]
    assert snapshot.is_cut


def test_directory_is_walked_once_until_the_walk_is_too_old(tmp_path: Path) -> None:
    clock = FakeClock()
    workspace = Workspace(tmp_path, limits=Limits(max_age_s=2.0), clock=clock)
    before = workspace.snapshot()
    write(tmp_path, **{"a.py": "x"})
    assert workspace.snapshot() is before
    clock.advance(2.1)
    after = workspace.snapshot()
    assert [file.path for file in after.files] == ["a.py"]
    assert after.state != before.state


def test_state_is_the_same_for_an_unchanged_directory(tmp_path: Path) -> None:
    write(tmp_path, **{"a.py": "x", "sub/b.py": "y"})
    assert Workspace(tmp_path).snapshot().state == Workspace(tmp_path).snapshot().state


def test_empty_workspace_has_no_files(tmp_path: Path) -> None:
    assert seen(tmp_path) == []


@pytest.mark.fault
def test_missing_workspace_is_a_source_error_that_names_it(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="nowhere"):
        Workspace(tmp_path / "nowhere").snapshot()


@pytest.mark.fault
def test_file_that_vanished_or_became_a_directory_reads_as_none(tmp_path: Path) -> None:
    write(tmp_path, **{"a.py": "x", "b.py": "y"})
    workspace = Workspace(tmp_path)
    gone, changed = workspace.snapshot().files
    (tmp_path / "a.py").unlink()
    (tmp_path / "b.py").unlink()
    (tmp_path / "b.py").mkdir()
    assert workspace.read(gone) is None
    assert workspace.read(changed) is None


@pytest.mark.fault
@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_unreadable_directory_is_counted_and_the_rest_is_seen(tmp_path: Path) -> None:
    write(tmp_path, **{"closed/a.py": "x", "b.py": "y"})
    (tmp_path / "closed").chmod(0)
    try:
        snapshot = Workspace(tmp_path).snapshot()
    finally:
        (tmp_path / "closed").chmod(0o755)
    assert [file.path for file in snapshot.files] == ["b.py"]
    assert snapshot.excluded == {"unreadable": 1}


def test_limits_must_be_positive() -> None:
    with pytest.raises(InvalidArgumentError, match="max_files"):
        Limits(max_files=0)
