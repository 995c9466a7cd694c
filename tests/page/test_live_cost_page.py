"""The live cost page in a real browser, on a real API, worker, Kafka and Elasticsearch, with the usage rows of the demo."""

from __future__ import annotations

import asyncio
import random
import re
import signal
import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from decimal import ROUND_HALF_UP, Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

import pytest
from axe_playwright_python.sync_playwright import Axe
from harness.api import Api, post
from playwright.sync_api import Page, Route, expect
from ratemill.cli.publish import publish_file
from ratemill.demo.derive import derive
from ratemill.demo.reconcile import offline_items, read_views
from ratemill.demo.rows import SOURCES, read_rows
from ratemill.local.stack import Stack
from ratemill.pricing.book import parse_price_book
from ratemill.pricing.money import use_exact_arithmetic
from ratemill.streams.config import load_config

pytestmark = pytest.mark.integration

MONTH = "2023-11"
LINE_ITEMS = 1_327  # of the demo's rows
FORM = re.compile(r"^-?[0-9]+(\.[0-9]+)?$")


class Job:
    """The demo's rows in a pipeline of this test."""

    def __init__(self, stack: Stack, folder: Path) -> None:
        use_exact_arithmetic()
        name = f"page{uuid.uuid4().hex[:8]}"
        self.settings = {
            "RATEMILL_KAFKA__BOOTSTRAP": stack.kafka, "RATEMILL_KAFKA__TOPIC_PREFIX": f"{name}.", "RATEMILL_KAFKA__PARTITIONS": "2",
            "RATEMILL_ELASTICSEARCH__URL": stack.elasticsearch, "RATEMILL_ELASTICSEARCH__INDEX_PREFIX": name,
            "RATEMILL_RATING__COMMIT_INTERVAL_S": "0.2", "RATEMILL_WORKER__DATA_DIR": str(folder / "worker"),
        }  # fmt: skip
        self.config = load_config(environment=self.settings)
        self.api = Api(folder, self.settings)
        text = derive(read_rows(), "USD").text
        self.book = parse_price_book(text, "prices.yaml")
        (folder / "prices.yaml").write_text(text)
        said = self.api.run("prices", "publish", "prices.yaml", "--author", "me", "--reason", "test")
        assert said.returncode == 0, said.stderr
        self._worker = self.api.beside("worker", folder / "worker.log")
        self.operator = self.api.token("costs:read", "events:write", "pipeline:read")
        self.reader = self.api.client(self.operator)

    def fill(self) -> None:
        """Send the rows, and wait until all of them show."""
        asyncio.run(self._publish())
        self.send("early", "0.5")  # so that the index of this month is there, too
        self.until(lambda: self._shown() >= LINE_ITEMS + 1)

    def send(self, account: str, quantity: str) -> None:
        """An event of now."""
        price = next(one for one in self.book.prices if one.unit == "GB-Mo")
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        data = {"sku": price.sku, "quantity": quantity, "unit": price.unit}
        event = {"specversion": "1.0", "id": uuid.uuid4().hex, "source": "s", "type": "usage", "subject": account, "time": now, "data": data}
        assert post(self.reader, [event]).status_code == 202

    async def _publish(self) -> None:
        for source in SOURCES:
            await publish_file(self.config, source.path, source.format, backfill="test")

    def _shown(self) -> int:
        answer = self.reader.get("/v1/costs", params={"by": ""})  # 503 while the shards of a new index do not answer yet
        return sum(total["line_items"] for total in answer.json().get("totals", ()))

    def costs(self, **parameters: str) -> dict[str, Any]:
        answer = self.reader.get("/v1/costs", params={"by": "", **parameters})
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found

    def until(self, what: Callable[[], Any], within_s: float = 90) -> None:
        deadline = time.monotonic() + within_s
        while not what():
            assert time.monotonic() < deadline, "not in time"
            time.sleep(0.2)

    def address(self, key: str = "", **state: str) -> str:
        """The page, with a key in the fragment (the operator's, if none is given)."""
        return f"{self.api.url}/?{urlencode(state)}#key={key or self.operator}"

    def close(self) -> None:
        self.reader.close()
        self._worker.send_signal(signal.SIGTERM)
        self.api.stop()
        assert self._worker.wait(30) == 0


