"""The whole report: what is in it, in a real browser, with hostile text, with damaged and missing files."""

import html
import json
import re

import pytest

from fourhorn.errors import UserError
from fourhorn.report.page import report

SMALLEST, LARGEST = "pocket-117M", "pocket-1542M"
HOSTILE = [
    "<script>document.title='owned'</script>",
    "</script><script>owned()</script>",
    "<img src=x onerror=document.title='owned'>",
    "<svg onload=document.title='owned'>",
    "<svg><script>owned()</script></svg>",
    "<iframe src='javascript:owned()'></iframe>",
    "<a href='javascript:owned()'>click</a>",
    "javascript:owned()",
    "<body onload=owned()>",
    "<style>*{display:none}</style>",
    "</style><script>owned()</script>",
    "</td></tr></table><script>owned()</script>",
    "</title><script>owned()</script>",
    "<!--<script>owned()</script>",
    "--><script>owned()</script>",
    "<![CDATA[<script>owned()</script>]]>",
    '"><script>owned()</script>',
    "'><script>owned()</script>",
    "' onmouseover='owned()",
    '" autofocus onfocus="owned()',
    "`${owned()}`",
    "{{ 7 * 7 }}",
    "{% for x in y %}",
    "{{ ''.__class__.__mro__ }}",
    "${7*7}",
    "$\\frac{1}{0}$",
    "$x^{",
    "_hidden",
    "&lt;script&gt;owned()&lt;/script&gt;",
    "&#60;script&#62;owned()",
    "<math><mi xlink:href='data:x,<script>owned()</script>'>",
    "<link rel=stylesheet href=http://evil.example/x.css>",
    "<meta http-equiv=refresh content='0;url=http://evil.example/'>",
    "<base href=http://evil.example/>",
    "<form action=http://evil.example/><input type=submit>",
    "| a | b |\n|---|---|",
    "[click](http://evil.example/)",
    "![x](http://evil.example/x.png)",
    "\u202egnp.exe\u202c \u0000\u0007\u001b[31m \ufeff",
    "a" * 5000,
    "\ud800 lone surrogate",
    "名前 اسم שם नाम ชื่อ 🦄\u200d🦄",
]


def built(roots, destination):
    outcome = report([str(root) for root in roots], destination)
    return outcome["html"].read_text(encoding="utf-8"), outcome["markdown"].read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def page(finished_run, tmp_path_factory):
    folder = tmp_path_factory.mktemp("report")
    return folder, *built([finished_run], folder)


def text_of(markup):
    return html.unescape(re.sub(r"<[^>]+>", " ", re.sub(r"<style>.*?</style>", "", markup, flags=re.DOTALL)))


def test_every_table_and_figure_of_the_paper_is_there_in_its_order(page):
    _, markup, markdown = page
    titles = re.findall(r"<h3><bdi>([^<]*)</bdi></h3>", markup)
    wanted = [
        "Figure 1",
        "Table 1",
        "Table 2",
        "Table 3",
        "Figure 2",
        "Figure 3",
        "Table 4",
        "Table 5",
        "Table 6",
        "Figure 4",
        "Figure 5",
    ]
    assert [title for title in titles if title in wanted] == wanted
    assert [title for title in re.findall(r"^### (.*)$", markdown, re.MULTILINE) if title in wanted] == wanted


def test_paper_and_ours_stand_side_by_side_with_interval_protocol_and_n(page):
    _, markup, markdown = page
    text = " ".join(text_of(markup).split())
    for words in (
        "63.24",
        "14.00",
        "11.20 to 16.80",
        "ours, pocket scale",
        "1,000",
        "oldest tokens first",
        "Charles Darwin",
    ):
        assert words in text, words
    row = next(line for line in markdown.splitlines() if line.startswith("| **CBT-CN**"))
    assert "| 87.65 |" in row
    assert "43.00 \\[38.70 to 47.30\\]" in row


def test_the_funnel_shows_every_drop_and_adds_up(page):
    _, markup, _ = page
    text = " ".join(text_of(markup).split())
    assert "12,480 submissions → 7,798 links" in text
    for words in ("low karma 3,101", "near duplicate 512", "3,396 documents → 3,396 documents"):
        assert words in text
    assert "do not add up" not in text


def test_a_finished_run_has_no_gap(page):
    assert "Every file that was looked for was there and whole." in page[1]


