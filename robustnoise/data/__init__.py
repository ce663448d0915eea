"""Datasets: sources, formats and splits. Images are uint8 NCHW; importing this loads neither torch nor a source."""

from robustnoise.data.dataset import Dataset, Overlap, Pool, Split, check_splits
from robustnoise.data.images import load_folder
from robustnoise.data.load import load_dataset, load_pool
from robustnoise.data.own import load_npz
from robustnoise.data.sources import SOURCES, SourceRow, list_sources
from robustnoise.data.splits import SplitSizes, split_pool

__all__ = [
    "SOURCES",
    "Dataset",
    "Overlap",
    "Pool",
    "SourceRow",
    "Split",
    "SplitSizes",
    "check_splits",
    "list_sources",
    "load_dataset",
    "load_folder",
    "load_npz",
    "load_pool",
    "split_pool",
]
