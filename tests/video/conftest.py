"""The video track at scale smoke: `made`; and `children`, which train as one of several ranks."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(0, str(Path(__file__).parents[1] / "train"))

from smoke_track import made

__all__ = ["made"]
