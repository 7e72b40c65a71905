"""What the workspace sources answer."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from omninode.context.chunk import chunks
from omninode.context.lexical import LexicalIndex, tokenize
from omninode.context.offload import Halt, Offload
from omninode.context.source import SourceQuery
from omninode.context.sources.files import WorkspaceFiles
from omninode.context.sources.search import WorkspaceSearch
from omninode.context.sources.structure import WorkspaceStructure
from omninode.context.workspace import Limits, Workspace
from omninode.core.deadline import Deadline
from omninode.core.errors import DeadlineExceededError
from omninode.testing.clock import FakeClock

pytestmark = pytest.mark.unit


@pytest.fixture
def project(tmp_path: Path) -> Path:
    files = {
        "README.md": "# Shop\n\nA shop that sells lamps.\n",
        "src/shop/cart.py": "class ShoppingCart:\n    def add_lamp(self, lamp):\n        self.lamps.append(lamp)\n",
        "src/shop/payment_gateway.py": "def chargeCreditCard(amount):\n    raise PaymentRefused(amount)\n",
        "src/shop/main.py": "from shop.cart import ShoppingCart\n",
        "docs/refunds.md": "# Refunds\n\nMoney goes back within ten days.\n",
        "tests/test_cart.py": "def test_cart():\n    assert True\n",
    }
    for path, text in files.items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(text)
    return tmp_path


def ask(prompt: str, *queries: str, most: int = 5, deadline: Deadline | None = None) -> SourceQuery:
    return SourceQuery(prompt=prompt, queries=queries or (prompt,), max_results=most, deadline=deadline)


@pytest.mark.parametrize(
    ("prompt", "first"),
    [
        ("look at src/shop/main.py please", "src/shop/main.py"),
        ("look at shop/cart.py", "src/shop/cart.py"),
        ("what does cart.py do?", "src/shop/cart.py"),
        ("why does the payment gateway refuse?", "src/shop/payment_gateway.py"),
        ("explain PaymentGateway", "src/shop/payment_gateway.py"),
        ("how do refunds work", "docs/refunds.md"),
        ("fix the bug in src\\shop\\cart.py", "src/shop/cart.py"),
        ("read the README", "README.md"),
    ],
)
async def test_file_named_or_hinted_in_the_prompt_comes_first(project: Path, prompt: str, first: str) -> None:
    items = await WorkspaceFiles(project).fetch(ask(prompt))
    assert items[0].path == first
    assert items[0].content == (project / first).read_text()


async def test_prompt_that_hints_at_no_file_gets_none(project: Path) -> None:
    assert await WorkspaceFiles(project).fetch(ask("write a poem about winter")) == []


async def test_long_file_is_cut_at_a_line_and_says_so(tmp_path: Path) -> None:
    (tmp_path / "long.txt").write_text("0123456789\n" * 100)
    (item,) = await WorkspaceFiles(tmp_path, max_chars=100).fetch(ask("long.txt"))
    assert item.content == "\n".join(["0123456789"] * 9)
    assert item.metadata["is_cut"]


async def test_file_source_returns_no_more_than_asked(project: Path) -> None:
    items = await WorkspaceFiles(project).fetch(ask("cart.py main.py README.md refunds.md", most=2))
    assert len(items) == 2


async def test_search_finds_a_passage_by_the_parts_of_its_identifiers(project: Path) -> None:
    items = await WorkspaceSearch(project).fetch(ask("", "charging a credit card"))
    assert items[0].path == "src/shop/payment_gateway.py"
    assert (items[0].metadata["first_line"], items[0].metadata["last_line"]) == (1, 2)


async def test_search_answers_every_query(project: Path) -> None:
    items = await WorkspaceSearch(project).fetch(ask("", "money back", "lamps", most=1))
    assert {item.path for item in items} == {"docs/refunds.md", "src/shop/cart.py"}


async def test_search_without_a_known_word_finds_nothing(project: Path) -> None:
    assert await WorkspaceSearch(project).fetch(ask("", "zxqv")) == []


async def test_search_takes_at_most_two_passages_of_one_file(tmp_path: Path) -> None:
    (tmp_path / "big.py").write_text("def lamp():\n    pass\n\n\n" * 200)
    (tmp_path / "small.py").write_text("lamp = 1\n")
    items = await WorkspaceSearch(tmp_path).fetch(ask("", "lamp", most=5))
    assert sorted(item.path or "" for item in items) == ["big.py", "big.py", "small.py"]


async def test_search_sees_a_changed_file_and_reads_only_that_one(project: Path) -> None:
    workspace = ReadingWorkspace(project, limits=Limits(max_age_s=0.0))
    source = WorkspaceSearch(workspace)
    await source.fetch(ask("", "lamp"))
    workspace.paths.clear()
    await source.fetch(ask("", "lamp"))
    assert workspace.paths == []
    (project / "docs/refunds.md").write_text("# Chandeliers\n")
    items = await source.fetch(ask("", "chandelier"))
    assert [item.path for item in items] == ["docs/refunds.md"]
    assert workspace.paths == ["docs/refunds.md"]


async def test_search_with_little_time_answers_from_what_was_read_and_goes_on_later(project: Path) -> None:
    clock = StepClock(step=1.0)
    source = WorkspaceSearch(Workspace(project, limits=Limits(max_age_s=0.0)))
    early = await source.fetch(ask("", "shop lamp cart", deadline=Deadline.after(22.0, clock=clock)))
    assert early
    assert all(item.metadata["is_cut"] for item in early)
    late = await source.fetch(ask("", "refunds money"))
    assert [item.path for item in late] == ["docs/refunds.md"]
    assert not late[0].metadata["is_cut"]


async def test_search_of_a_part_serves_the_other_queries_of_the_same_gathering(project: Path) -> None:
    clock = FakeClock()
    workspace = ReadingWorkspace(project, clock=clock)
    source = WorkspaceSearch(workspace)
    await source.fetch(ask("", "shop lamp cart", deadline=Deadline.after(22.0, clock=StepClock(step=1.0))))
    read = list(workspace.paths)
    assert (await source.fetch(ask("", "shop")))[0].metadata["is_cut"]
    assert workspace.paths == read
    clock.advance(3.0)
    assert not (await source.fetch(ask("", "shop")))[0].metadata["is_cut"]
    assert len(workspace.paths) == 6


async def test_files_made_by_tools_are_not_searched(tmp_path: Path) -> None:
    for name in ("poetry.lock", "package-lock.json", "app.min.js", "lamp.py"):
        (tmp_path / name).write_text("lamp lamp lamp")
    items = await WorkspaceSearch(tmp_path).fetch(ask("", "lamp"))
    assert [item.path for item in items] == ["lamp.py"]


async def test_structure_tells_size_languages_entry_points_and_tree(project: Path) -> None:
    (item,) = await WorkspaceStructure(project).fetch(ask("anything"))
    assert item.content.startswith("6 files, ")
    assert "Languages: Python 4 files" in item.content
    assert "Entry points and manifests: src/shop/main.py." in item.content
    assert "\n    shop/\n      cart.py " in item.content


async def test_structure_of_a_large_workspace_stays_short(tmp_path: Path) -> None:
    for directory in range(20):
        (tmp_path / f"d{directory}").mkdir()
        for number in range(30):
            (tmp_path / f"d{directory}" / f"f{number}.py").write_text("x")
    (item,) = await WorkspaceStructure(tmp_path, max_lines=40).fetch(ask("anything"))
    assert "d0/ (30 files)" in item.content
    assert item.content.count("\n") < 50


async def test_empty_workspace_gives_nothing_from_any_source(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    for source in (WorkspaceFiles(workspace), WorkspaceSearch(workspace), WorkspaceStructure(workspace)):
        assert await source.fetch(ask("anything")) == []


async def test_sources_never_change_the_workspace(project: Path) -> None:
    def state() -> dict[str, tuple[int, bytes]]:
        return {
            str(path): (path.stat().st_mtime_ns, path.read_bytes()) for path in project.rglob("*") if path.is_file()
        }

    before = state()
    workspace = Workspace(project)
    for source in (WorkspaceFiles(workspace), WorkspaceSearch(workspace), WorkspaceStructure(workspace)):
        await source.fetch(ask("cart.py lamps"))
    assert state() == before


async def test_three_sources_share_one_walk(project: Path) -> None:
    workspace = Workspace(project, limits=Limits(max_age_s=60.0))
    await WorkspaceFiles(workspace).fetch(ask("cart.py"))
    (project / "new.py").write_text("lamp")
    items = await WorkspaceSearch(workspace).fetch(ask("", "lamp"))
    assert "new.py" not in {item.path for item in items}


def test_tokens_of_identifiers_are_their_parts_and_the_whole() -> None:
    assert tokenize("HTTPServer") == ["http", "server", "httpserver"]
    assert tokenize("snake_case_name") == ["snak", "case", "name"]
    assert tokenize("parseUTF8Text") == ["pars", "utf", "8", "text", "parseutf8text"]


def test_word_forms_meet_in_one_token() -> None:
    assert tokenize("indexes indexing indexed index") == ["index"] * 4
    assert tokenize("retry retries retried") == ["retri"] * 3


def test_chinese_and_japanese_become_pairs() -> None:
    assert tokenize("検索機能") == ["検索", "索機", "機能"]


def test_index_of_nothing_finds_nothing() -> None:
    assert LexicalIndex([]).search("word", limit=3) == []
    assert LexicalIndex([[], []]).search("word", limit=3) == []


def test_index_ranks_the_rarer_word_higher_and_leaves_out_what_shares_none() -> None:
    texts = [tokenize(text) for text in ("lamp shop", "lamp lantern", "lamp", "chair")]
    hits = LexicalIndex(texts).search("lamp lantern", limit=10)
    assert hits[0].position == 1
    assert {hit.position for hit in hits} == {0, 1, 2}


def test_chunks_cover_every_line_in_order_and_begin_at_definitions() -> None:
    text = "\n".join(f"def f{n}():\n    return {n}\n" for n in range(60))
    pieces = list(chunks(text, max_lines=30))
    assert [piece.first for piece in pieces[1:]] == [piece.last + 1 for piece in pieces[:-1]]
    assert all(piece.text.startswith("def ") for piece in pieces)
    assert (pieces[0].first, pieces[-1].last) == (1, len(text.splitlines()))


def test_chunk_of_one_endless_line_is_cut() -> None:
    (piece,) = chunks("x" * 10_000, max_chars=500)
    assert len(piece.text) == 500


async def test_loop_goes_on_while_a_source_works_on_its_thread() -> None:
    began, may_end = asyncio.Event(), []
    loop = asyncio.get_running_loop()
    offload = Offload(threads=1)

    def work(halt: Halt) -> str:
        loop.call_soon_threadsafe(began.set)
        while not may_end:
            assert not halt.is_due
        return "done"

    running = asyncio.ensure_future(offload.run(work))
    await began.wait()
    may_end.append(True)
    assert await running == "done"
    offload.close()
    offload.close()


async def test_cancelled_wait_halts_the_work_on_the_thread() -> None:
    began, halted = asyncio.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()
    offload = Offload(threads=1)

    def work(halt: Halt) -> None:
        loop.call_soon_threadsafe(began.set)
        while not halt.is_due:
            pass
        loop.call_soon_threadsafe(halted.set)

    running = asyncio.ensure_future(offload.run(work))
    await began.wait()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    await halted.wait()
    offload.close()


def test_halt_past_its_deadline_stops_the_work() -> None:
    with pytest.raises(DeadlineExceededError, match="indexing"):
        Halt(Deadline.after(0)).check("indexing")


class ReadingWorkspace(Workspace):
    """Lists what was read."""

    paths: list[str]

    def __init__(self, root: Path, **settings) -> None:
        super().__init__(root, **settings)
        self.paths = []

    def read(self, file):
        self.paths.append(file.path)
        return super().read(file)


class StepClock:
    """A clock that moves on each time it is read."""

    def __init__(self, *, step: float) -> None:
        self._time, self._step = 0.0, step

    def monotonic(self) -> float:
        self._time += self._step
        return self._time
