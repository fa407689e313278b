"""BRISQUE, the blind spatial quality score of Mittal, Moorthy and Bovik, with NumPy alone.

    score(rgb)                       about 0 (natural) to 100 (badly distorted); lower is better
    score(rgb, halving="paper")      as in published comparisons that halve by nearest neighbour
    features(rgb)                    the 36 natural scene statistics behind the score

Source: A. Mittal, A. K. Moorthy, A. C. Bovik, "No-Reference Image Quality Assessment in the Spatial Domain",
IEEE Transactions on Image Processing 21(12), 2012. The numbers of the model are LIVE's; see NOTICE.
"""

from __future__ import annotations

from .brisque import HALVINGS, MINIMUM_PX, features, halve, score
from .model import Model, load_live_model

__version__ = "1.0.0"
__all__ = ["HALVINGS", "MINIMUM_PX", "Model", "features", "halve", "load_live_model", "score"]
