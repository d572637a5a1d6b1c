"""The video track at scale smoke: `made`."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from smoke_track import made

__all__ = ["made"]
