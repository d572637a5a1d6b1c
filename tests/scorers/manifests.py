"""What a runner of clips is handed, as far as tests need it."""

from pathlib import Path

WILD = 'a "cat" \'; rm -rf $HOME\n{"index": 7}\u2028é'


def samples(folder: Path, *prompts: str) -> list[dict[str, object]]:
    """A sample per prompt, every third index, of one file."""
    (folder / "clip.mp4").write_bytes(b"frames")
    return [
        {"index": 3 * i, "video": str(folder / "clip.mp4"), "prompt": prompt, "row": {}}
        for i, prompt in enumerate(prompts)
    ]
