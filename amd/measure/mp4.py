"""Clips as files, for scorers that read nothing else: H.264 as torchvision's write_video makes it, x264's own quality.

LongLive and Self-Forcing store what they evaluate in this way (inference.py). What the encoder takes away is part of
a number that was measured on files.
"""

from pathlib import Path

import torch
from torch import Tensor

ENCODING = "libx264, yuv420p, crf 23"


def write_mp4(file: Path, clip: Tensor, fps: int) -> None:
    """uint8 (3, F, H, W) -> `file`. ValueError where a side is odd: 4:2:0 halves both."""
    import av

    if clip.dtype != torch.uint8 or clip.ndim != 4 or clip.shape[0] != 3 or any(side % 2 for side in clip.shape[2:]):
        raise ValueError(f"a clip is uint8 (3, F, H, W) of even sides, not {clip.dtype} {tuple(clip.shape)}")
    with av.open(str(file), "w") as container:
        stream = container.add_stream("libx264", rate=fps, options={"crf": "23"})
        stream.height, stream.width = clip.shape[2:]
        stream.pix_fmt = "yuv420p"
        for frame in clip.permute(1, 2, 3, 0).contiguous().cpu().numpy():
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())
