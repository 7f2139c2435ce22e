# SPDX-License-Identifier: Apache-2.0
"""Headless Chromium: opens a page of this machine and reports the result.

The browser gets an empty profile, and everything in it that would use the network on its own is switched off. The
requests of the page are read from the browser's network log.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

from tests.servers import install

_OPTIONS = (
    "--headless",
    "--no-sandbox",  # which does not work for root
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
    "--enable-logging=stderr",
    "--dump-dom",
)

# A file of fonts that knows of none but those that came with the browser.
_FONTS = """\
<?xml version="1.0"?>
<!DOCTYPE fontconfig SYSTEM "urn:fontconfig:fonts.dtd">
<fontconfig><dir>{folder}/usr/share/fonts</dir><cachedir>{cache}</cachedir></fontconfig>
"""


class Opened(NamedTuple):
    """The result of opening a page.

    Attributes:
        dom: the document after it was loaded and its scripts have run.
        console: what the browser wrote to the page's console: errors of scripts, violations of its policy.
        requested: the URLs that the page requested, except those of files.
    """

    dom: str
    console: list[str]
    requested: list[str]


def open_page(
    page: Path, *, width: int = 1200, height: int = 1600, dark: bool = False, screenshot: Path | None = None
) -> Opened:
    """Open a page.

    Args:
        page: the file.
        width, height: of the window, in pixels.
        dark: whether the user prefers dark colours.
        screenshot: where to save a picture (PNG) of the window.

    Raises:
        ServerMissing: Chromium is not installed.
    """
    folder = install.locate("chromium")
    with tempfile.TemporaryDirectory(prefix="chromium-") as scratch:
        fonts, log = Path(scratch, "fonts.conf"), Path(scratch, "network.json")
        fonts.write_text(_FONTS.format(folder=folder, cache=scratch))
        options = [f"--user-data-dir={scratch}/profile", f"--log-net-log={log}", f"--window-size={width},{height}"]
        options.append(f"--blink-settings=preferredColorScheme={0 if dark else 1}")
        if screenshot is not None:
            options.append(f"--screenshot={screenshot}")
        libraries = [str(path) for path in folder.glob("usr/lib/*-linux-gnu*")]
        environment = {
            "HOME": scratch,
            "PATH": os.environ["PATH"],
            "FONTCONFIG_FILE": str(fonts),
            "LD_LIBRARY_PATH": ":".join([*libraries, *(f"{path}/pulseaudio" for path in libraries)]),
        }
        program = folder / "usr" / "lib" / "chromium" / "chromium-headless-shell"
        done = subprocess.run(
            [program, *_OPTIONS, *options, page.absolute().as_uri()],
            env=environment,
            capture_output=True,
            text=True,
            check=True,
            timeout=60,
        )
        console = re.findall(r":CONSOLE[:(]\d+\)?\] (.*)", done.stderr)
        return Opened(done.stdout, console, _requested(json.loads(log.read_text())))


def _requested(log: dict[str, object]) -> list[str]:
    events = log["events"]
    assert isinstance(events, Sequence)
    urls = {event.get("params", {}).get("url") for event in events}
    return sorted(url for url in urls if url and urlsplit(url).scheme not in ("file", "data"))
