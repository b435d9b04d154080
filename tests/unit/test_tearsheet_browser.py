"""The tearsheet in headless Chromium: opened from a file, without the network, filtered, ordered, turned."""

from __future__ import annotations

import html
import json
import re
import shutil
import socketserver
import subprocess
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import pytest
from report_inputs import Run
from tearsheet_inputs import ATTACK, HOURS, LONG, Page, finished, made

from common.files import read_jsonl
from trading.tables import read_equity

Row = tuple[str, str, float, str, str]  # decision, status, dollars earned, text, id

# Name in the address, what is expected to remain of (decision, status, earned, text).
FILTERS: dict[str, Callable[[Row], bool]] = {
    "decision=": lambda row: True,
    "decision=BUY&gain=loss": lambda row: row[0] == "BUY" and row[2] < 0,
    "decision=SELL&gain=gain": lambda row: row[0] == "SELL" and row[2] > 0,
    "status=truncated": lambda row: row[1] == "truncated",
    "gain=none": lambda row: row[2] == 0,
    "text=%3CIMG+src%3Dx": lambda row: "<img src=x" in row[3],
    "text=no+such+words": lambda row: False,
    "decision=nonsense&rows=all": lambda row: True,
}
ORDERS: dict[str, Callable[[Row], Any]] = {
    "sort=gain": lambda row: (-row[2], row[4]),
    "sort=loss": lambda row: (row[2], row[4]),
}
# Goes to each address in turn and leaves what the page then shows in its title, as JSON.
VISIT = """
const visits = ADDRESSES, found = [];
const next = () => {
  if (found.length === visits.length) { document.title = JSON.stringify(found); return; }
  addEventListener("hashchange", () => setTimeout(() => {
    const rows = [...document.querySelectorAll("#decision-rows th small")];
    found.push([document.getElementById("count").textContent, rows.map((row) => row.textContent)]);
    next();
  }), { once: true });
  location.hash = visits[found.length];
};
next();
"""
CONTROLS = """
const form = document.getElementById("filter");
const choose = (name, value) => {
  form.elements[name].value = value;
  form.elements[name].dispatchEvent(new Event("input", { bubbles: true }));
};
choose("decision", "SELL");
choose("rows", "25");
document.querySelector('[data-step="next"]').click();
const list = () => [...document.querySelectorAll("#decision-rows th small")].map((small) => small.textContent);
const shown = () => [location.hash, list()];
const before = shown();
form.reset();
setTimeout(() => { document.title = JSON.stringify([before, shown()]); }, 100);
"""


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Not to be changed by a test."""
    return finished(tmp_path_factory.mktemp("run"), {3: ATTACK, 5: LONG})


@pytest.fixture(scope="module")
def text(run: Run) -> str:
    return made(run)


@dataclass
class Proxy:
    """Notes what a browser asks for that reaches the network; answers nothing."""

    asked: list[str] = field(default_factory=list)
    # What Chromium itself looks for when it starts.
    own: ClassVar = re.compile(r"google|gvt1|gstatic|chrom")

    def serve(self) -> socketserver.ThreadingTCPServer:
        asked, own = self.asked, self.own

        class Handler(socketserver.StreamRequestHandler):
            def handle(self) -> None:
                line = self.rfile.readline().decode("latin-1").strip()
                if line and not own.search(line):
                    asked.append(line)

        server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler)
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()
        return server


@dataclass(frozen=True)
class Opened:
    """What became of a page: its elements, what the console says, what was asked of the network."""

    dom: Page
    console: list[str]
    asked: list[str]

    @property
    def rows(self) -> list[str]:
        """Identifiers in the list of decisions, as shown."""
        return [data for path, data in self.dom.texts if path.endswith("/tr/th/small")]

    @property
    def count(self) -> str:
        return next(data for _, data in self.dom.texts if re.match(r"(Rows|None of) \d", data))


@pytest.fixture(scope="module")
def browser() -> str:
    for name in ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable"):
        if found := shutil.which(name):
            return found
    pytest.skip("no chromium, chromium-browser or google-chrome on PATH")


@pytest.fixture(scope="module")
def profile(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("profile")


@pytest.fixture
def proxy() -> Iterator[tuple[Proxy, int]]:
    notes = Proxy()
    server = notes.serve()
    yield notes, server.server_address[1]
    server.shutdown()
    server.server_close()


@pytest.fixture
def opened(browser: str, proxy: tuple[Proxy, int], profile: Path, tmp_path: Path) -> Any:
    """A function that opens a page from a file and waits until it stands still."""
    notes, port = proxy

    def open_page(text: str, address: str = "", *more: str) -> Opened:
        file = tmp_path / "tearsheet.html"
        file.write_text(text, encoding="utf-8")
        notes.asked.clear()
        result = subprocess.run(
            [
                *(browser, "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"),
                *("--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"),
                *("--disable-extensions", f"--user-data-dir={profile}", "--enable-logging=stderr"),
                *(f"--proxy-server=127.0.0.1:{port}", "--proxy-bypass-list=<-loopback>"),
                *("--virtual-time-budget=3000", *more, "--dump-dom", f"{file.as_uri()}#{address}"),
            ],
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert result.returncode == 0, result.stderr
        console = [line for line in result.stderr.splitlines() if "CONSOLE" in line]
        return Opened(Page(result.stdout), console, list(notes.asked))

    return open_page


def without_policy(text: str) -> str:
    """A page that may do everything."""
    return re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", text)


def driven(text: str, script: str) -> str:
    """A page in which `script` runs after its own, which the policy would not allow."""
    return without_policy(text).replace("</body>", f"<script>{script}</script></body>")


def table(run: Run) -> list[Row]:
    """All decisions in time order, from the files that the page is made of."""
    rows = read_jsonl(run.folder / "infer/trained/decisions.jsonl")
    earned = read_equity(run.folder / "leverage-2/equity.csv").books["trained"].pnl[1:]
    return [(r["decision"], r["status"], float(e), r["text"], r["id"]) for r, e in zip(rows, earned, strict=True)]


def says(rows: list[Row]) -> str:
    """What stands above a list of `rows`, without which of them are shown."""
    if not rows:
        return f"None of {HOURS} decisions."
    total = round(sum(row[2] for row in rows))
    sign = "" if total == 0 else "+" if total > 0 else "\N{MINUS SIGN}"
    earned = f"earned {sign}${abs(total):,} together."
    return f"of {len(rows)}, out of {HOURS} decisions. Those {len(rows)} {earned}"


def test_it_opens_without_a_complaint_without_the_network_and_runs_nothing_planted(text: str, opened: Any) -> None:
    found = opened(text)
    assert found.console == []
    assert found.asked == []
    assert "executed" not in found.dom.text("title")
    assert ATTACK in found.dom.text("td")
    assert len(found.rows) == 50
    assert found.count.startswith(f"Rows 1 to 50 of {HOURS}, out of {HOURS} decisions.")


def test_complaints_and_requests_would_be_seen(text: str, opened: Any) -> None:
    # The control of the test above, and what the policy is good for.
    worse = text.replace("</main>", '<img src="http://elsewhere.example/a.png"><script>no_such()</script></main>')
    allowed = opened(without_policy(worse))
    assert any("elsewhere.example" in line for line in allowed.asked)
    assert any("no_such is not defined" in line for line in allowed.console)
    held = opened(worse)
    assert held.asked == []
    assert sum("Content Security Policy" in line for line in held.console) == 2


def test_planted_markup_would_run_but_for_escaping_and_policy(text: str, opened: Any) -> None:
    # The other control: without both it runs; the policy alone holds it back.
    bare = text.replace(html.escape(ATTACK), "<img src=x onerror=\"document.title = 'executed'\">")
    assert "executed" in opened(without_policy(bare)).dom.text("title")
    assert "executed" not in opened(bare).dom.text("title")


def test_a_link_to_a_filter_opens_the_decisions_that_it_names(run: Run, text: str, opened: Any) -> None:
    address = "decision=BUY&gain=loss"
    expected = [row for row in table(run) if FILTERS[address](row)]
    found = opened(text, address)
    assert found.console == []
    assert found.rows == [row[4] for row in expected][:50]
    assert found.count.endswith(says(expected))


def test_every_filter_and_order_shows_what_it_names(run: Run, text: str, opened: Any) -> None:
    visits = [*FILTERS, *(f"{order}&rows=25&page=2" for order in ORDERS)]
    result = opened(driven(text, VISIT.replace("ADDRESSES", json.dumps(visits))))
    found = dict(zip(visits, json.loads(result.dom.text("title")), strict=True))
    rows = table(run)
    for address, keeps in FILTERS.items():
        expected = [row for row in rows if keeps(row)]
        limit = HOURS if "rows=all" in address else 50
        assert found[address][0].endswith(says(expected)), address
        assert found[address][1] == [row[4] for row in expected][:limit], address
    for order, key in ORDERS.items():
        assert found[f"{order}&rows=25&page=2"][1] == [row[4] for row in sorted(rows, key=key)][25:50], order


def test_controls_filter_turn_pages_and_keep_the_address(run: Run, text: str, opened: Any) -> None:
    before, after = json.loads(opened(driven(text, CONTROLS)).dom.text("title"))
    sells = [row[4] for row in table(run) if row[0] == "SELL"]
    assert before == ["#decision=SELL&rows=25&page=2", sells[25:50]]
    assert after == ["#decisions", [row[4] for row in table(run)][:50]]


def test_without_javascript_everything_is_there_but_the_filter(run: Run, text: str, opened: Any) -> None:
    still, count = re.subn(r"script-src &#x27;sha256-.*?&#x27;", "script-src &#x27;none&#x27;", text)
    assert count == 1
    found = opened(still)
    assert found.rows == [row[4] for row in table(run)]
    assert "hidden" in next(given for tag, given in found.dom.elements if tag == "form")
    assert "<noscript><p>Filter, sorting and paging need JavaScript." in text