@pytest.fixture(scope="module")
def job(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Job]:
    made = Job(stack, tmp_path_factory.mktemp("page"))
    try:
        made.fill()
        yield made
    finally:
        made.close()


@pytest.fixture
def shown(job: Job, open_page: Any) -> Iterator[Callable[..., Page]]:
    """Opens the page and waits until it is live. At the end of a test nothing may have gone wrong in it."""
    opened = []

    def made(key: str = "", *, state: dict[str, str] | None = None, **options: Any) -> Page:
        page, noted = open_page(**options)
        opened.append(noted)
        page.goto(job.address(key, **(state or {"period": "all"})))
        live(page)
        return page

    yield made
    for noted in opened:
        assert noted.said == []
        assert foreign(noted.asked, job.api.url) == []
        assert secrets(noted.asked) == []


def live(page: Page) -> None:
    expect(page.locator("#connection")).to_have_attribute("data-state", "live", timeout=30_000)  # it tries again after 10 s at the latest
    expect(page.locator("#table-body tr")).not_to_have_count(0)


def foreign(asked: list[str], own: str) -> list[str]:
    """Requests to anything but the API."""
    return [url for url in asked if urlsplit(url)[:2] != urlsplit(own)[:2]]


def secrets(asked: list[str]) -> list[str]:
    """Requests that have the key in their address, as far as it is sent."""
    return [url for url in asked if "rm_" in urlsplit(url)._replace(fragment="").geturl()]


def exact(page: Page, selector: str) -> list[str]:
    """The exact amounts of the page, in order."""
    found: list[str] = page.locator(selector).evaluate_all("all => all.map(one => one.value)")
    assert all(FORM.match(one) for one in found)
    return found


def rows(page: Page) -> dict[str, str]:
    """The table: name -> exact cost."""
    script = "rows => rows.map(row => [row.dataset.key, row.lastElementChild.querySelector('data').value])"
    return dict(page.locator("#table-body tr").evaluate_all(script))


def differences(job: Job, page: Page, by: str, **choice: str) -> list[str]:
    """What the page shows otherwise than the API says it."""
    costs = job.costs(by=by, **choice)
    said = {row["group"][by] or "": row["billed_cost"] for row in costs["rows"]}
    on_page = rows(page)
    found = [f"{name}: {on_page.get(name)} for {cost}" for name, cost in said.items() if on_page.get(name) != cost]
    found += [f"{name} is not there" for name in on_page.keys() - said.keys()]
    (total,) = costs["totals"]
    if exact(page, "#total data") != [total["billed_cost"]]:
        found.append("the total")
    if Fraction(exact(page, "#table-foot data")[0]) != Fraction(total["billed_cost"]):
        found.append("the sum of the table")
    if Fraction(sum(map(Fraction, exact(page, "#legend data")))) != Fraction(total["billed_cost"]):
        found.append("the sum of the legend")
    return found


def group_by(page: Page, by: str) -> None:
    """Choose a dimension as people do: by its label. (The radio button itself is one pixel, and what is drawn meanwhile may move it away.)"""
    page.locator(f"#by label:has(input[value={by}])").click()
    expect(page.locator(f"#by input[value={by}]")).to_be_checked()


# -- numbers -------------------------------------------------------------------------------------------------------------


def test_the_page_says_what_the_api_says(job: Job, shown: Any) -> None:
    page = shown()
    for by in ("provider", "service", "sku", "region", "account"):
        group_by(page, by)
        live(page)
        while page.locator("#more").is_visible():
            page.locator("#more").click()
        expect(page.locator("#legend li").first).to_be_visible()
        page.wait_for_function("by => document.querySelector('#chart-box').dataset.by === by", arg=by)
        assert differences(job, page, by) == [], by
        assert f"by={by}" in page.url or by == "provider"


