"""Model weights: the list of models (`catalog`), download (`sources`, `pull`), the files on disk (`store`)."""

from chinwag.weights.catalog import Catalog, CatalogModel
from chinwag.weights.progress import Progress
from chinwag.weights.store import Store

__all__ = ["Catalog", "CatalogModel", "Progress", "Store"]
