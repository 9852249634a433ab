"""A page as a real browser shows it, without a screen and without a network."""

import shutil
import subprocess
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")


def dom_of(page: Path, fragment: str = "") -> str:
    """Return what a page has become after its scripts ran; skip where there is no browser.

    Args:
        page: a file.
        fragment: of its address, behind ``#``.
    """
    browser = next(filter(None, map(shutil.which, NAMES)), None)
    if browser is None:
        pytest.skip(f"no browser here: none of {', '.join(NAMES)}")
    with TemporaryDirectory() as profile:
        shown = subprocess.run(
            [
                *(browser, "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"),
                *(f"--user-data-dir={profile}", "--virtual-time-budget=5000", "--dump-dom"),
                f"{page.resolve().as_uri()}{fragment and '#'}{fragment}",
            ],
            capture_output=True,
            text=True,
            encoding="utf-8",
            timeout=240,
            check=True,
        )
    return shown.stdout