def test_api_topic_elasticsearch_page_and_offline_are_one(job: Job, shown: Any) -> None:
    use_exact_arithmetic()
    page = shown(state={"period": MONTH, "by": "service"})
    offline, _ = offline_items(SOURCES, job.book, job.config.rating.window_s)
    with ThreadPoolExecutor() as threads:  # this one has the loop of Playwright
        views = threads.submit(asyncio.run, read_views(job.config)).result()
    assert views.rated == views.indexed

    def sums(items: list[dict[str, Any]]) -> dict[str, Fraction]:
        found: dict[str, Fraction] = {}
        for item in items:
            if item["BillingPeriodStart"].startswith(MONTH):
                found[item["ServiceName"]] = found.get(item["ServiceName"], Fraction()) + Fraction(item["BilledCost"])
        return found

    by_page = {name: Fraction(cost) for name, cost in rows(page).items()}
    assert by_page == sums(offline) == sums(views.items)
    assert len(by_page) > 5
    assert differences(job, page, "service", period=MONTH) == []
    expect(page.locator("#status")).to_have_text("Estimate")


def test_the_newest_month_is_shown_when_none_is_chosen(job: Job, shown: Any) -> None:
    months = sorted(row["period"] for row in job.costs(by="period")["periods"])
    page = shown(state={"by": "sku"})
    assert page.locator("#period").input_value() == months[-1] > MONTH
    assert page.locator("#period option").evaluate_all("all => all.map(one => one.value)") == [*reversed(months), "all"]
    assert exact(page, "#total data") == [job.costs(period=months[-1])["totals"][0]["billed_cost"]]
    page.locator("#period").select_option(MONTH)
    page.wait_for_function("() => document.querySelectorAll('#table-body tr').length > 50")
    assert exact(page, "#total data") == [job.costs(period=MONTH)["totals"][0]["billed_cost"]]
    assert f"period={MONTH}" in page.url


def test_an_altered_digit_is_seen(job: Job, open_page: Any) -> None:
    page, _ = open_page()
    page.route(re.compile(r"/v1/costs/stream"), lambda route: route.fulfill(status=404, body="{}"))

    def altered(route: Route) -> None:
        answer = route.fetch()
        text = re.sub(r'("billed_cost":"[0-9.]*)([0-9])"', lambda m: f'{m[1]}{(int(m[2]) + 1) % 10}"', answer.text(), count=1)
        route.fulfill(response=answer, body=text)

    page.route(re.compile(r"/v1/costs\?"), altered)
    page.goto(job.address(period="all"))
    live(page)
    page.wait_for_function("() => document.querySelector('#legend li')")
    assert [line for line in differences(job, page, "provider") if line.startswith("aws")]


def test_the_arithmetic_of_the_page_is_exact(shown: Any) -> None:
    page, draw = shown(), random.Random(6)

    def drawn() -> str:
        text = f"{draw.choice(['', '-'])}{draw.randrange(10 ** draw.randrange(1, 20))}"
        return text + (f".{draw.randrange(10**12):012d}"[: draw.randrange(2, 14)] if draw.random() < 0.8 else "")

    cases = [(drawn(), drawn()) for _ in range(500)] + [("0.1", "0.2"), ("0.00005", "0"), ("-0.00005", "0"), ("-0.00004", "0.00004")]
    script = """async (cases) => { const m = await import("/page/exact.js");
      return cases.map(([a, b]) => [m.add(a, b), m.subtract(a, b), m.round(a, 4), m.compare(a, b)]); }"""
    for (a, b), (added, difference, rounded, order) in zip(cases, page.evaluate(script, cases), strict=True):
        x, y = Fraction(a), Fraction(b)
        assert (Fraction(added), Fraction(difference), order) == (x + y, x - y, (x > y) - (x < y)), (a, b)
        assert rounded.removeprefix("-") == str(Decimal(a).quantize(Decimal("0.0001"), ROUND_HALF_UP)).removeprefix("-"), a


