"""Models' weights: what there is (`catalog`), where it comes from (`sources`), what is here (`store`)."""

from chinwag.weights.catalog import Catalog, Model
from chinwag.weights.progress import Progress
from chinwag.weights.store import Store

__all__ = ["Catalog", "Model", "Progress", "Store"]
