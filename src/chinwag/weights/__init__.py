"""Models' weights: what there is (`catalog`), where it comes from (`sources`), what is here (`store`)."""

from chinwag.weights.catalog import Catalog, CatalogModel
from chinwag.weights.progress import Progress
from chinwag.weights.store import Store

__all__ = ["Catalog", "CatalogModel", "Progress", "Store"]
