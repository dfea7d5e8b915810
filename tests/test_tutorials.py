"""The tutorials as a reader would follow them: their files, their commands, the site's pages by a browser
without script."""

from __future__ import annotations

import json
import os
import re
import shlex
import socket
import subprocess
import sys
import time
import urllib.parse
import urllib.request
from http.cookiejar import CookieJar
from pathlib import Path

from biddable.model import random_model

ROOT = Path(__file__).resolve().parents[1]
PASSWORD = "eleven quiet lanterns"


def blocks(page: str, language: str) -> list[str]:
    text = (ROOT / "docs" / "tutorials" / page).read_text(encoding="utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.M | re.S)


def write_files(folder: Path, page: str) -> None:
    for text in blocks(page, "python") + blocks(page, "toml"):
        (folder / text.split("\n")[0].removeprefix("# ")).write_text(text, encoding="utf-8")


def biddable(folder: Path, line: str, entered: str = "", code: int = 0) -> str:
    words = shlex.split(line, comments=True)[1:]
    result = subprocess.run(
        [sys.executable, "-m", "biddable.cli", *words],
        cwd=folder,
        input=entered,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        check=False,
    )
    assert result.returncode == code, f"{line}\n{result.stdout}\n{result.stderr}"
    return result.stdout


class Browser:
    """Cookies, forms and redirects, nothing else."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.opener = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(CookieJar()))
        self.page, self.url = "", ""

    def open(self, path: str, fields: dict[str, str] | None = None) -> None:
        if fields is not None:
            found = re.search(r'name="form-token" content="(\w+)"', self.page)
            assert found, self.page
            fields = {"token": found[1], **fields}
        data = None if fields is None else urllib.parse.urlencode(fields).encode()
        request = urllib.request.Request(self.address + path, data, {"sec-fetch-site": "same-origin"})
        with self.opener.open(request, timeout=30) as response:
            self.page, self.url = response.read().decode(), response.url


def wait_for(address: str, site: subprocess.Popen[str]) -> Browser:
    browser = Browser(address)
    deadline = time.monotonic() + 60
    while True:
        try:
            browser.open("/login")
            return browser
        except OSError:
            assert site.poll() is None and time.monotonic() < deadline, "the site did not start"
            time.sleep(0.1)


def test_first_ten_labels(tmp_path: Path) -> None:
    page = "first-ten-labels.md"
    write_files(tmp_path, page)
    subprocess.run([sys.executable, "make_replies.py"], cwd=tmp_path, check=True)
    for line in "".join(blocks(page, "sh")).splitlines():
        biddable(tmp_path, line)
    assert "10" in biddable(tmp_path, "biddable run labels.toml", code=3)
    biddable(tmp_path, "biddable label.people labels.toml ada", entered=PASSWORD + "\n")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    site = subprocess.Popen(
        [sys.executable, "-m", "biddable.cli", "label.site", "labels.toml", f"port={port}"],
        cwd=tmp_path,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    try:
        browser = wait_for(f"http://127.0.0.1:{port}", site)
        browser.open("/login", {"name": "ada", "password": PASSWORD})
        name = re.search(r'name="set" value="([^"]+)"', browser.page)
        assert name, browser.page
        browser.open("/next", {"set": name[1]})
        for _ in range(10):
            task = re.search(r'name="id" value="([^"]+)"', browser.page)
            assert task, browser.page
            texts = re.findall(r'<div class="text"[^>]*>(.*?)</div>', browser.page, re.S)[-3:]
            honest = next(place for place, text in enumerate(texts) if "know" in text)
            ranks = {f"rank-{place}": "1" if place == honest else "2" for place in range(3)}
            browser.open("/answer", {"id": task[1].replace("&#39;", "'"), **ranks})
        assert "That was the last task for you" in browser.page
    finally:
        site.terminate()
        site.wait()
    biddable(tmp_path, "biddable run labels.toml")
    lines = (
        (tmp_path / "runs/labels/label.comparisons/comparisons.jsonl")
        .read_text(encoding="utf-8")
        .splitlines()
    )
    rows = [json.loads(line) for line in lines]
    assert len(rows) == 10 and {row["simulated"] for row in rows} == {False}
    assert all(row["ranks"] == [2, 1, 2] for row in rows)  # wordy, honest, parrot: in the file's order
    assert [answer["model"] for answer in rows[0]["answers"]] == ["wordy", "honest", "parrot"]
    assert "10" in biddable(tmp_path, "biddable show runs/labels/label.comparisons")
    assert "training" in biddable(tmp_path, "biddable lineage runs/labels/label.comparisons")


def test_your_own_model(tmp_path: Path) -> None:
    page = "your-own-model.md"
    write_files(tmp_path, page)
    model = random_model.save_random_model(tmp_path / "my-model")
    file = tmp_path / "mine.toml"
    text = file.read_text(encoding="utf-8")
    assert text.count("YOUR_MODEL") == 1
    file.write_text(text.replace("YOUR_MODEL", str(model)), encoding="utf-8")
    biddable(tmp_path, "biddable new all.toml")  # writes the example prompts
    outputs = [biddable(tmp_path, line) for line in "".join(blocks(page, "sh")).splitlines()]
    assert "in order" in outputs[0] and "report.html" in outputs[1]
    assert (tmp_path / "runs/mine/measure.report/report.html").is_file()
