"""What a runner of clips is handed, as far as tests need it."""

from pathlib import Path

from torch import Tensor

WILD = 'a "cat" \'; rm -rf $HOME\n{"index": 7}\u2028é'


def samples(folder: Path, *prompts: str) -> list[dict[str, object]]:
    """A sample per prompt, every third index, of one file."""
    (folder / "clip.mp4").write_bytes(b"frames")
    return [
        {"index": 3 * i, "video": str(folder / "clip.mp4"), "prompt": prompt, "row": {}}
        for i, prompt in enumerate(prompts)
    ]


class Kept:
    """Clips in memory."""

    def __init__(self, clips: Tensor, first: Tensor | None = None) -> None:
        self.clips, self.first = clips, first

    def __len__(self) -> int:
        return len(self.clips)

    def take(self, indices: range) -> Tensor:
        return self.clips[indices.start : indices.stop]

    def pictures(self, indices: range) -> Tensor | None:
        return None if self.first is None else self.first[indices.start : indices.stop]

    def encoded(self, fps: int) -> None:
        return None