def test_the_page_is_one_file_without_script_or_address_to_load(page):
    _, markup, _ = page
    assert "<script" not in markup
    assert "Content-Security-Policy" in markup
    assert not re.findall(r'(?:src|href)="(?!#|data:,)', markup)
    assert "url(http" not in markup


def test_building_twice_gives_the_same_bytes(page, finished_run, tmp_path):
    assert built([finished_run], tmp_path) == page[1:]


@pytest.mark.parametrize(("width", "dark"), [(360, False), (1280, False), (1280, True)])
def test_in_a_browser_nothing_is_wide_broken_loaded_or_logged(page, browser, width, dark):
    browser.open(page[0] / "index.html", width=width, dark=dark)
    assert browser.ask("document.documentElement.scrollWidth") <= width
    assert browser.ask("document.querySelectorAll('figure svg').length") == 13
    small = "[...document.querySelectorAll('figure svg')].filter(s => s.getBoundingClientRect().height < 120).length"
    assert browser.ask(small) == 0
    lines = "[...document.querySelectorAll('figure svg path')].map(p => getComputedStyle(p).stroke)"
    assert not [color for color in browser.ask(lines) if "var" in color]
    assert browser.console == []
    assert [url for url in browser.requests if not url.startswith(("file://", "data:,"))] == []


def test_text_keeps_its_contrast_in_light_and_dark(page, browser):
    for dark in (False, True):
        browser.open(page[0] / "index.html", width=1280, dark=dark)
        colors = browser.ask(
            "[getComputedStyle(document.body).color, getComputedStyle(document.body).backgroundColor]"
        )
        ink, back = ([int(v) for v in re.findall(r"\d+", color)[:3]] for color in colors)
        assert abs(sum(ink) - sum(back)) > 400


def hostile_workspace(root, make_workspace, write):
    """A run in which every text and name that a stranger may choose is hostile."""
    make_workspace(root)
    rows = [{"id": t, "prompt": t, "completion": t, "seed": t, "settings": {"top_k": t}} for t in HOSTILE]
    folder = root / "samples" / "<img src=x onerror=owned()>"
    folder.mkdir()
    (folder / "part-00000.jsonl").write_text(
        "".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8"
    )
    for i, name in enumerate(HOSTILE):
        safe = name.replace("/", "∕").replace("\0", "0").replace("\ud800", "")[:80] or "empty"
        write(
            root / "runs" / safe / "summary.json",
            {"n_params": 1000 + i, "val_loss": 3.0, "device": name, "version": name},
        )
        write(root / "runs" / safe / "options.json", {"n_layer": name})
        (root / "runs" / safe / "metrics.jsonl").write_text(
            '{"step": 1, "loss": 3}\n{"step": 2, "loss": 2}\n'
        )
        write(
            root / "results" / safe / f"{safe}.json",
            {"metrics": {name: {"value": 1.0}}, "dataset": name, "protocol": {name: name}},
        )
        write(
            root / "results" / safe / "lambada.json",
            {"metrics": {"accuracy": {"value": 0.5}}, "dataset": name, "protocol": {name: name}},
        )
        overlap = {
            "test": name,
            "overlap": 0.1,
            "against": name,
            "unit": name,
            "method": name,
            "items": {"cdf": [[0, 0.5], [100, 1]]},
        }
        write(root / f"overlap/h{i}.json", overlap)
    write(
        root / "links/manifest.json",
        {"n_in": 42, "n_kept": 0, "drops": dict.fromkeys(HOSTILE, 1), "version": HOSTILE[0]},
    )
    write(root / "stats/stats.json", {"domains": [{"domain": t, "n": 5} for t in HOSTILE]})
    answers = [{"question": t, "answer": t, "correct": t, "probability": 0.5} for t in HOSTILE]
    last = root / "results" / LARGEST / "natural_questions.json"
    write(last, json.loads(last.read_text()) | {"details": {"most_confident": answers}})
    return root


