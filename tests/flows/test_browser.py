"""The page in a real browser: headless Chromium of the system, driven by Playwright; and what axe-core finds."""

import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from cli.serve.tokens import add_token
from flows.jobs import DiscoverJob
from flows.register import dataset_record, model_record
from flows.server.server import stop_server
from flows.start import run_here
from loco.recipes import DiscoverRecipe
from loco.zoo.folder import write_scenes
from registry.home import Home
from registry.registry import Registry

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

playwright = pytest.importorskip("playwright.sync_api", reason="the extra `dev` brings playwright")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
ROOT = Path(__file__).parents[2]
SIZES = ({"width": 1920, "height": 1080}, {"width": 390, "height": 844})


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """Eight faces with masks, and the directions of two of them."""
    home = Home(tmp_path_factory.mktemp("page") / "home")
    folder = home.root / "demo" / "faces"
    for _ in write_scenes(folder, 7, 8, 32, ("mouth", "hair")):
        pass
    registry = Registry(home)
    registry.add_model(model_record("faces", "zoo:faces32"))
    registry.add_dataset(dataset_record("faces", folder))
    recipe = DiscoverRecipe(t=0.4, steps=5, rank=2)
    assert run_here(home, None, DiscoverJob("faces", "faces", ("mouth", "hair"), recipe, 2)).status == "done"
    return home


@pytest.fixture(scope="module")
def address(home):
    """The page's address with its token; the server is stopped at the end."""
    words = [sys.executable, "-m", "cli.main", "--home", str(home.root), "--json", "serve", "--port", "0"]
    with subprocess.Popen(
        words, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        told = json.loads(process.stdout.readline())
        yield f"{told['url']}#token={told['token']}"
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)
    stop_server(home)
    assert "Traceback" not in err, err


@pytest.fixture(scope="module")
def chromium():
    if CHROMIUM is None:
        pytest.skip("needs Debian's chromium")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox", "--disable-background-networking"]
        )
        yield browser
        browser.close()


@pytest.fixture
def page(chromium, address):
    """A page that is signed in, at 1920 pixels; nothing may be said on the console, and nothing asked elsewhere."""
    context = chromium.new_context(viewport=SIZES[0])
    context.grant_permissions(["clipboard-read", "clipboard-write"])
    page = context.new_page()
    page.set_default_timeout(60_000)
    said, asked = [], []
    page.on(
        "console", lambda message: said.append(message.text) if message.type in ("error", "warning") else None
    )
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("request", lambda request: asked.append(request.url))
    page.goto(address)
    page.wait_for_selector("#who:has-text('page')")
    assert "token" not in page.url
    yield page
    context.close()
    origin = address.split("/#")[0]
    assert said == []
    assert [one for one in asked if not one.startswith((origin, "blob:", "data:"))] == []


def open_(page, path):
    page.goto(page.url.split("/", 3)[0] + "//" + page.url.split("/", 3)[2] + path)
    page.wait_for_selector("h1")


def test_filter_open_label_reject_and_come_back_by_the_url_alone(page, home):
    registry = Registry(home)
    open_(page, "/directions")
    page.wait_for_selector("loco-strip img")
    total = registry.count()
    assert page.locator(".card").count() == total
    page.get_by_label("mouth", exact=False).first.check()
    page.wait_for_url("**roi=mouth**")
    page.wait_for_selector(f"text={registry.count(roi='mouth')} directions")
    kept = page.url
    page.keyboard.press("j")
    page.keyboard.press("x")
    page.keyboard.press("j")
    page.keyboard.press("x")
    page.get_by_role("button", name="Label", exact=True).click()
    page.locator("dialog input").fill('<img src=x onerror="alert(1)">')
    page.locator("dialog button.main").click()
    page.wait_for_selector(".card h3:has-text('onerror')")
    assert sorted(len(texts) for texts in registry.labels().values()) == [1, 1]
    page.locator(".card h3 a").first.click()
    page.wait_for_url("**/directions/*")
    page.wait_for_selector("h2:has-text('Evidence')")
    page.keyboard.press("r")
    page.locator("dialog button.main").click()
    page.wait_for_selector(".chip.out")
    assert registry.count() == total - 1
    page.keyboard.press("r")
    page.wait_for_selector(".chip.out", state="detached")
    assert registry.count() == total
    page.goto(kept)
    page.wait_for_selector(f"text={registry.count(roi='mouth')} directions")
    assert page.locator(".filters .choice:has-text('mouth') input").is_checked()