def test_a_new_event_shows_within_five_seconds(job: Job, shown: Any) -> None:
    page = shown()
    group_by(page, "account")
    live(page)
    before = exact(page, "#total data")
    job.send("newcomer", "1234567.25")
    job.until(lambda: [row for row in job.costs(by="account")["rows"] if row["group"]["account"] == "newcomer"])
    page.wait_for_function("() => document.querySelector('#table-body tr[data-key=newcomer]')", timeout=5_000)
    page.wait_for_function("before => document.querySelector('#total data').value !== before", arg=before[0], timeout=5_000)
    page.wait_for_function("() => document.querySelector('#rate').textContent.startsWith('+')")
    expect(page.locator("#rate-note")).to_contain_text("in the last")
    page.wait_for_function("name => document.querySelector('#legend').textContent.includes(name)", arg="newcomer")
    assert differences(job, page, "account") == []


# -- the table -----------------------------------------------------------------------------------------------------------


def test_searching_and_sorting(job: Job, shown: Any) -> None:
    page = shown(state={"period": MONTH, "by": "service"})
    costs = [Fraction(cost) for cost in rows(page).values()]
    assert costs == sorted(costs, reverse=True)
    page.get_by_role("button", name="Service", exact=True).click()
    expect(page.locator("#table-head th[data-id=name]")).to_have_attribute("aria-sort", "ascending")
    names = list(rows(page))
    assert names == sorted(names, key=str.lower) != list(reversed(names))
    assert "sort=name" in page.url
    page.get_by_role("searchbox").fill("simple storage")
    expect(page.locator("#table-body tr")).to_have_count(1)
    assert list(rows(page)) == ["Amazon Simple Storage Service"]
    expect(page.locator("#table-note")).to_contain_text("1 of 12")
    page.reload()
    expect(page.locator("#table-body tr")).to_have_count(1)  # the view stands in the address, the key in the session
    page.get_by_role("searchbox").fill("")
    assert len(rows(page)) == len(names)


def test_from_a_provider_to_the_explanation_by_keyboard_alone(job: Job, open_page: Any) -> None:
    page, noted = open_page()
    page.goto(f"{job.api.url}/?period={MONTH}")
    expect(page.locator("#key")).to_be_focused()
    page.keyboard.type(job.operator)
    page.keyboard.press("Enter")
    live(page)
    tab_to(page, "#table-body tr[data-key=aws] button")
    page.keyboard.press("Enter")
    expect(page.locator("#table-title")).to_have_text("aws")
    expect(page.locator("#table-title")).to_be_focused()
    expect(page.locator("#table-body tr")).not_to_have_count(0)
    said = {row["group"]["sku"]: row["billed_cost"] for row in job.costs(by="sku", provider="aws", period=MONTH)["rows"]}
    assert said.items() >= rows(page).items()
    sku = next(iter(rows(page)))
    tab_to(page, "#table-body tr:first-child button")
    page.keyboard.press("Enter")
    expect(page.locator("#table-title")).to_have_text(sku)
    expect(page.locator("#table-body tr")).not_to_have_count(0)
    found = job.reader.get("/v1/line-items", params={"sku": sku, "period": MONTH, "limit": 100}).json()["line_items"]
    assert rows(page) == {item["x_LineItemId"]: item["BilledCost"] for item in found[: len(rows(page))]}
    tab_to(page, "#table-body tr:first-child button")
    page.keyboard.press("Enter")
    expect(page.locator("#explanation-title")).to_be_focused()
    expect(page.locator("#explanation-body")).to_contain_text("Recomputed: equal", timeout=60_000)
    assert exact(page, "#explanation-body .big data") == [found[0]["BilledCost"]]
    expect(page.locator("#explanation-body")).to_contain_text("1 counted")
    page.keyboard.press("Escape")
    expect(page.locator("#explanation")).to_be_hidden()
    expect(page.locator("#table-body tr:first-child button")).to_be_focused()
    assert "item=" not in page.url
    page.go_back()  # into the line item, and out of all again
    expect(page.locator("#explanation")).to_be_visible()
    page.keyboard.press("Escape")
    assert noted.said == []