def test_hostile_text_runs_no_script_loads_nothing_and_breaks_nothing(
    tmp_path, browser, make_workspace, write
):
    root = hostile_workspace(tmp_path / "<script>document.title='owned'<∕script>", make_workspace, write)
    markup, markdown = built([root], tmp_path / "report")
    assert "<script" not in markup
    assert "&lt;script&gt;" in markup
    browser.open(tmp_path / "report" / "index.html", width=360)
    assert browser.ask("document.title").startswith("The paper beside this run")
    foreign = "document.querySelectorAll('script,iframe,object,base,form,img,link[rel=stylesheet]').length"
    assert browser.ask(foreign) == 0
    names = browser.ask(
        "[...document.querySelectorAll('*')].flatMap(e => [...e.attributes].map(a => a.name))"
    )
    assert not [name for name in names if name.startswith("on")]
    assert browser.ask("document.documentElement.scrollWidth") <= 360
    assert browser.console == []
    assert [url for url in browser.requests if not url.startswith(("file://", "data:,"))] == []
    assert "{{ 7 * 7 }}" in text_of(markup)
    assert not re.search(r"(?<!\\)<(?:script|img|svg|iframe)", markdown)
    assert not re.search(r"(?<!\\)\]\(http", markdown)


def test_a_missing_or_damaged_file_is_named_and_the_rest_is_built(fresh_run, tmp_path):
    root = fresh_run
    model = LARGEST
    (root / "results" / model / "lambada.json").write_text('{"task": "lambada", "metr')
    (root / "results" / model / "coqa.json").write_text("[1, 2, 3]")
    (root / "results" / model / "winograd.json").write_text('{"metrics": {"accuracy": {"value": "high"}}}')
    (root / "results" / model / "cbt_cn.json").write_bytes(b"\xff\xfe\x00")
    (root / "overlap/wikitext2.json").write_text('{"test": "wikitext2"}')
    (root / "runs" / model / "metrics.jsonl").write_text('{"step": 1, "loss": 3.0}\n{"step": 2, "lo')
    (root / "clean/manifest.json").unlink()
    (root / "runs" / SMALLEST / "summary.json").unlink()
    (root / "tokens/train/index.json").write_text("")
    (root / "samples" / model / "part-00000.jsonl").write_text("{")
    markup, markdown = built([root], tmp_path / "report")
    text = " ".join(text_of(markup).split())
    for path in (
        f"results/{model}/lambada.json damaged",
        f"results/{model}/coqa.json damaged: not a JSON object",
        f"results/{model}/winograd.json damaged: no number in accuracy",
        f"results/{model}/cbt_cn.json damaged",
        "overlap/wikitext2.json damaged: it has no overlap",
        f"runs/{model}/metrics.jsonl damaged: 1 lines",
        "clean/manifest.json clean/ is not there",
        f"runs/{SMALLEST}/summary.json the run is not finished",
        "tokens/train/index.json damaged",
        f"samples/{model} no samples",
    ):
        assert path in text, path
    row = next(line for line in markdown.splitlines() if line.startswith("| **LAMBADA** | ACC"))
    assert row.rstrip(" |").endswith("–")  # what was damaged is empty, not guessed
    assert "12,480 submissions" in text


def test_an_empty_folder_still_gives_the_papers_side(tmp_path):
    (tmp_path / "empty").mkdir()
    markup, _ = built([tmp_path / "empty"], tmp_path / "report")
    text = text_of(markup)
    assert "63.24" in text
    assert "no run is there: fourhorn train" in text
    assert "nothing is evaluated: fourhorn evaluate" in text


def test_numbers_that_are_none_are_left_empty(fresh_run, tmp_path, write):
    path = fresh_run / "runs" / SMALLEST / "summary.json"
    write(
        path,
        {"n_params": True, "flops": "many", "val_loss": None, "seconds": [1], "tokens_per_second": 10**400},
    )
    markup, _ = built([fresh_run], tmp_path / "report")
    assert "True" not in text_of(markup)
    assert "nan" not in text_of(markup).lower().split()


def test_several_runs_stand_side_by_side(finished_run, tmp_path, browser, make_workspace):
    other = make_workspace(tmp_path / "official", scale="official", seed=1)
    markup, _ = built([finished_run, other, finished_run], tmp_path / "report")
    text = " ".join(text_of(markup).split())
    for words in (
        "ours: pocket, pocket scale",
        "ours: official, pocket scale",
        "ours: pocket (2), pocket scale",
    ):
        assert words in text
    assert "wikitext2 official" in text
    browser.open(tmp_path / "report" / "index.html", width=360)
    assert browser.ask("document.documentElement.scrollWidth") <= 360


def test_a_root_that_is_no_folder_is_a_user_error(tmp_path):
    with pytest.raises(UserError, match="is no folder"):
        report([tmp_path / "nothing"], tmp_path / "report")
    with pytest.raises(UserError, match="No run is given"):
        report([], tmp_path / "report")
