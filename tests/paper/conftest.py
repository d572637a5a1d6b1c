"""Makes `algorithm1.py` beside the tests, and the small company of tests/distill, importable."""

import sys
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parent.parent / "distill"))
torch.set_num_threads(1)
