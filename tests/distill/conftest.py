"""Makes the small company of `players.py` importable from the tests beside it."""

import sys
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parent))
torch.set_num_threads(1)  # everything here is tiny: threads would only wait for each other
