"""A table or figure as a page of its own for the report: its Markdown as HTML, with nothing loaded from outside."""

import base64
import html
import io
import os
from pathlib import Path

from markdown_it import MarkdownIt
from PIL import Image, ImageSequence

STYLE = """
body { font: 14px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 100rem; padding: 0 1rem; color: #1b1b1b }
p, blockquote, li { max-width: 60rem }
table { border-collapse: collapse; margin: 1rem 0; font-variant-numeric: tabular-nums }
th, td { border-bottom: 1px solid #ddd; padding: .3rem .7rem; vertical-align: top; white-space: nowrap }
thead th { border-bottom: 2px solid #444; text-align: left }
tbody tr:hover { background: #f5f5f0 }
blockquote { border-left: 4px solid #c90; margin: 1rem 0; padding: .2rem 1rem; background: #fff8e5 }
img { max-width: 100% }
code { font-size: 90% }
"""


def write(markdown: Path, out: Path, title: str, picture: Path | None = None) -> None:
    """Write `markdown` (tables allowed, raw HTML escaped) as a page, below `picture` (a PNG) if there is one.

    One that moves plays there, as WebP.
    """
    body = MarkdownIt("commonmark", {"html": False}).enable("table").render(markdown.read_text(encoding="utf-8"))
    shown = ""
    if picture is not None:
        kind, content = _embedded(picture)
        data = base64.b64encode(content).decode()
        shown = f'<img alt="{html.escape(title, quote=True)}" src="data:image/{kind};base64,{data}">\n'
    page = (
        f'<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n<title>{html.escape(title)}</title>\n'
        f"<style>{STYLE}</style>\n</head>\n<body>\n{shown}{body}</body>\n</html>\n"
    )
    part = out.with_name(out.name + ".part")
    part.write_text(page, encoding="utf-8")
    os.replace(part, out)


def _embedded(picture: Path) -> tuple[str, bytes]:
    """What a page holds of a PNG: the file, or the same frames as lossless WebP where it moves."""
    with Image.open(picture) as image:
        if getattr(image, "n_frames", 1) == 1:
            return "png", picture.read_bytes()
        frames = [(frame.convert("RGB"), frame.info.get("duration", 0)) for frame in ImageSequence.Iterator(image)]
    (first, _), *rest = frames
    held = io.BytesIO()
    durations = [round(duration) for _, duration in frames]
    more = [frame for frame, _ in rest]
    first.save(held, "WEBP", save_all=True, append_images=more, duration=durations, loop=0, lossless=True)
    return "webp", held.getvalue()
