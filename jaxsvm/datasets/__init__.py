"""From a dataset's name or from arrays to checked `Data`: the room that reads files.

`load_dataset` knows scikit-learn's digits and the image datasets of tensorflow-datasets, which it
reads and prepares without TensorFlow; `data_from_arrays` takes arrays of your own.
"""

from jaxsvm.datasets.images import DatasetError as DatasetError
from jaxsvm.datasets.load import Dataset as Dataset
from jaxsvm.datasets.load import data_from_arrays as data_from_arrays
from jaxsvm.datasets.load import load_dataset as load_dataset
from jaxsvm.datasets.load import rows_from_pixels as rows_from_pixels
