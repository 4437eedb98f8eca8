"""The operators' page in headless Chromium, on the real station: what it shows is true, and it says when it is not."""

from __future__ import annotations

import itertools
import re
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from selenium.webdriver import Chrome, ChromeOptions
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.keys import Keys
from web_rig import Rig, running, until

from edge_inspector.web.tokens import Role

pytestmark = pytest.mark.system
FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--hide-scrollbars",
    "--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage",
)  # fmt: skip
STATIC = Path(__file__).parents[2] / "edge_inspector" / "web" / "static"
WORDS = {1: "OK", 2: "NOT OK"}
SHOWN = """
const text = (id) => document.getElementById(id).textContent;
const shot = document.getElementById("shot");
return {
  word: text("word"), color: document.getElementById("verdict").dataset.word, part: text("part"), why: text("why"),
  state: text("state"), link: document.body.dataset.link, notice: text("notice-text"),
  ok: text("count-ok"), not_ok: text("count-not-ok"),
  picture: shot.hidden ? null : [shot.dataset.id, shot.naturalWidth],
  rejects: [...document.querySelectorAll("#reject-list img")].map((one) => one.naturalWidth),
};
"""


class Page:
    """One browser window."""

    def __init__(self, browser: Chrome) -> None:
        self.browser = browser

    def open(self, rig: Rig, role: Role | None = "engineer") -> None:
        """A new visit; signed in, unless `role` is None."""
        self.browser.execute_cdp_cmd("Network.clearBrowserCookies", {})
        self.complaints()
        self.browser.get(rig.url)
        until("the page asks who we are", lambda: self.browser.find_element("id", "token").is_displayed())
        if role is not None:
            self.sign_in(rig.tokens[role])
            until("the page is up to date", lambda: self.shown()["link"] == "fresh")

    def sign_in(self, secret: str) -> None:
        field = self.browser.find_element("id", "token")
        field.clear()
        field.send_keys(secret, Keys.ENTER)

    def shown(self) -> dict[str, Any]:
        found: dict[str, Any] = self.browser.execute_script(SHOWN)
        return found

    def shows(self, **wanted: object) -> None:
        until(f"the page shows {wanted}", lambda: wanted.items() <= self.shown().items(), lambda: str(self.shown()))

    def complaints(self) -> list[str]:
        """What the browser has noted since the last time."""
        return [entry["message"] for entry in self.browser.get_log("browser")]  # type: ignore[no-untyped-call]

    def size(self, width: int, height: int) -> None:
        metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        self.browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    options = ChromeOptions()
    for flag in (*FLAGS, f"--user-data-dir={tmp_path_factory.mktemp('chromium')}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    browser = Chrome(options=options, service=Service("/usr/bin/chromedriver"))
    made = Page(browser)
    made.size(1280, 800)
    yield made
    browser.quit()


def test_it_shows_each_verdict_as_the_ledger_has_it_with_its_own_picture(rig: Rig, page: Page) -> None:
    page.open(rig)
    seen: set[str] = set()
    pictures: set[str] = set()

    def looked() -> bool:
        now = page.shown()
        if now["part"].isdigit():
            query = "SELECT evaluation FROM results WHERE seq = ?"
            assert now["word"] == WORDS[rig.rows(query, int(now["part"]))[0][0]], now
            assert now["color"] == now["word"].replace(" ", "_")
            seen.add(now["word"])
            if now["picture"]:
                (seq,) = rig.rows("SELECT seq FROM images WHERE id = ?", int(now["picture"][0]))[0]
                assert seq == int(now["part"])
                assert now["picture"][1] > 0
                pictures.add(now["picture"][0])
        return seen == {"OK", "NOT OK"} and len(pictures) > 1 and len(now["rejects"]) == 6 and all(now["rejects"])

    until("both verdicts, two pictures, six rejects", looked, lambda: str(page.shown()))
    now = page.shown()
    booked = dict(
        rig.rows("SELECT evaluation, count(*) FROM results JOIN triggers USING (seq) WHERE mode = 1 GROUP BY 1")
    )
    assert 0 < int(now["ok"]) <= booked[1]
    assert 0 < int(now["not_ok"]) <= booked[2]
    assert now["state"] in ("ready", "inspecting")
    assert [
        one for one in page.complaints() if "401" not in one
    ] == []  # the page's own policy would complain here, too


def test_a_wrong_token_shows_why_and_nothing_else(rig: Rig, page: Page) -> None:
    page.open(rig, role=None)
    page.sign_in("ei_wrong")
    error = page.browser.find_element("id", "sign-in-error")
    until("it says why", lambda: "wrong" in error.text)
    assert page.shown()["part"] == "—"
    assert not page.browser.get_cookies()


def test_an_operator_says_of_a_reject_what_the_part_was(rig: Rig, page: Page) -> None:
    find = page.browser.find_element
    page.open(rig, "operator")
    until("a reject", lambda: page.browser.find_elements("css selector", "#reject-list button"))
    page.browser.execute_script("document.querySelector('#reject-list button').click()")
    until("the details", find("id", "details").is_displayed)
    result_id = find("id", "details").get_attribute("data-id")
    find("id", "was-bad").click()
    until("it is written down", lambda: find("id", "details-said").text == "Written down: this part is bad.")
    query = "SELECT good FROM feedback JOIN triggers USING (trigger_seq) WHERE result_id = ?"
    until("it is booked", lambda: rig.rows(query, result_id) == [(0,)])
    page.open(rig, "reader")
    until("a reject", lambda: page.browser.find_elements("css selector", "#reject-list button"))
    page.browser.execute_script("document.querySelector('#reject-list button').click()")
    until("the details", find("id", "details").is_displayed)
    assert not find("id", "was-bad").is_displayed(), "a reader may not"


def test_a_reject_opens_and_closes_by_the_keyboard_alone(rig: Rig, page: Page) -> None:
    page.open(rig, "reader")
    until("a reject", lambda: page.browser.find_elements("css selector", "#reject-list button"))
    assert not page.browser.find_element("id", "setup").is_displayed()  # a reader may not
    page.browser.execute_script("document.querySelector('#reject-list button').focus()")
    page.browser.switch_to.active_element.send_keys(Keys.ENTER)
    details = page.browser.find_element("id", "details")
    until("the details", details.is_displayed)
    assert re.match(r"NOT OK – part \d+", details.find_element("tag name", "h2").text)
    until("its picture", lambda: details.find_element("tag name", "img").get_property("naturalWidth"))
    page.browser.switch_to.active_element.send_keys(Keys.ESCAPE)
    until("closed", lambda: not details.is_displayed())


@pytest.mark.parametrize("size", [(1024, 600), (1280, 800), (1920, 1080)])
def test_everything_is_on_one_screen_and_large_enough_for_two_metres(
    rig: Rig, page: Page, size: tuple[int, int]
) -> None:
    page.size(*size)
    try:
        page.open(rig)
        page.shows(word="NOT OK")
        until("a picture", lambda: page.shown()["picture"])
        layout = page.browser.execute_script(
            """
            const box = (one) => one.getBoundingClientRect().toJSON();
            const parts = ["verdict", "picture", "counts", "rejects"].map((id) => box(document.getElementById(id)));
            const word = document.getElementById("word");
            return { parts, whole: [document.documentElement.scrollWidth, document.documentElement.scrollHeight],
              word: box(word), px: parseFloat(getComputedStyle(word).fontSize),
              cut: [...document.querySelectorAll("#verdict, #counts, header")]
                .filter((one) => one.scrollWidth > one.clientWidth + 1 || one.scrollHeight > one.clientHeight + 1)
                .map((one) => one.id) };
            """
        )
        assert layout["whole"] == list(size)
        assert layout["cut"] == []
        assert layout["px"] >= size[0] * 0.07  # a capital of about 15 mm on a 10-inch panel
        assert layout["word"]["right"] <= layout["parts"][0]["right"]
        for i, one in enumerate(layout["parts"]):
            assert one["height"] > 60
            for other in layout["parts"][i + 1 :]:
                apart = one["right"] <= other["left"] or one["bottom"] <= other["top"]
                assert apart or other["right"] <= one["left"] or other["bottom"] <= one["top"]
    finally:
        page.size(1280, 800)


def test_if_the_program_of_the_page_dies_its_last_verdict_is_covered(rig: Rig, page: Page) -> None:
    page.open(rig)
    cover = "const cover = document.getElementById('stale'); const [watch] = cover.getAnimations();"
    ages: list[float] = []

    def sent_back() -> bool:
        ages.append(page.browser.execute_script(f"{cover} return watch.currentTime"))
        return any(later < earlier for earlier, later in itertools.pairwise(ages))

    until("the cover is put off by a heartbeat", sent_back)
    assert max(ages) < 8000
    covered = f"{cover} watch.currentTime = 8002; return [getComputedStyle(cover).opacity, cover.textContent]"
    assert page.browser.execute_script(covered) == ["1", "STALE"]


def test_setup_shows_focus_and_exposure_of_a_live_picture(rig: Rig, page: Page) -> None:
    page.open(rig)
    button = page.browser.find_element("id", "setup")
    until("an engineer may", button.is_displayed)
    button.send_keys(Keys.ENTER)
    try:
        shot = page.browser.find_element("id", "live-shot")
        until("a live picture", lambda: shot.is_displayed() and shot.get_property("naturalWidth") == 96)
        assert page.shown()["state"] == "Setup"
        bars = """
            return ["sharpness", "mean"].map((name) => {
              const part = (one) => document.querySelector(`#gauge-${name} ${one}`);
              return [part(".value").textContent, parseFloat(part(".level").style.width),
                parseFloat(part(".peak").style.left)];
            });
        """
        until("both bars", lambda: all(level > 0 for _, level, _ in page.browser.execute_script(bars)))
        for value, level, peak in page.browser.execute_script(bars):
            assert re.match(r"\d", value)
            assert 0 < level <= peak <= 100
    finally:
        page.browser.find_element("id", "leave").click()
    page.shows(state="ready")


@pytest.mark.heavy
def test_what_is_old_is_never_shown_as_current(tmp_path: Path, page: Page) -> None:
    with running(tmp_path / "station", results=2) as rig:
        page.open(rig)
        page.shows(word="OK", color="OK")
        assert rig.station.process is not None
        rig.station.process.send_signal(signal.SIGKILL)
        page.shows(link="away", word="STATION AWAY", color="none", state="station away")
        assert "no part is inspected" in page.shown()["notice"]
        rig.station.process.wait()
        page.browser.refresh()
        page.shows(link="away", word="STATION AWAY")
        until(
            "pictures are said to be away, too",
            lambda: page.browser.find_element("id", "no-shot").text == "No pictures while the station is away",
        )
        rig.station.start()
        page.shows(link="fresh", word="NOT OK")
        assert rig.web is not None
        rig.web.send_signal(signal.SIGSTOP)  # it hangs: no connection breaks
        page.shows(link="lost", word="STALE", color="none", state="no connection")
        rig.web.send_signal(signal.SIGCONT)
        page.shows(link="fresh")
        rig.web.kill()
        rig.web.wait()
        page.shows(link="lost", word="STALE", color="none")
        rig.start_web()
        page.shows(link="fresh", word="OK")  # by itself: nobody goes through the hall to reload pages


def test_text_of_strangers_never_becomes_markup() -> None:
    """part_id comes from a scanner: whatever stands on a label."""
    for name in ("page.js", "live.js"):
        program = (STATIC / name).read_text()
        assert "textContent" in program
        for door in (
            "innerHTML",
            "outerHTML",
            "insertAdjacentHTML",
            "document.write",
            "eval(",
            "new Function",
            "srcdoc",
        ):
            assert door not in program, (name, door)