def tab_to(page: Page, selector: str) -> None:
    """Tab until an element has the focus."""
    for _ in range(60):
        page.keyboard.press("Tab")
        if page.locator(selector).first.evaluate("one => one === document.activeElement"):
            return
    pytest.fail(f"{selector} cannot be reached by keyboard")


def test_copying_takes_the_exact_amount(shown: Any) -> None:
    page = shown(state={"period": MONTH, "by": "service"})
    cost = exact(page, "#total data")[0]
    page.evaluate("""() => {
      document.getSelection().selectAllChildren(document.querySelector('#total data'));
      document.addEventListener('copy', (event) => { window.copied = event.clipboardData.getData('text/plain'); });
      document.execCommand('copy');
    }""")
    assert page.evaluate("window.copied") == cost
    assert page.locator("#total data").inner_text() != cost
    page.get_by_label("All digits").check()
    assert page.locator("#total data").inner_text() == cost


# -- for everybody -------------------------------------------------------------------------------------------------------


def violations(page: Page) -> list[str]:
    """What axe finds serious or critical."""
    found = Axe().run(page).response["violations"]
    return [f"{one['id']}: {node['target']}" for one in found if one["impact"] in ("serious", "critical") for node in one["nodes"]]


@pytest.mark.parametrize("dark", [False, True])
def test_axe_finds_nothing_serious(shown: Any, dark: bool) -> None:
    page = shown(dark=dark, state={"period": MONTH, "by": "service"})
    expect(page.locator("#pipeline-status")).to_have_text("Up to date")
    page.locator("#chart-details summary").click()
    assert violations(page) == []
    if not dark:
        page.locator("#theme").select_option("dark")
        assert violations(page) == []
    page.locator("#table-body button").first.click()
    expect(page.locator("#table-title")).not_to_have_text("Costs by service")
    live(page)
    page.locator("#table-body button").first.click()
    live(page)
    page.locator("#table-body button").first.click()
    expect(page.locator("#explanation-body .badge")).to_be_visible(timeout=60_000)
    assert violations(page) == []


def test_axe_sees_a_label_that_is_gone(shown: Any) -> None:
    page = shown()
    assert violations(page) == []
    page.evaluate("document.querySelector('#theme').closest('label').querySelector('span').remove()")
    assert violations(page) != []


def overflow(page: Page) -> int:
    found: int = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
    return found


def test_a_phone_never_scrolls_sideways(shown: Any) -> None:
    page = shown(width=360, height=740, state={"period": "all", "by": "sku"})
    expect(page.locator("#legend li").first).to_be_visible()
    assert overflow(page) == 0
    page.locator("#table-body button").first.click()
    live(page)
    assert overflow(page) == 0
    page.locator("#table-body button").first.click()
    expect(page.locator("#explanation-body .badge")).to_be_visible(timeout=60_000)
    assert overflow(page) == 0
    assert page.evaluate("() => { const body = document.querySelector('#explanation-body'); return body.scrollWidth - body.clientWidth; }") == 0
    page.evaluate("document.querySelector('#explanation').close(); document.querySelector('#total').style.width = '500px'")
    assert overflow(page) > 0  # and it would have been seen


# -- keys, errors, other people's pages ----------------------------------------------------------------------------------


def test_a_key_leaves_the_address_at_once_and_the_page_on_signing_out(job: Job, shown: Any) -> None:
    page = shown()
    assert "key" not in page.url
    assert page.evaluate("sessionStorage.length") == 1
    assert page.evaluate("localStorage.length") == 0
    page.get_by_role("button", name="Sign out").click()
    expect(page.locator("#key")).to_be_focused()
    assert page.evaluate("sessionStorage.length") == 0
    page.go_back()
    assert "rm_" not in page.url


