"""A real browser for the tests of pages: Debian's Chromium, driven by selenium."""

import json
import os
import shutil
import tempfile
from contextlib import contextmanager
from pathlib import Path

import pytest

FLAGS = (
    "--headless=new --no-sandbox --disable-gpu --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync"
)
TAB = "\ue004"


@contextmanager
def chromium():
    """Yield a browser; skip the test where none is installed."""
    webdriver = pytest.importorskip("selenium.webdriver", reason="needs selenium")
    paths = shutil.which("chromium"), shutil.which("chromedriver")
    if None in paths:
        pytest.skip("needs a browser: Debian's chromium and chromium-driver")
    options = webdriver.ChromeOptions()
    options.binary_location = paths[0]
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        for flag in [*FLAGS.split(), f"--user-data-dir={profile}"]:
            options.add_argument(flag)
        options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
        # With its path given, selenium looks for no other driver.
        service = webdriver.ChromeService(executable_path=paths[1])
        browser = webdriver.Chrome(options=options, service=service)
        try:
            browser.execute_cdp_cmd("Performance.enable", {"timeDomain": "threadTicks"})
            yield Page(browser)
        finally:
            browser.quit()


class Page:
    """What the tests do with a page."""

    def __init__(self, browser):
        self.browser = browser

    def open(self, path: Path, address="", *, width=1000, dark=False, calm=False):
        """Load a file afresh; its log begins empty."""
        features = {
            "prefers-color-scheme": "dark" if dark else "light",
            "prefers-reduced-motion": "reduce" if calm else "no-preference",
        }
        named = [{"name": name, "value": value} for name, value in features.items()]
        self.command("Emulation.setEmulatedMedia", features=named)
        size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
        self.command("Emulation.setDeviceMetricsOverride", **size)
        self.browser.get("about:blank")
        for kind in ("browser", "performance"):
            self.browser.get_log(kind)
        self.browser.get(path.as_uri() + address)
        self.frames(2)

    def command(self, name, **arguments):
        return self.browser.execute_cdp_cmd(name, arguments)

    def js(self, script, *arguments):
        return self.browser.execute_script(script, *arguments)

    def role(self, name):
        return self.browser.find_element("css selector", f'[data-role="{name}"]')

    def text(self, name):
        """What an element says, whether it is seen or not; with the page's minus made plain."""
        return self.role(name).get_property("textContent").replace("−", "-")

    def choose(self, name, value):
        """Choose an option by its value, as a person does."""
        element = self.role(name)
        element.find_element("css selector", f'option[value="{value}"]').click()
        self.frames(2)

    def click(self, name):
        self.js("arguments[0].scrollIntoView({block: 'center'})", self.role(name))
        self.role(name).click()
        self.frames(2)

    def press(self, *keys, on=None):
        """Press keys, one after the other, on an element or on what has the focus."""
        from selenium.webdriver.common.action_chains import ActionChains

        if on is not None:
            self.js("arguments[0].focus()", on)
        for key in keys:
            ActionChains(self.browser).send_keys(key).perform()
        self.frames(2)

    def frames(self, num):
        """Wait for so many frames, and return how many there were in a second."""
        script = """const [num, done] = arguments, begin = performance.now(); let n = 0;
            (function next() {
              if (n++ < num) requestAnimationFrame(next);
              else done(1000 * num / (performance.now() - begin));
            })();"""
        return self.browser.execute_async_script(script, num)

    def unreached(self, root):
        """The controls of a part of the page that the Tab key does not come to."""
        every = "button:not(:disabled), select, input, textarea, summary, [tabindex='0']"
        script = """const root = document.querySelector(arguments[0]);
            const all = [...root.querySelectorAll(arguments[1])];
            const shown = all.filter((control) => control.checkVisibility());
            window.unreached = new Set(shown);
            addEventListener("focusin", (event) => window.unreached.delete(event.target));
            root.tabIndex = -1;
            root.focus();
            return shown.length;"""
        count = self.js(script, root, every)
        # A part that can be scrolled is a stop too.
        self.press(*[TAB] * (count + 5))
        assert count > 0
        return self.js("return [...window.unreached].map((e) => e.outerHTML.slice(0, 90))")

    def seconds_of_work(self):
        """What the page's thread has computed since it was opened: seconds of the processor."""
        found = self.command("Performance.getMetrics")["metrics"]
        return next(part["value"] for part in found if part["name"] == "TaskDuration")

    def complaints(self):
        """Console messages."""
        return [entry["message"] for entry in self.browser.get_log("browser")]

    def violations(self):
        """What axe-core finds that is serious; skips the test where it is not at hand."""
        source = os.environ.get("AXE_CORE")
        if not source:
            pytest.skip("needs AXE_CORE=path of axe.min.js, from the npm package axe-core")
        self.js(Path(source).read_text())
        found = self.browser.execute_async_script("axe.run().then(arguments[0])")["violations"]
        bad = [entry for entry in found if entry["impact"] in ("serious", "critical")]
        return [(v["id"], v["nodes"][0]["failureSummary"], len(v["nodes"])) for v in bad]

    def requests(self):
        """The addresses that were asked for since the page was opened."""
        events = [json.loads(e["message"])["message"] for e in self.browser.get_log("performance")]
        sent = [e["params"] for e in events if e["method"] == "Network.requestWillBeSent"]
        return [request["request"]["url"] for request in sent]