def test_slide_compose_copy_the_command_and_run_it(page, home, tmp_path):
    one, other = Registry(home).find(sort="id", limit=2)
    open_(page, f"/try?direction={one.id}&direction={other.id}")
    page.wait_for_selector("text=exact, 10 steps each way")
    mixer = page.locator("loco-mixer")
    slider = mixer.locator("input[type=range][aria-label^=Strength]").first
    before = mixer.locator("canvas").first.evaluate("one => one.toDataURL()")
    slider.evaluate("one => { one.value = one.max; one.dispatchEvent(new Event('input')); }")
    assert mixer.locator("canvas").first.evaluate("one => one.toDataURL()") != before
    assert float(mixer.get_attribute("data-preview")) < 300
    assert page.get_by_text("first order").is_visible()
    slider.evaluate("one => one.dispatchEvent(new Event('change'))")
    page.wait_for_selector("text=exact, 10 steps each way")
    assert page.locator("loco-mixer img").evaluate("one => one.naturalWidth") == 32
    url = page.url
    page.get_by_role("button", name="Copy the command").click()
    command = page.evaluate("navigator.clipboard.readText()")
    assert command == page.locator("#command").inner_text()
    words = shlex.split(command)
    words[words.index("edited")] = str(tmp_path / "edited")
    run = [sys.executable, "-m", "cli.main", "--home", str(home.root), *words[1:], "--limit", "1"]
    done = subprocess.run(run, cwd=ROOT, capture_output=True, text=True, env=os.environ, check=False)
    assert done.returncode == 0, done.stderr
    assert len(list((tmp_path / "edited").glob("*.png"))) == 1
    page.goto(url)
    page.wait_for_selector("text=exact, 10 steps each way")
    assert page.locator("loco-mixer .mix").count() == 2


def test_an_apply_job_is_submitted_and_watched_to_its_end(page, home):
    one = Registry(home).find(sort="id", limit=1)[0]
    open_(page, f"/try?direction={one.id}")
    page.wait_for_selector("text=exact, 10 steps each way")
    page.get_by_label("Most images").fill("2")
    page.locator("#apply").click()
    page.wait_for_url("**/jobs/*")
    page.wait_for_selector("#status.good", timeout=240_000)
    page.wait_for_selector("h2:has-text('Before and after (2 images)')")
    assert page.locator(".strip-row img").count() == 4
    open_(page, f"/directions/{one.id}")
    page.wait_for_selector("section[aria-label=Uses] a")


def test_a_list_is_made_and_the_map_is_drawn_round(page, home):
    open_(page, "/directions")
    page.locator(".card input[type=checkbox]").nth(0).check()
    page.locator(".card input[type=checkbox]").nth(1).check()
    page.get_by_role("button", name="Add to a list").click()
    page.locator("dialog input").fill("talk")
    page.locator("dialog button.main").click()
    page.wait_for_selector("text=2 in talk")
    open_(page, "/lists/talk")
    assert page.locator(".card").count() == 2
    open_(page, "/map")
    box = page.locator(".map canvas").bounding_box()
    corners = [(0.01, 0.01), (0.99, 0.01), (0.99, 0.99), (0.01, 0.99)]
    x, y = corners[0]
    page.mouse.move(box["x"] + x * box["width"], box["y"] + y * box["height"])
    page.mouse.down()
    for x, y in corners[1:]:
        page.mouse.move(box["x"] + x * box["width"], box["y"] + y * box["height"], steps=4)
    page.mouse.up()
    page.wait_for_selector(f"text={Registry(home).count()} selected")
    page.locator("main").get_by_role("button", name="Label").click()
    page.locator("dialog input").fill("all")
    page.locator("dialog button.main").click()
    page.wait_for_selector(".legend :text('all')")
    assert all("all" in texts for texts in Registry(home).labels().values())


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", SIZES, ids=["wide", "narrow"])
def test_axe_finds_no_serious_violation_and_nothing_overflows(chromium, address, home, scheme, size):
    from axe_playwright_python.sync_playwright import Axe

    one = Registry(home).find(sort="id", limit=1)[0]
    run = Registry(home).runs()[0]
    context = chromium.new_context(viewport=size, color_scheme=scheme)
    page = context.new_page()
    page.goto(address)
    page.wait_for_selector("#who:has-text('page')")
    paths = (
        "/",
        "/directions",
        f"/directions/{one.id}",
        f"/try?direction={one.id}",
        "/map",
        "/lists",
        "/jobs",
        f"/jobs/{run.id}",
    )
    for path in paths:
        open_(page, path)
        page.wait_for_load_state("networkidle")
        found = Axe().run(page)
        serious = [
            (path, each["id"], [node["html"][:160] for node in each["nodes"][:3]])
            for each in found.response["violations"]
            if each["impact"] in ("serious", "critical")
        ]
        assert serious == []
        assert page.evaluate("document.documentElement.scrollWidth") <= size["width"], path
        assert page.locator("img:not([alt])").count() == 0
    context.close()


def test_a_token_of_another_is_asked_for_where_one_is_needed(chromium, address, home):
    token = add_token(home, "colleague", "label")
    context = chromium.new_context(viewport=SIZES[0])
    page = context.new_page()
    page.goto(address.split("#")[0])
    page.wait_for_selector("#who:has-text('Sign in')")
    page.locator("#who").click()
    page.locator("dialog input").fill(token)
    page.locator("dialog button.main").click()
    page.wait_for_selector("#who:has-text('colleague · label')")
    context.close()