def test_a_key_that_is_worth_nothing_is_told_calmly(job: Job, open_page: Any) -> None:
    page, _ = open_page()
    page.goto(job.address("rm_" + "a" * 12 + "_" + "x" * 43))
    expect(page.locator("#sign-in-error")).to_contain_text("the key is not valid")
    page.locator("#key").fill(job.api.token("events:write"))
    page.get_by_role("button", name="Show costs").click()
    expect(page.locator("#sign-in-error")).to_contain_text("lacks the scope costs:read")


def test_a_key_of_an_account_shows_that_account(job: Job, shown: Any) -> None:
    others = {row["group"]["account"] for row in job.costs(by="account")["rows"]}
    own = sorted(others)[0]
    others.remove(own)
    page = shown(job.api.token("costs:read", account=own), state={"period": "all", "by": "account", "account": sorted(others)[0]})
    expect(page.get_by_text(f"Account {own}")).to_be_visible()
    expect(page.locator("#account")).to_be_hidden()
    expect(page.locator("#pipeline")).to_be_hidden()  # the key may not read it
    assert exact(page, "#total data") == [job.costs(account=own)["totals"][0]["billed_cost"]]
    assert not [other for other in others if other in page.content()]


def test_nothing_there_says_what_to_do(shown: Any, job: Job, open_page: Any) -> None:
    page, noted = open_page()
    page.goto(job.address(period="all", account="nobody"))
    expect(page.locator("#table-empty")).to_contain_text("No costs for account nobody")
    expect(page.locator("#table-empty")).to_contain_text("ratemill publish")
    assert noted.said == []


def test_a_key_is_told_what_it_is_for(job: Job) -> None:
    with job.api.client(job.api.token("costs:read", "events:write", account="acme")) as client:
        told = client.get("/v1/me").json()
    assert (told["account"], told["scopes"], told["name"]) == ("acme", ["events:write", "costs:read"], "test")
    left = datetime.fromisoformat(told["expires_at"]) - datetime.now(UTC)
    assert 89 <= left.days <= 90  # what `tokens create` gives
    assert job.reader.get("/v1/me").json()["account"] is None
    with job.api.client() as nobody:
        assert nobody.get("/v1/me").status_code == 401


def test_the_page_is_locked_down(job: Job) -> None:
    with job.api.client() as client:
        answer = client.get("/")
        assert answer.headers["content-security-policy"].startswith("default-src 'self';")
        assert client.get("/page/main.js", headers={"if-none-match": client.get("/page/main.js").headers["etag"]}).status_code == 304
        assert client.get("/page/..%2Fapp.py").status_code == 404
        assert client.get("/page/chart.json").status_code == 404


def test_an_inline_script_does_not_run(shown: Any, job: Job, open_page: Any) -> None:
    page, noted = open_page()
    page.goto(job.api.url)
    page.evaluate("() => { const s = document.createElement('script'); s.textContent = 'window.ran = 1'; document.body.append(s); }")
    page.evaluate("() => { const s = document.createElement('img'); s.src = 'https://example.com/x.png'; document.body.append(s); }")
    page.wait_for_timeout(200)
    assert page.evaluate("window.ran") is None
    assert len([line for line in noted.said if "Content Security Policy" in line]) == 2
    assert foreign(["https://example.com/x.png", f"{job.api.url}/v1/me"], job.api.url) == ["https://example.com/x.png"]


def test_a_broken_connection_is_told_and_mended(job: Job, open_page: Any) -> None:
    page, _ = open_page()
    page.goto(job.address(period="all"))
    live(page)
    total = exact(page, "#total data")
    job.api.kill()
    expect(page.locator("#connection-text")).to_contain_text(re.compile(r"Not up to date since [0-9:]{8} UTC"))
    expect(page.locator("#notice")).to_contain_text("It is tried again")
    assert exact(page, "#total data") == total
    job.api.start()
    live(page)
    expect(page.locator("#notice")).to_be_hidden()
