"""The pages of the reference: complete, whole without a network, and their links lead somewhere."""

import html.parser
import re
import subprocess
import sys

import pytest

import jaxsvm

pytestmark = pytest.mark.any_precision
# What a page would load by itself; a link that a reader may follow is none of it.
FORMULA = re.compile('<pre class="formula[a-z ]*">')
# Records, files, and words about what another name computes.
COMPUTE_NOTHING = {
    "Data", "Dataset", "DatasetError", "Optimizer", "RowSource", "StreamedRows", "advance_stream",
    "assert_gradient", "compiled", "data_from_arrays", "load", "model_of", "run_resumable",
    "run_stream", "save", "shard", "stream_from_blocks", "stream_from_tfds", "validate",
}  # fmt: skip
LOADED = {"script": "src", "img": "src", "link": "href", "iframe": "src"}


class Page(html.parser.HTMLParser):
    """The anchors of a page, its links within the reference, and what it loads."""

    def __init__(self, path):
        super().__init__()
        self.path, self.anchors, self.links, self.loaded = path, set(), [], []
        self.feed(path.read_text())

    def handle_starttag(self, tag, attributes):
        found = dict(attributes)
        self.anchors.add(found.get("id"))
        if tag == "a" and not found["href"].startswith("http"):
            self.links.append(found["href"])
        if tag in LOADED:
            self.loaded.append(found.get(LOADED[tag]) or "")


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    out = tmp_path_factory.mktemp("docs")
    command = [sys.executable, "-m", "experiments.docs", "--out", str(out)]
    subprocess.run(command, check=True, capture_output=True)
    return {path: Page(path) for path in out.rglob("*.html")}


def test_every_public_name_is_on_its_page(pages):
    (top,) = (page for path, page in pages.items() if path.name == "jaxsvm.html")
    assert set(jaxsvm.__all__) <= top.anchors
    (core,) = (page for path, page in pages.items() if path.name == "core.html")
    assert {"Hinge", "Hinge.targets", "Penalty"} <= core.anchors


def test_links_lead_somewhere_and_nothing_is_fetched(pages):
    count = 0
    for path, page in pages.items():
        for link in page.links:
            file, _, anchor = link.partition("#")
            target = (path.parent / file).resolve() if file else path
            assert target.exists(), link
            assert not anchor or anchor in pages[target].anchors, link
            count += 1
        assert not [url for url in page.loaded if url.startswith(("http", "//"))]
    assert count > 500


def test_every_public_name_has_its_equation_set(pages):
    text = next(path for path in pages if path.name == "jaxsvm.html").read_text()
    shown = re.split(r'<section id="([^".]+)">', text)  # a name, then what is said of it
    without = {
        name
        for name, said in zip(shown[1::2], shown[2::2], strict=True)
        if '<pre class="formula' not in said
    }
    assert without & set(jaxsvm.__all__) == COMPUTE_NOTHING
    assert '<pre class="formula">loss<sub>i</sub> = Σ<sub>j≠y' in text
    assert "max<sub>s</sub> D(s·slopes)" in text  # below a line that looks like a section's name


def test_examples_and_commands_are_not_formulas(pages):
    texts = [path.read_text() for path in pages]
    formulas = [part.split("</pre>")[0] for text in texts for part in FORMULA.split(text)[1:]]
    assert len(formulas) > 40
    assert not [f for f in formulas if "&gt;&gt;&gt;" in f or "python" in f]
