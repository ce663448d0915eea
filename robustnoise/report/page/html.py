"""One HTML file out of scripts, styles and data, under a policy that lets nothing else in."""

from __future__ import annotations

import base64
import hashlib
import html
import json
from collections.abc import Sequence
from functools import cache
from importlib.resources import files
from typing import Any

COMMON = ("dom", "format", "bars", "theme")
PAGE = (*COMMON, "rows", "counts", "stats", "flags", "chart", "curves", "summary", "export", "table", "detail",
        "compare", "main")  # fmt: skip
"""The scripts of a board's page, in this order: later ones use what earlier ones define."""
INDEX = (*COMMON, "index")


def document(title: str, scripts: Sequence[str], data: dict[str, Any]) -> str:
    """A whole file.

    Args:
        title: of the window.
        scripts: names of files in ``assets``, without suffix; they run as one script.
        data: what they read; any text may stand in it.
    """
    script = '"use strict";\n' + "\n".join(asset(f"{name}.js") for name in scripts)
    style = asset("page.css")
    policy = (
        f"default-src 'none'; script-src '{_hash(script)}'; style-src '{_hash(style)}'; img-src data:; "
        "base-uri 'none'; form-action 'none'"
    )
    return f"""\
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta name="referrer" content="no-referrer">
<link rel="icon" href="data:,">
<title>{html.escape(title)}</title>
<style>{style}</style>
</head>
<body>
<main id="page"><noscript>This page draws itself with a script that it holds, and needs JavaScript for it. The same
numbers stand in the board's REPORT.md.</noscript></main>
<script type="application/json" id="data">{embedded(data)}</script>
<script>{script}</script>
</body>
</html>
"""


def embedded(data: Any) -> str:
    """JSON that can't end its element: no < in it."""
    text = json.dumps(data, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")


@cache
def asset(name: str) -> str:
    """A file of the folder ``assets``."""
    return files("robustnoise.report.page").joinpath("assets", name).read_text(encoding="utf-8")


def _hash(content: str) -> str:
    """What a policy calls an inline script or style."""
    return "sha256-" + base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
